package pg

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
)

// A Fault makes one statement fail, so that tests can try every one in turn. It
// reaches the statements through the context, and costs one map lookup when there
// is none. It is safe for concurrent use.
type Fault struct {
	Match string // only statements that contain this; empty: all
	Nth   int    // which of them, from 1
	After bool   // let the statement run and lose the answer, instead of not running it
	Err   error  // what to answer; nil: the connection is lost
	Do    func() // called at that moment, such as to kill a process

	mu   sync.Mutex
	seen int
	hit  string
}

type faultKey struct{}

// WithFault returns a context whose statements are subject to f.
func WithFault(ctx context.Context, f *Fault) context.Context {
	return context.WithValue(ctx, faultKey{}, f)
}

// Seen is how many statements matched so far; Hit is the one that failed, if any.
func (f *Fault) Seen() int   { f.mu.Lock(); defer f.mu.Unlock(); return f.seen }
func (f *Fault) Hit() string { f.mu.Lock(); defer f.mu.Unlock(); return f.hit }

// ErrCut is what a statement answers when a fault has cut its connection.
var ErrCut = errors.New("connection cut")

func (f *Fault) strikes(text string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !strings.Contains(text, f.Match) {
		return false
	}
	f.seen++
	if f.seen == f.Nth {
		f.hit = text
		return true
	}
	return false
}

// guarded runs do, unless a fault in ctx strikes. Every statement passes here.
func guarded(ctx context.Context, c *Conn, text string, do func() error) error {
	f, _ := ctx.Value(faultKey{}).(*Fault)
	if f == nil || !f.strikes(text) {
		return do()
	}
	if f.Do != nil {
		f.Do()
	}
	if f.After {
		if err := do(); err != nil {
			return err
		}
	}
	if f.Err != nil {
		return f.Err
	}
	if c != nil {
		c.Cut()
	}
	return ErrCut
}

// isNetwork tells a broken connection from an answer.
func isNetwork(err error) bool {
	var op *net.OpError
	return errors.Is(err, ErrCut) || errors.As(err, &op) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
