// Package serve answers archive_command and restore_command over a unix socket, so that
// PostgreSQL starts a small client per file and not a large program.
//
// A connection carries one request and one reply, each a line of JSON:
//
//	{"op":"push","base":"/data","path":"pg_wal/000000010000000000000001"}
//	{"op":"get","base":"/data","path":"pg_wal/RECOVERYXLOG","file":"000000010000000000000001"}
//	{"code":0}
//	{"code":1,"error":"…"}
//
// The code is the exit code of the client. Work goes on when a client goes away, and
// what it would have been told is told to the next one. Access is a matter of the
// socket's directory and mode: whoever may write to it may archive.
package serve

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/skytools-go/skytools/runners/wal/fetch"
	"github.com/skytools-go/skytools/runners/wal/push"
	"github.com/skytools-go/skytools/runners/wal/repo"
)

// A Request is what a client asks for.
type Request struct {
	Op   string `json:"op"`   // push or get
	Base string `json:"base"` // the directory that PostgreSQL called it in
	Path string `json:"path"` // %p
	File string `json:"file"` // %f, of a get
}

// A Reply says how the client is to end.
type Reply struct {
	Code  int    `json:"code"`
	Error string `json:"error,omitempty"`
}

// A Server answers for one archive.
type Server struct {
	Socket   string
	Pusher   *push.Pusher
	Getter   *fetch.Getter
	Patience time.Duration // for one push; 0: 50 s. PostgreSQL waits, and asks again after a failure
	Log      hclog.Logger
}

// longest is how long a request may be, and how long it may take to come.
const (
	longest = 64 << 10
	typing  = 10 * time.Second
)

// Run answers until ctx ends, and then finishes what it is asked for.
func (s *Server) Run(ctx context.Context) error {
	l, err := listen(s.Socket)
	if err != nil {
		return fmt.Errorf("serve %s: %w", s.Socket, err)
	}
	defer context.AfterFunc(ctx, func() { l.Close() })()
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var asked sync.WaitGroup
	defer asked.Wait()
	for {
		c, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("serve %s: %w", s.Socket, err)
		}
		asked.Go(func() { s.answer(life, c) })
	}
}

// listen takes the socket over from a server that has died, and from no other.
func listen(socket string) (net.Listener, error) {
	if c, err := net.Dial("unix", socket); err == nil {
		c.Close()
		return nil, errors.New("another process serves it")
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(socket, 0o660); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (s *Server) answer(life context.Context, c net.Conn) {
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(typing))
	var r Request
	line, err := bufio.NewReader(io.LimitReader(c, longest)).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &r)
	}
	reply := Reply{Code: Unknown, Error: "the request cannot be read"}
	if err == nil {
		reply = s.do(life, r)
	}
	switch about := []any{"op", r.Op, "file", cmp.Or(r.File, r.Path), "code", reply.Code, "error", reply.Error}; {
	case r.Op == "get" && reply.Code == 1: // PostgreSQL asks for much that is not there
		s.Log.Debug("not done", about...)
	case reply.Code != 0:
		s.Log.Warn("not done", about...)
	}
	c.SetWriteDeadline(time.Now().Add(typing))
	json.NewEncoder(c).Encode(reply) // who has gone asks again
}

func (s *Server) do(life context.Context, r Request) Reply {
	switch r.Op {
	case "push":
		ctx, cancel := context.WithTimeout(life, cmp.Or(s.Patience, 50*time.Second))
		defer cancel()
		err := s.Pusher.Push(ctx, life, r.Base, r.Path)
		return Reply{PushCode(err), text(err)}
	case "get":
		err := s.Getter.Get(life, life, r.Base, r.File, r.Path)
		return Reply{GetCode(err), text(err)}
	}
	return Reply{Unknown, fmt.Sprintf("there is no operation %q", r.Op)}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Unknown is the exit code of a restore_command that cannot tell whether there is a
// file. As that of an archive_command it would end the archiver, which starts again.
const Unknown = 200

// PushCode is the exit code of archive_command: 2 for a split brain and 1 for all else,
// never above 125. Source: design/wal.md, R7.
func PushCode(err error) int {
	var split *repo.SplitBrainError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &split):
		return split.ExitCode()
	}
	return 1
}

// GetCode is the exit code of restore_command: 1 only when the file is not there, or on
// a standby, and [Unknown] for all that was not foreseen. Source: design/wal.md, R15.
func GetCode(err error) int {
	var unknown *fetch.UnknownError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &unknown):
		return unknown.ExitCode()
	case errors.Is(err, repo.ErrAbsent):
		return 1
	}
	return Unknown
}
