package store_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/skytools-go/skytools/runners/wal/store"
	"github.com/skytools-go/skytools/runners/wal/store/storetest"
)

// An sshServer is OpenSSH's, run as this user on a loopback port with keys of its own.
type sshServer struct {
	address, user, root, known string
	key                        string // of the user, in PEM
	hostKey                    ssh.PublicKey
}

func startSSH(t *testing.T) *sshServer {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if me.Uid == "0" { // what Debian's sshd wants of root
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := &sshServer{address: freePort(t), user: me.Username, root: t.TempDir(), known: filepath.Join(t.TempDir(), "known_hosts")}
	dir := t.TempDir()
	hostPEM, hostKey := newKey(t)
	userPEM, userKey := newKey(t)
	s.key, s.hostKey = userPEM, hostKey
	_, port, _ := net.SplitHostPort(s.address)
	config := strings.NewReplacer("DIR", dir, "PORT", port).Replace(`ListenAddress 127.0.0.1
Port PORT
HostKey DIR/host
AuthorizedKeysFile DIR/authorized
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 200
MaxSessions 200
Subsystem sftp internal-sftp
`)
	for name, content := range map[string]string{"host": hostPEM, "authorized": string(ssh.MarshalAuthorizedKey(userKey)), "config": config} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.knows(t, s.address)
	log := &strings.Builder{}
	cmd := exec.Command("/usr/sbin/sshd", "-D", "-e", "-f", dir+"/config")
	cmd.Stderr = log
	cmd.WaitDelay = time.Second // its sessions have the pipe, too, and end with their connections
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for range 200 {
		if c, err := net.Dial("tcp", s.address); err == nil {
			c.Close()
			return s
		}
		time.Sleep(50 * time.Millisecond)
	}
	cmd.Process.Kill()
	cmd.Wait()
	t.Fatalf("sshd does not listen:\n%s", log)
	return nil
}

// knows writes that the server's key is known at an address.
func (s *sshServer) knows(t *testing.T, address string) {
	t.Helper()
	host, port, _ := net.SplitHostPort(address)
	line := fmt.Sprintf("[%s]:%s %s", host, port, ssh.MarshalAuthorizedKey(s.hostKey))
	if err := os.WriteFile(s.known, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func newKey(t *testing.T) (private string, public ssh.PublicKey) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	public, err = ssh.NewPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block)), public
}

func (s *sshServer) config(address string) store.Config {
	return store.Config{URL: fmt.Sprintf("sftp://%s@%s%s?known_hosts=%s", s.user, address, s.root, s.known), PrivateKey: s.key}
}

func TestSFTP(t *testing.T) {
	t.Parallel()
	s := startSSH(t)
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, s.config(s.address)) })
	noLitter(t, s.root)
}

// Generations of a swapped object go a minute after they were followed, so that none goes
// while somebody is about to follow it.
func TestSFTPGenerations(t *testing.T) {
	t.Parallel()
	s := startSSH(t)
	remote := open(t, s.config(s.address))
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
		all, err := filepath.Glob(filepath.Join(s.root, ".swap-*"))
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
	s := startSSH(t)
	_, other := newKey(t)
	for _, c := range []struct {
		name, known string
		changed     bool
	}{
		{"none", "", false},
		{"another", fmt.Sprintf("[127.0.0.1]:%s %s", s.address[strings.LastIndex(s.address, ":")+1:], ssh.MarshalAuthorizedKey(other)), true},
	} {
		if err := os.WriteFile(s.known, []byte(c.known), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := open(t, s.config(s.address)).Stat(t.Context(), "a")
		var host *store.HostKeyError
		if !errors.As(err, &host) || host.Changed != c.changed || host.Fingerprint != ssh.FingerprintSHA256(s.hostKey) || host.Hint() == "" {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestSFTPNotMounted(t *testing.T) {
	t.Parallel()
	server := startSSH(t)
	server.root += "/missing"
	s := open(t, server.config(server.address))
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
	server := startSSH(t)
	var after atomic.Int64 // bytes to let through to the server
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	go forward(proxy, server.address, &after)
	server.knows(t, proxy.Addr().String())
	content := strings.Repeat("x", 100_000)
	whole, lost := 0, 0
	for n := int64(0); n < 140_000; n += 3_500 {
		after.Store(n)
		key := fmt.Sprintf("cut/%06d", n)
		s := open(t, server.config(proxy.Addr().String()))
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
	server := startSSH(t)
	var after atomic.Int64
	after.Store(1 << 40)
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	go forward(proxy, server.address, &after)
	server.knows(t, proxy.Addr().String())
	s := open(t, server.config(proxy.Addr().String()))
	for i := range 3 {
		after.Store(1 << 40)
		if err := s.Put(t.Context(), fmt.Sprint(i), strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
		after.Store(0) // the next bytes on this connection are its last, answered or not
		s.Stat(t.Context(), "x")
	}
}
