// Package sshtest gives tests an SSH server that speaks SFTP: OpenSSH's own.
package sshtest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// A Server is OpenSSH's, run as this user on a loopback port with keys of its own.
type Server struct {
	Address, User string
	Root          string // a directory for a store
	Known         string // a file with the server's key
	Key           string // of the user, in PEM
	HostKey       ssh.PublicKey
}

// Start starts a server that ends with the test.
func Start(t testing.TB) *Server {
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
	s := &Server{Address: freePort(t), User: me.Username, Root: t.TempDir(), Known: filepath.Join(t.TempDir(), "known_hosts")}
	dir := t.TempDir()
	hostPEM, hostKey := NewKey(t)
	userPEM, userKey := NewKey(t)
	s.Key, s.HostKey = userPEM, hostKey
	_, port, _ := net.SplitHostPort(s.Address)
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
	s.Knows(t, s.Address)
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
		if c, err := net.Dial("tcp", s.Address); err == nil {
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

// Knows writes that the server's key is known at an address.
func (s *Server) Knows(t testing.TB, address string) {
	t.Helper()
	host, port, _ := net.SplitHostPort(address)
	line := fmt.Sprintf("[%s]:%s %s", host, port, ssh.MarshalAuthorizedKey(s.HostKey))
	if err := os.WriteFile(s.Known, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// NewKey makes a key pair; the private one in PEM.
func NewKey(t testing.TB) (private string, public ssh.PublicKey) {
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

// URL is that of a store in Root, by way of an address.
func (s *Server) URL(address string) string {
	return fmt.Sprintf("sftp://%s@%s%s?known_hosts=%s", s.User, address, s.Root, s.Known)
}
