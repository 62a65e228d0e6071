// The relay protocol, datagrams in streams, and the command line.
package main

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

const (
	connect = 1
	bind    = 2
	flagUDP = 0x80

	flagPrivate = 0x80 // of a tunnel

	login   = 1
	address = 2
	tunnel  = 3
	network = 4
)

type feature struct {
	kind  byte
	value []byte
}

type message struct {
	word     byte
	features []feature
}

func (m *message) add(kind byte, value []byte) {
	m.features = append(m.features, feature{kind, value})
}

func (m *message) addr(text string) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host = text
	}
	number, _ := strconv.Atoi(port)
	var value []byte
	switch ip := net.ParseIP(host); {
	case ip == nil:
		value = append([]byte{3, byte(len(host))}, host...)
	case ip.To4() != nil:
		value = append([]byte{1}, ip.To4()...)
	default:
		value = append([]byte{4}, ip.To16()...)
	}
	m.add(address, append(value, byte(number>>8), byte(number)))
}

func (m *message) bytes() []byte {
	var features []byte
	for _, f := range m.features {
		features = append(features, f.kind, byte(len(f.value)>>8), byte(len(f.value)))
		features = append(features, f.value...)
	}
	return append([]byte{1, m.word, byte(len(features) >> 8), byte(len(features))}, features...)
}

func (m *message) of(kind byte) []byte {
	for _, f := range m.features {
		if f.kind == kind {
			return f.value
		}
	}
	return nil
}

func (m *message) addrs() (addrs []string) {
	for _, f := range m.features {
		if f.kind != address {
			continue
		}
		v, host := f.value, ""
		switch {
		case len(v) == 7 && v[0] == 1, len(v) == 19 && v[0] == 4:
			host = net.IP(v[1 : len(v)-2]).String()
		case len(v) >= 4 && v[0] == 3 && len(v) == 4+int(v[1]):
			host = string(v[2 : len(v)-2])
		default:
			return nil
		}
		addrs = append(addrs, net.JoinHostPort(host, strconv.Itoa(int(binary.BigEndian.Uint16(v[len(v)-2:])))))
	}
	return addrs
}

// As strict as gost: a feature that is not known is an error.
func read(r io.Reader) (*message, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	if head[0] != 1 {
		return nil, fmt.Errorf("version %d", head[0])
	}
	rest := make([]byte, binary.BigEndian.Uint16(head[2:]))
	if _, err := io.ReadFull(r, rest); err != nil {
		return nil, err
	}
	m := &message{word: head[1]}
	for len(rest) > 0 {
		if len(rest) < 3 || len(rest)-3 < int(binary.BigEndian.Uint16(rest[1:])) {
			return nil, errors.New("features break off")
		}
		end := 3 + int(binary.BigEndian.Uint16(rest[1:]))
		if rest[0] < login || rest[0] > network {
			return nil, fmt.Errorf("unknown feature %d", rest[0])
		}
		m.add(rest[0], rest[3:end])
		rest = rest[end:]
	}
	return m, nil
}

// As gost writes them: the length and the datagram in two pieces.
func writeDatagram(w io.Writer, datagram []byte) error {
	var head [2]byte
	binary.BigEndian.PutUint16(head[:], uint16(len(datagram)))
	if _, err := w.Write(head[:]); err != nil {
		return err
	}
	_, err := w.Write(datagram)
	return err
}

func readDatagram(r io.Reader) ([]byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	datagram := make([]byte, binary.BigEndian.Uint16(head[:]))
	_, err := io.ReadFull(r, datagram)
	return datagram, err
}

func text(id []byte) string {
	h := hex.EncodeToString(id[:16])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// The host of a tunnel that has none of its own.
func generated(id string) string {
	sum := md5.Sum([]byte(id))
	return hex.EncodeToString(sum[:8])
}

type options struct {
	url, tunnel, bind, user, target, listen, to string
	sd, ingress, entry, node                    string
	weight, renew                               byte
	udp, strict                                 bool
}

func parse(args []string) (o options) {
	o.bind, o.to, o.target, o.renew = ":0", ":0", "echo", 15
	texts := map[string]*string{
		"-url": &o.url, "-tunnel": &o.tunnel, "-bind": &o.bind, "-user": &o.user,
		"-target": &o.target, "-listen": &o.listen, "-to": &o.to,
		"-sd": &o.sd, "-ingress": &o.ingress, "-entry": &o.entry, "-node": &o.node,
	}
	for len(args) > 0 {
		name := args[0]
		args = args[1:]
		if name == "-udp" {
			o.udp = true
			continue
		}
		if name == "-strict" {
			o.strict = true
			continue
		}
		if len(args) == 0 {
			fail(name + " wants a value")
		}
		switch {
		case texts[name] != nil:
			*texts[name] = args[0]
		case name == "-weight":
			o.weight = number(args[0])
		case name == "-renew":
			o.renew = number(args[0])
		default:
			fail("no such option: " + name)
		}
		args = args[1:]
	}
	return o
}

func (o options) id() []byte {
	// As gost writes a private one.
	private := strings.HasPrefix(o.tunnel, "$")
	plain := strings.TrimPrefix(o.tunnel, "$")
	id, err := hex.DecodeString(strings.ReplaceAll(plain, "-", ""))
	if err != nil || len(id) != 16 {
		fail("no UUID: " + o.tunnel)
	}
	var flags byte
	if private {
		flags = flagPrivate
	}
	return append(id, flags, 0, 0, o.weight)
}

func (o options) credentials() []byte {
	user, password, _ := strings.Cut(o.user, ":")
	value := append([]byte{byte(len(user))}, user...)
	return append(append(value, byte(len(password))), password...)
}

func (o options) login(m *message) {
	if o.user != "" {
		m.add(login, o.credentials())
	}
}
