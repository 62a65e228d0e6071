// A peer for tests: gost's tunnels spoken by the real smux and WebSocket libraries.
//
//	gost-peer client -url ws://HOST:PORT -tunnel UUID [-weight N] [-udp] [-bind HOST] [-user U:P] -target echo|HOST:PORT
//	gost-peer server -listen tls://HOST:PORT [-user U:P] [-entry HOST:PORT -node NAME -sd URL -ingress URL -renew SECONDS [-strict]]
//	gost-peer visit  -url tcp://HOST:PORT -tunnel UUID [-udp] [-to HOST:PORT] -listen HOST:PORT
//
// It says one line on standard output for each thing that a test waits for: "bound HOST", "listening ADDR", "lost WHY",
// "served" for each stream that has ended. It is ours: written from the description of the wire, not from gost's sources.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/xtaci/smux"
)

func main() {
	if len(os.Args) < 2 {
		fail("say client, server or visit")
	}
	options := parse(os.Args[2:])
	switch os.Args[1] {
	case "client":
		client(options)
	case "server":
		server(options)
	case "visit":
		visit(options)
	default:
		fail("no such role: " + os.Args[1])
	}
}

func fail(why string) {
	fmt.Fprintln(os.Stderr, why)
	os.Exit(1)
}

// What gost gives smux when nobody says otherwise.
func settings() *smux.Config {
	config := smux.DefaultConfig()
	config.Version = 2
	config.MaxStreamBuffer = 1 << 20
	config.MaxFrameSize = 32768
	config.MaxReceiveBuffer = 4 << 20
	config.KeepAliveInterval = 10 * time.Second
	config.KeepAliveTimeout = 30 * time.Second
	return config
}

// A client serves a tunnel, and comes again a second after it has lost its server.
func client(o options) {
	for {
		err := serve(o)
		fmt.Println("lost", err)
		time.Sleep(time.Second)
	}
}

func serve(o options) error {
	conn, err := dial(o.url)
	if err != nil {
		return err
	}
	defer conn.Close()
	ask := message{word: bind}
	if o.udp {
		ask.word |= flagUDP
		ask.add(network, []byte{0, 1})
	}
	o.login(&ask)
	ask.addr(conn.LocalAddr().String())
	ask.addr(o.bind)
	ask.add(tunnel, o.id())
	if _, err := conn.Write(ask.bytes()); err != nil {
		return err
	}
	answer, err := read(conn)
	if err != nil {
		return err
	}
	if answer.word != 0 {
		return fmt.Errorf("status %d", answer.word)
	}
	addrs := answer.addrs()
	if len(addrs) != 1 || len(answer.of(tunnel)) != 20 {
		return fmt.Errorf("a grant without its parts")
	}
	host, _, _ := net.SplitHostPort(addrs[0])
	fmt.Println("bound", host)
	// Streams are opened by the server: it has smux's client role.
	session, err := smux.Server(conn, settings())
	if err != nil {
		return err
	}
	defer session.Close()
	for {
		stream, err := session.AcceptStream()
		if err != nil {
			return err
		}
		// As gost does: the header is read in this loop, and one that cannot be read costs the session.
		header, err := read(stream)
		if err != nil {
			return fmt.Errorf("header: %v", err)
		}
		addrs := header.addrs()
		if header.word != 0 || len(addrs) == 0 {
			return fmt.Errorf("header: status %d, %d addresses", header.word, len(addrs))
		}
		if _, err := net.ResolveTCPAddr("tcp", addrs[0]); err != nil {
			return fmt.Errorf("header: %v", err)
		}
		go func() {
			target(o, stream)
			fmt.Println("served")
		}()
	}
}

func target(o options, stream *smux.Stream) {
	defer stream.Close()
	switch {
	case o.target == "echo":
		// Datagrams are echoed with their lengths, which are checked on the way.
		if o.udp {
			echoDatagrams(stream)
		} else {
			io.Copy(stream, stream)
		}
	case o.udp:
		conn, err := net.Dial("udp", o.target)
		if err != nil {
			return
		}
		defer conn.Close()
		go func() {
			defer stream.Close()
			buffer := make([]byte, 65536)
			for {
				n, err := conn.Read(buffer)
				if err != nil || writeDatagram(stream, buffer[:n]) != nil {
					return
				}
			}
		}()
		for {
			datagram, err := readDatagram(stream)
			if err != nil {
				return
			}
			conn.Write(datagram)
		}
	default:
		conn, err := net.DialTimeout("tcp", o.target, 5*time.Second)
		if err != nil {
			return
		}
		join(conn, stream)
	}
}

func echoDatagrams(stream io.ReadWriter) {
	for {
		datagram, err := readDatagram(stream)
		if err != nil || writeDatagram(stream, datagram) != nil {
			return
		}
	}
}

// Both ways until the side of conn has ended: the end of the other is passed on alone.
func join(conn net.Conn, stream io.ReadWriteCloser) {
	defer conn.Close()
	go func() {
		io.Copy(conn, stream)
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			half.CloseWrite()
		}
	}()
	io.Copy(stream, conn)
	stream.Close()
}

// A server takes clients and visitors.
type hub struct {
	sync.Mutex
	pools map[string][]*smux.Session
	turn  int
}

