package serve_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/skytools-go/skytools/runners/wal/fetch"
	"github.com/skytools-go/skytools/runners/wal/push"
	"github.com/skytools-go/skytools/runners/wal/repo"
	"github.com/skytools-go/skytools/runners/wal/serve"
	"github.com/skytools-go/skytools/runners/wal/store"
)

// Source: design/wal.md, R7 and R15.
func TestCodes(t *testing.T) {
	t.Parallel()
	split := fmt.Errorf("archive: %w", &repo.SplitBrainError{})
	for _, c := range []struct {
		err       error
		push, get int
	}{
		{nil, 0, 0},
		{split, 2, 200},
		{errors.New("any"), 1, 200},
		{context.Canceled, 1, 200},
		{fmt.Errorf("get: %w", repo.ErrAbsent), 1, 1},
		{&fetch.UnknownError{Err: repo.ErrAbsent}, 1, 200},
		{&fetch.UnknownError{Standby: true, Err: io.EOF}, 1, 1},
	} {
		if push, get := serve.PushCode(c.err), serve.GetCode(c.err); push != c.push || get != c.get {
			t.Errorf("%v: push %d, get %d; want %d, %d", c.err, push, get, c.push, c.get)
		}
	}
}

func start(t *testing.T, ctx context.Context, socket string) chan error {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{URL: "file://" + t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	r, err := repo.Open(repo.Config{Stores: []repo.Store{{Store: s, Required: true}}})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	server := &serve.Server{Socket: socket, Pusher: push.New(push.Config{Repo: r}), Getter: fetch.New(fetch.Config{Repo: r, Tries: time.Millisecond}), Log: hclog.NewNullLogger()}
	go func() { ended <- server.Run(ctx) }()
	return ended
}

// ask sends a line and returns the reply.
func ask(t *testing.T, socket, line string) (r serve.Reply) {
	t.Helper()
	var c net.Conn
	var err error
	for range 100 {
		if c, err = net.Dial("unix", socket); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintln(c, line)
	answer, err := bufio.NewReader(c).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(answer, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// A request that makes no sense is answered, a socket that was left is taken over, and
// one that is served is not.
func TestServer(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("/tmp", "skytools-serve-") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "wal.sock")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := start(t, ctx, socket)
	for line, code := range map[string]int{
		`{"op":"push","base":"/nowhere","path":"pg_wal/000000010000000000000001"}`:                      1,
		`{"op":"get","base":"/nowhere","path":"pg_wal/RECOVERYXLOG","file":"000000010000000000000001"}`: 200,
		`{"op":"get","base":"/nowhere","path":"pg_wal/RECOVERYXLOG","file":"nothing"}`:                  1,
		`{"op":"drop"}`: 200,
		`nonsense`:      200,
	} {
		if r := ask(t, socket, line); r.Code != code || r.Error == "" {
			t.Errorf("%s: %+v, not %d", line, r, code)
		}
	}
	if err := <-start(t, t.Context(), socket); err == nil {
		t.Error("two servers have one socket")
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
