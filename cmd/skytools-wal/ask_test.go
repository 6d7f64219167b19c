package main

import (
	"bufio"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestAsk: only an answer that does not come in time is one that somebody may still be
// working for. Everything else says that nobody is there.
func TestAsk(t *testing.T) {
	const soon = 50 * time.Millisecond
	for _, c := range []struct {
		name   string
		server func(net.Conn) // what it does with a request; nil: nobody listens
		code   int
		late   bool
		fails  bool
	}{
		{name: "nobody", fails: true},
		{name: "an answer", server: func(c net.Conn) { c.Write([]byte(`{"code":7,"error":"x"}` + "\n")) }, code: 7},
		{name: "silence", server: func(net.Conn) { time.Sleep(10 * soon) }, late: true, fails: true},
		{name: "half an answer", server: func(c net.Conn) { c.Write([]byte(`{"code":`)); time.Sleep(10 * soon) }, late: true, fails: true},
		{name: "it goes away", server: func(net.Conn) {}, fails: true},
		{name: "nonsense", server: func(c net.Conn) { c.Write([]byte("what?\n")) }, fails: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			socket := filepath.Join(t.TempDir(), "s")
			if c.server != nil {
				l, err := net.Listen("unix", socket)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { l.Close() })
				go func() {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					defer conn.Close()
					bufio.NewReader(conn).ReadBytes('\n')
					c.server(conn)
				}()
			}
			got, err := ask(socket, request{Op: "push"}, soon)
			if got.Code != c.code || (err != nil) != c.fails || errors.Is(err, os.ErrDeadlineExceeded) != c.late {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}