func server(o options) {
	h := &hub{pools: map[string][]*smux.Session{}}
	if o.entry != "" {
		go h.entrypoint(o)
	}
	err := listen(o.listen, func(conn net.Conn) {
		if err := h.come(o, conn); err != nil {
			fmt.Println("lost", err)
			conn.Close()
		}
	})
	fail(err.Error())
}

func (h *hub) come(o options, conn net.Conn) error {
	conn.SetReadDeadline(time.Now().Add(15 * time.Second))
	ask, err := read(conn)
	if err != nil {
		return err
	}
	conn.SetReadDeadline(time.Time{})
	id := ask.of(tunnel)
	if len(id) < 16 {
		conn.Write((&message{word: 1}).bytes())
		return fmt.Errorf("no tunnel")
	}
	if o.user != "" && string(ask.of(login)) != string(o.credentials()) {
		conn.Write((&message{word: 2}).bytes())
		return fmt.Errorf("wrong user")
	}
	kind := "tcp"
	if n := ask.of(network); len(n) == 2 && n[1] == 1 {
		kind = "udp"
	}
	addrs := ask.addrs()
	if len(addrs) != 2 {
		return fmt.Errorf("%d addresses", len(addrs))
	}
	pool := kind + text(id)
	switch ask.word & 15 {
	case bind:
		return h.bind(o, conn, kind, pool, id, addrs[1])
	case connect:
		return h.connect(o, conn, kind, id, ask)
	}
	conn.Write((&message{word: 1}).bytes())
	return fmt.Errorf("command %d", ask.word)
}

func (h *hub) bind(o options, conn net.Conn, kind, pool string, id []byte, wanted string) error {
	host, port, _ := net.SplitHostPort(wanted)
	if host == "" || net.ParseIP(host) != nil {
		host = generated(text(id))
	}
	answer := message{}
	answer.addr(net.JoinHostPort(host, port))
	connector := make([]byte, 20)
	copy(connector, fmt.Sprintf("connect-%08d", time.Now().UnixNano()%100000000))
	if len(id) == 20 {
		connector[19] = id[19]
	}
	answer.add(tunnel, connector)
	if _, err := conn.Write(answer.bytes()); err != nil {
		return err
	}
	session, err := smux.Client(conn, settings())
	if err != nil {
		return err
	}
	h.Lock()
	h.pools[pool] = append(h.pools[pool], session)
	h.Unlock()
	fmt.Println("bound", host)
	done := make(chan struct{})
	go o.announce(id, connector, kind, host, done)
	defer close(done)
	for {
		// Its clients open no streams.
		stream, err := session.AcceptStream()
		if err != nil {
			break
		}
		stream.Close()
	}
	session.Close()
	h.Lock()
	kept := h.pools[pool][:0]
	for _, other := range h.pools[pool] {
		if other != session {
			kept = append(kept, other)
		}
	}
	h.pools[pool] = kept
	h.Unlock()
	return fmt.Errorf("a client has gone")
}

func (h *hub) connect(o options, conn net.Conn, kind string, id []byte, ask *message) error {
	addrs := ask.addrs()
	if o.strict && !o.leads(addrs[1], id) {
		conn.Write((&message{word: 6}).bytes())
		return fmt.Errorf("%s does not lead to the tunnel", addrs[1])
	}
	stream := h.stream(kind + text(id))
	if stream == nil {
		// Another node is asked as we were, and answers for itself.
		far, err := o.onward(kind, text(id))
		if err == nil {
			_, err = far.Write(ask.bytes())
		}
		if err != nil {
			conn.Write((&message{word: 5}).bytes())
			return err
		}
		join(conn, far)
		return nil
	}
	if _, err := conn.Write((&message{}).bytes()); err != nil {
		stream.Close()
		return err
	}
	header := message{}
	header.addr(addrs[0])
	header.addr(addrs[1])
	if _, err := stream.Write(header.bytes()); err != nil {
		return err
	}
	// In smux of this version nothing is read after an end of ours: the visitor's is not passed on before the answer's.
	go func() {
		io.Copy(stream, conn)
	}()
	io.Copy(conn, stream)
	conn.Close()
	stream.Close()
	fmt.Println("served")
	return nil
}

// A visitor brings a listener's connections to a tunnel.
func visit(o options) {
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		fail(err.Error())
	}
	fmt.Println("listening", listener.Addr())
	for {
		local, err := listener.Accept()
		if err != nil {
			fail(err.Error())
		}
		go func() {
			conn, err := reach(o, local.RemoteAddr().String())
			if err != nil {
				fmt.Println("lost", err)
				local.Close()
				return
			}
			// With -udp the local connection carries datagrams behind their lengths.
			join(local, conn)
		}()
	}
}

func reach(o options, source string) (net.Conn, error) {
	conn, err := dial(o.url)
	if err != nil {
		return nil, err
	}
	ask := message{word: connect}
	if o.udp {
		ask.word |= flagUDP
		ask.add(network, []byte{0, 1})
	}
	o.login(&ask)
	ask.addr(source)
	ask.addr(o.to)
	ask.add(tunnel, o.id())
	if _, err := conn.Write(ask.bytes()); err != nil {
		return nil, err
	}
	answer, err := read(conn)
	if err == nil && answer.word != 0 {
		err = fmt.Errorf("status %d", answer.word)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func number(text string) byte {
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil {
		fail("no number up to 255: " + text)
	}
	return byte(n)
}
