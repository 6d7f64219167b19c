package store

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// A link is the connection to an SFTP server, made when it is first needed, and anew
// after it broke. It closes itself when nobody has used it for a while.
//
//	closed ──do──▶ open ──┬─ unused for idle, or broken ──▶ closed
//	                ▲     │
//	                └─do──┘
type link struct {
	address string
	config  *ssh.ClientConfig
	idle    time.Duration

	mu     sync.Mutex
	client *sftp.Client // nil when closed
	users  int          // operations and open files
	rest   *time.Timer  // closes it
}

// alive is how often a silent server is asked whether it is there.
const alive = patience / 3

func newLink(user, host, port, hosts string, c Config) (*link, error) {
	if c.PrivateKey == "" {
		return nil, errors.New("a private key is needed")
	}
	parse := func() (ssh.Signer, error) { return ssh.ParsePrivateKey([]byte(c.PrivateKey)) }
	if c.Passphrase != "" {
		parse = func() (ssh.Signer, error) {
			return ssh.ParsePrivateKeyWithPassphrase([]byte(c.PrivateKey), []byte(c.Passphrase))
		}
	}
	signer, err := parse()
	if err != nil {
		return nil, fmt.Errorf("read private key: %w", err)
	}
	if hosts == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, err
		}
		hosts = filepath.Join(home, ".ssh", "known_hosts")
	}
	check, err := knownhosts.New(hosts)
	if err != nil {
		return nil, fmt.Errorf("read known hosts: %w", err)
	}
	address := net.JoinHostPort(host, port)
	return &link{address: address, idle: time.Minute, config: &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: known(check, address, hosts),
		HostKeyAlgorithms: algorithms(check, address),
	}}, nil
}

// known checks the key of a host and says what can be done about one that is not known.
func known(check ssh.HostKeyCallback, address, file string) ssh.HostKeyCallback {
	return func(name string, from net.Addr, key ssh.PublicKey) error {
		err := check(name, from, key)
		var unknown *knownhosts.KeyError
		if errors.As(err, &unknown) {
			return &HostKeyError{Address: address, File: file, Fingerprint: ssh.FingerprintSHA256(key), Changed: len(unknown.Want) > 0}
		}
		return err
	}
}

// A HostKeyError says that an SFTP server is not the one that we know.
type HostKeyError struct {
	Address, File, Fingerprint string
	Changed                    bool // another key is known
}

func (e *HostKeyError) Error() string {
	if e.Changed {
		return fmt.Sprintf("the key of %s (%s) is not the one in %s", e.Address, e.Fingerprint, e.File)
	}
	return fmt.Sprintf("the key of %s (%s) is not in %s", e.Address, e.Fingerprint, e.File)
}

// Hint is what a person can try.
func (e *HostKeyError) Hint() string {
	return "compare the fingerprint with that on the server; if it is the same, add the line that ssh-keyscan prints to " + e.File
}

// algorithms are those of the keys that are known of a host: it must not choose one
// that is not. Nil, for all, when none is known, so that the error can name the key.
func algorithms(check ssh.HostKeyCallback, address string) (all []string) {
	none, err := ssh.NewPublicKey(make(ed25519.PublicKey, ed25519.PublicKeySize))
	if err != nil {
		return nil
	}
	var unknown *knownhosts.KeyError
	if !errors.As(check(address, &net.TCPAddr{}, none), &unknown) {
		return nil
	}
	for _, want := range unknown.Want {
		if kind := want.Key.Type(); kind == ssh.KeyAlgoRSA {
			all = append(all, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		} else {
			all = append(all, kind)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// do gives a connection to f, which is called once more when it finds that the
// connection had broken.
func (l *link) do(ctx context.Context, f func(*sftp.Client) error) error {
	for try := 1; ; try++ {
		c, fresh, err := l.enter(ctx)
		if err != nil {
			return err
		}
		err = f(c)
		l.leave()
		if !broken(err) || ctx.Err() != nil {
			return err
		}
		l.drop(c)
		if fresh || try == tries {
			return err
		}
	}
}

func broken(err error) bool {
	var network net.Error
	return errors.Is(err, sftp.ErrSSHFxConnectionLost) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.As(err, &network)
}

func (l *link) enter(ctx context.Context) (c *sftp.Client, fresh bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client == nil {
		fresh = true
		if l.client, err = l.connect(ctx); err != nil {
			return nil, false, err
		}
	}
	if l.rest != nil {
		l.rest.Stop()
	}
	l.users++
	return l.client, fresh, nil
}

func (l *link) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.users--; l.users == 0 && l.client != nil {
		c := l.client
		l.rest = time.AfterFunc(l.idle, func() { l.retire(c) })
	}
}

// retire closes a connection that nobody uses.
func (l *link) retire(c *sftp.Client) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.users == 0 && l.client == c {
		l.client = nil
		c.Close()
	}
}

// drop closes a connection that has broken.
func (l *link) drop(c *sftp.Client) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client == c {
		l.client = nil
	}
	c.Close()
}

// held keeps the connection open for a file until that is closed.
func (l *link) held(f io.Closer) io.Closer {
	l.mu.Lock()
	l.users++
	l.mu.Unlock()
	return &holder{Closer: f, leave: sync.OnceFunc(l.leave)}
}

type holder struct {
	io.Closer
	leave func()
}

func (h *holder) Close() error {
	defer h.leave()
	return h.Closer.Close()
}

func (l *link) connect(ctx context.Context) (*sftp.Client, error) {
	conn, err := dial(ctx, "tcp", l.address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	c, chans, requests, err := ssh.NewClientConn(conn, l.address, l.config)
	if err != nil {
		conn.Close()
		return nil, errors.Join(ctx.Err(), err)
	}
	shell := ssh.NewClient(c, chans, requests)
	client, err := sftp.NewClient(shell, sftp.UseConcurrentWrites(true))
	if err != nil || !stop() {
		shell.Close()
		return nil, errors.Join(ctx.Err(), err)
	}
	for _, name := range []string{"hardlink@openssh.com", "fsync@openssh.com"} {
		if _, ok := client.HasExtension(name); !ok {
			shell.Close()
			return nil, fmt.Errorf("the server has no %s, which a store needs", name)
		}
	}
	go keepAlive(shell, client)
	return client, nil
}

// keepAlive asks the server whether it is there, so that the silence which breaks a
// connection is that of a server that has gone. It ends with the connection.
func keepAlive(shell *ssh.Client, client *sftp.Client) {
	ended := make(chan struct{})
	go func() {
		client.Wait()
		close(ended)
	}()
	defer shell.Close()
	for {
		select {
		case <-ended:
			return
		case <-time.After(alive):
			if _, _, err := shell.SendRequest("keepalive@openssh.com", true, nil); err != nil {
				return
			}
		}
	}
}
