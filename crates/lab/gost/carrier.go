// Under a session: TCP, TLS, WebSocket, WebSocket over TLS. Certificates are made at the start and believed unseen.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/gorilla/websocket"
)

// Where gost's WebSockets are.
const path = "/ws"

func dial(text string) (net.Conn, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, err
	}
	unseen := &tls.Config{InsecureSkipVerify: true}
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	switch u.Scheme {
	case "tcp":
		return dialer.Dial("tcp", u.Host)
	case "tls":
		return tls.DialWithDialer(dialer, "tcp", u.Host, unseen)
	case "ws", "wss":
		if u.Path == "" {
			u.Path = path
		}
		ws := websocket.Dialer{HandshakeTimeout: 5 * time.Second, TLSClientConfig: unseen}
		conn, _, err := ws.Dial(u.String(), nil)
		if err != nil {
			return nil, err
		}
		return &socket{Conn: conn}, nil
	}
	return nil, errors.New("no such scheme: " + u.Scheme)
}

func listen(text string, come func(net.Conn)) error {
	u, err := url.Parse(text)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", u.Host)
	if err != nil {
		return err
	}
	if u.Scheme == "tls" || u.Scheme == "wss" {
		certificate, err := certificate()
		if err != nil {
			return err
		}
		listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{certificate}})
	}
	fmt.Println("listening", listener.Addr())
	switch u.Scheme {
	case "tcp", "tls":
		for {
			conn, err := listener.Accept()
			if err != nil {
				return err
			}
			go come(conn)
		}
	case "ws", "wss":
		upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
		mux := http.NewServeMux()
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			conn, err := upgrader.Upgrade(w, r, nil)
			if err == nil {
				come(&socket{Conn: conn})
			}
		})
		return http.Serve(listener, mux)
	}
	return errors.New("no such scheme: " + u.Scheme)
}

func certificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// Binary messages as a stream of bytes: their borders mean nothing.
type socket struct {
	*websocket.Conn
	rest io.Reader
}

func (s *socket) Read(b []byte) (int, error) {
	for {
		if s.rest == nil {
			_, r, err := s.NextReader()
			if err != nil {
				return 0, err
			}
			s.rest = r
		}
		n, err := s.rest.Read(b)
		if err == io.EOF {
			s.rest, err = nil, nil
			if n == 0 {
				continue
			}
		}
		return n, err
	}
}

func (s *socket) Write(b []byte) (int, error) {
	if err := s.WriteMessage(websocket.BinaryMessage, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (s *socket) SetDeadline(t time.Time) error {
	if err := s.SetReadDeadline(t); err != nil {
		return err
	}
	return s.SetWriteDeadline(t)
}
