package store_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/skytools-go/skytools/runners/wal/store"
	"github.com/skytools-go/skytools/runners/wal/store/sshtest"
	"github.com/skytools-go/skytools/runners/wal/store/storetest"
)

func config(s *sshtest.Server, address string) store.Config {
	return store.Config{URL: s.URL(address), PrivateKey: s.Key}
}

func TestSFTP(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t)
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, config(s, s.Address)) })
	noLitter(t, s.Root)
}

// Generations of a swapped object go a minute after they were followed, so that none goes
// while somebody is about to follow it.
func TestSFTPGenerations(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t)
	remote := open(t, config(s, s.Address))
	version := ""
	swap := func(content string) {
		t.Helper()
		next, err := remote.Swap(t.Context(), "counter", version, strings.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		version = next
	}
	files := func() []string {
		t.Helper()
		all, err := filepath.Glob(filepath.Join(s.Root, ".swap-*"))
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	for i := range 4 {
		swap(fmt.Sprint(i))
	}
	there := files()
	if len(there) != 4 {
		t.Fatalf("young generations: %v", there)
	}
	old := time.Now().Add(-2 * time.Minute)
	for _, file := range there[:3] {
		if err := os.Chtimes(file, old, old); err != nil {
			t.Fatal(err)
		}
	}
	swap("4")
	if diff := cmp.Diff(there[2:], files()[:2]); diff != "" || len(files()) != 3 {
		t.Errorf("of five, two were followed two minutes ago: -want +got:\n%s", diff)
	}
	if got := storetest.Content(t, remote, "counter"); got != "4" {
		t.Errorf("it holds %s", got)
	}
	if err := remote.Delete(t.Context(), "counter"); err != nil || len(files()) != 0 {
		t.Errorf("after Delete: %v, %v", files(), err)
	}
}

// A server whose key is not known, or another one, is not spoken to.
func TestSFTPHostKey(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t)
	_, other := sshtest.NewKey(t)
	for _, c := range []struct {
		name, known string
		changed     bool
	}{
		{"none", "", false},
		{"another", fmt.Sprintf("[127.0.0.1]:%s %s", s.Address[strings.LastIndex(s.Address, ":")+1:], ssh.MarshalAuthorizedKey(other)), true},
	} {
		if err := os.WriteFile(s.Known, []byte(c.known), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := open(t, config(s, s.Address)).Stat(t.Context(), "a")
		var host *store.HostKeyError
		if !errors.As(err, &host) || host.Changed != c.changed || host.Fingerprint != ssh.FingerprintSHA256(s.HostKey) || host.Hint() == "" {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestSFTPNotMounted(t *testing.T) {
	t.Parallel()
	server := sshtest.Start(t)
	server.Root += "/missing"
	s := open(t, config(server, server.Address))
	for what, err := range results(t.Context(), s) {
		var root *store.RootError
		if !errors.As(err, &root) || errors.Is(err, store.ErrNotExist) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestSFTPCut cuts the connection after ever more bytes: an object is whole or not there,
// and what is known to be there is.
func TestSFTPCut(t *testing.T) {
	t.Parallel()
	server := sshtest.Start(t)
	var after atomic.Int64 // bytes to let through to the server
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	go forward(proxy, server.Address, &after)
	server.Knows(t, proxy.Addr().String())
	content := strings.Repeat("x", 100_000)
	whole, lost := 0, 0
	for n := int64(0); n < 140_000; n += 3_500 {
		after.Store(n)
		key := fmt.Sprintf("cut/%06d", n)
		s := open(t, config(server, proxy.Addr().String()))
		put := s.Put(t.Context(), key, strings.NewReader(content))
		after.Store(1 << 40)
		info, err := s.Stat(t.Context(), key)
		switch {
		case err == nil && info.Size == int64(len(content)):
			whole++
		case errors.Is(err, store.ErrNotExist) && put != nil && !errors.Is(put, store.ErrExists):
			lost++
		default:
			t.Errorf("after %d bytes: put %v, then %v, %v", n, put, info, err)
		}
		if put != nil && (errors.Is(put, store.ErrExists) || errors.Is(put, store.ErrNotExist)) {
			t.Errorf("after %d bytes: %v", n, put)
		}
	}
	if whole == 0 || lost == 0 {
		t.Errorf("%d objects are there and %d are not: nothing was tried", whole, lost)
	}
}

// forward passes connections on and hangs up on each after some bytes.
func forward(from net.Listener, to string, after *atomic.Int64) {
	for {
		in, err := from.Accept()
		if err != nil {
			return
		}
		go func() {
			defer in.Close()
			out, err := net.Dial("tcp", to)
			if err != nil {
				return
			}
			defer out.Close()
			go io.Copy(in, out)
			buf := make([]byte, 1000)
			for sent := int64(0); sent < after.Load(); {
				n, err := in.Read(buf)
				if err != nil {
					return
				}
				if _, err := out.Write(buf[:n]); err != nil {
					return
				}
				sent += int64(n)
			}
		}()
	}
}

// An operation on a connection that broke while nobody looked is done on a new one.
func TestSFTPReconnect(t *testing.T) {
	t.Parallel()
	server := sshtest.Start(t)
	var after atomic.Int64
	after.Store(1 << 40)
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	go forward(proxy, server.Address, &after)
	server.Knows(t, proxy.Addr().String())
	s := open(t, config(server, proxy.Addr().String()))
	for i := range 3 {
		after.Store(1 << 40)
		if err := s.Put(t.Context(), fmt.Sprint(i), strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
		after.Store(0) // the next bytes on this connection are its last, answered or not
		s.Stat(t.Context(), "x")
	}
}
