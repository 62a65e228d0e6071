// A server as a node of a cluster: it tells an sd plugin of its clients and an ingress plugin of their hosts, over HTTP, takes visitors at
// an entrypoint, and sends on to the first other node that sd names what it has no client for. As gost does it, its weak points included:
// no second node is tried, a flushed sd is told nothing anew, a rule is set once.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/xtaci/smux"
)

type service struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Node    string `json:"node"`
	Network string `json:"network"`
	Address string `json:"address"`
}

var plugins = &http.Client{Timeout: 2 * time.Second}

func tell(method, place string, what interface{}) error {
	body, _ := json.Marshal(what)
	request, err := http.NewRequest(method, place, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := plugins.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	io.Copy(io.Discard, response.Body)
	return nil
}

func ask(place string, query url.Values, answer interface{}) error {
	response, err := plugins.Get(place + "?" + query.Encode())
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != 200 {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	return json.NewDecoder(response.Body).Decode(answer)
}

// Tells the plugins of a client until done is closed.
func (o options) announce(id, connector []byte, kind, host string, done chan struct{}) {
	if o.ingress != "" {
		tell("PUT", o.ingress, map[string]string{"service": "peer", "host": host, "endpoint": text(id)})
	}
	if o.sd == "" {
		return
	}
	one := service{text(connector), text(id), o.node, kind, o.entry}
	tell("POST", o.sd, one)
	ticker := time.NewTicker(time.Duration(o.renew) * time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			tell("DELETE", o.sd, one)
			return
		case <-ticker.C:
			tell("PUT", o.sd, service{ID: one.ID, Name: one.Name, Node: one.Node})
		}
	}
}

// Whether a host leads to a tunnel, as gost wants it of each CONNECT unless it is told otherwise.
func (o options) leads(addr string, id []byte) bool {
	host, _, _ := net.SplitHostPort(addr)
	var rule struct{ Endpoint string }
	err := ask(o.ingress, url.Values{"host": {host}, "service": {"peer"}}, &rule)
	return err == nil && strings.TrimPrefix(rule.Endpoint, "$") == text(id)
}

// A connection to the first other node that has clients of a tunnel.
func (o options) onward(kind, tunnel string) (net.Conn, error) {
	if o.sd == "" {
		return nil, fmt.Errorf("no client")
	}
	var said struct{ Services []service }
	if err := ask(o.sd, url.Values{"name": {tunnel}}, &said); err != nil {
		return nil, err
	}
	for _, one := range said.Services {
		if one.Node != o.node && one.Network == kind && one.Address != "" {
			fmt.Println("onward", one.Address)
			return net.DialTimeout("tcp", one.Address, 5*time.Second)
		}
	}
	return nil, fmt.Errorf("no client")
}

func (h *hub) stream(pool string) *smux.Stream {
	h.Lock()
	defer h.Unlock()
	for range h.pools[pool] {
		h.turn++
		session := h.pools[pool][h.turn%len(h.pools[pool])]
		if stream, err := session.OpenStream(); err == nil {
			return stream
		}
	}
	return nil
}

// Visitors at the entrypoint: a relay CONNECT, or HTTP by host.
func (h *hub) entrypoint(o options) {
	listener, err := net.Listen("tcp", o.entry)
	if err != nil {
		fail(err.Error())
	}
	fmt.Println("entrypoint", listener.Addr())
	for {
		conn, err := listener.Accept()
		if err != nil {
			fail(err.Error())
		}
		go func() {
			defer conn.Close()
			reader := bufio.NewReader(conn)
			first, err := reader.Peek(1)
			if err != nil {
				return
			}
			if first[0] == 1 {
				err = h.come(o, ahead{conn, reader})
			} else {
				err = h.web(o, conn, reader)
			}
			if err != nil {
				fmt.Println("lost", err)
			}
		}()
	}
}

// Bytes that were looked at come first.
type ahead struct {
	net.Conn
	reader *bufio.Reader
}

func (a ahead) Read(b []byte) (int, error) { return a.reader.Read(b) }

func (h *hub) web(o options, conn net.Conn, reader *bufio.Reader) error {
	request, err := http.ReadRequest(reader)
	if err != nil {
		return err
	}
	say := func(status int) {
		fmt.Fprintf(conn, "HTTP/1.1 %d x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", status)
	}
	host := strings.Split(request.Host, ":")[0]
	var rule struct{ Endpoint string }
	err = ask(o.ingress, url.Values{"host": {host}, "service": {"peer"}}, &rule)
	if err != nil || rule.Endpoint == "" || rule.Endpoint[0] == '$' {
		say(502)
		return err
	}
	request.Header.Set("Gost-Forwarded-Node", o.node)
	request.Header.Set("Connection", "close")
	request.Close = true
	var target io.ReadWriteCloser
	if stream := h.stream("tcp" + rule.Endpoint); stream != nil {
		header := message{}
		header.addr(conn.RemoteAddr().String())
		header.addr(net.JoinHostPort(host, "80"))
		if _, err := stream.Write(header.bytes()); err != nil {
			return err
		}
		target = stream
	} else if target, err = o.onward("tcp", rule.Endpoint); err != nil {
		say(503)
		return err
	}
	defer target.Close()
	if err := request.Write(target); err != nil {
		say(502)
		return err
	}
	response, err := http.ReadResponse(bufio.NewReader(target), request)
	if err != nil {
		say(502)
		return err
	}
	response.Close = true
	return response.Write(conn)
}
