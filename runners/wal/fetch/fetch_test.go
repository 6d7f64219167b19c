package fetch_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/wal/fetch"
	"github.com/skytools-go/skytools/runners/wal/repo"
	"github.com/skytools-go/skytools/runners/wal/segment"
	"github.com/skytools-go/skytools/runners/wal/segment/segmenttest"
	"github.com/skytools-go/skytools/runners/wal/store"
	"github.com/skytools-go/skytools/sql"
)

var cluster = segmenttest.Cluster

// A counted store says what was read, and can be down.
type counted struct {
	store.Store
	down atomic.Bool
	mu   sync.Mutex
	gets map[string]int
}

var errDown = errors.New("the store is down")

func (c *counted) Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if c.down.Load() {
		return nil, errDown
	}
	r, err := c.Store.Get(ctx, key, offset, length)
	if err == nil {
		c.mu.Lock()
		c.gets[filepath.Base(key)]++
		c.mu.Unlock()
	}
	return r, err
}

type world struct {
	t     *testing.T
	dir   string
	store *counted
	repo  *repo.Repo
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	for _, dir := range []string{"pg_wal", "global"} {
		w.ok(os.MkdirAll(filepath.Join(w.dir, dir), 0o700))
	}
	w.write("PG_VERSION", []byte("15\n"))
	w.write("global/pg_control", binary.NativeEndian.AppendUint64(nil, cluster.System))
	s, err := store.Open(t.Context(), store.Config{URL: "file://" + t.TempDir()})
	w.ok(err)
	w.store = &counted{Store: s, gets: map[string]int{}}
	w.repo, err = repo.Open(repo.Config{Stores: []repo.Store{{Store: w.store, Required: true}}})
	w.ok(err)
	w.ok(w.repo.Init(t.Context(), cluster, time.Now()))
	return w
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) write(file string, content []byte) {
	w.t.Helper()
	w.ok(os.WriteFile(filepath.Join(w.dir, file), content, 0o600))
}

func at(number int) segment.Name { return cluster.Size.At(1, sql.LSN(number)<<20) }

func (w *world) archive(number int) {
	w.t.Helper()
	_, err := w.repo.Put(w.t.Context(), cluster.System, at(number), bytes.NewReader(segmenttest.Make(cluster, at(number), uint64(number))))
	w.ok(err)
}

func (w *world) get(g *fetch.Getter, file string) error {
	return g.Get(w.t.Context(), w.t.Context(), w.dir, file, "pg_wal/RECOVERYXLOG")
}

// placed checks which segment the server got.
func (w *world) placed(number int) {
	w.t.Helper()
	got, err := os.ReadFile(filepath.Join(w.dir, "pg_wal/RECOVERYXLOG"))
	w.ok(err)
	if !bytes.Equal(got, segmenttest.Make(cluster, at(number), uint64(number))) {
		w.t.Errorf("not segment %d was placed", number)
	}
}

// code is what restore_command ends with.
func code(err error) int {
	var coded interface{ ExitCode() int }
	switch {
	case err == nil:
		return 0
	case errors.Is(err, repo.ErrAbsent):
		return 1
	case errors.As(err, &coded):
		return coded.ExitCode()
	}
	return -1
}

// TestCodes is the table of the package comment. Source: design/wal.md, R15.
func TestCodes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, signal, file string
		down               bool
		want               int
	}{
		{"there", "recovery.signal", at(1).String(), false, 0},
		{"absent", "recovery.signal", at(2).String(), false, 1},
		{"absent on a standby", "standby.signal", at(2).String(), false, 1},
		{"history absent", "recovery.signal", "00000002.history", false, 1},
		{"no WAL file", "recovery.signal", "RECOVERYXLOG", false, 1},
		{"down", "recovery.signal", at(1).String(), true, 200},
		{"down, history", "recovery.signal", "00000002.history", true, 200},
		{"down, without a signal", "x", at(1).String(), true, 200},
		{"down on a standby", "standby.signal", at(1).String(), true, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.archive(1)
			w.write(c.signal, nil)
			w.store.down.Store(c.down)
			err := w.get(fetch.New(fetch.Config{Repo: w.repo, Tries: 50 * time.Millisecond}), c.file)
			if code(err) != c.want {
				t.Errorf("exit code %d, not %d: %v", code(err), c.want, err)
			}
		})
	}
	w := newWorld(t)
	w.archive(1)
	g := fetch.New(fetch.Config{Repo: w.repo, Tries: 50 * time.Millisecond})
	if err := g.Get(t.Context(), t.Context(), t.TempDir(), at(1).String(), "pg_wal/RECOVERYXLOG"); code(err) != 200 {
		t.Errorf("without a data directory: %v", err)
	}
}

// A short outage is waited out.
func TestOutage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.archive(1)
	w.store.down.Store(true)
	time.AfterFunc(300*time.Millisecond, func() { w.store.down.Store(false) })
	w.ok(w.get(fetch.New(fetch.Config{Repo: w.repo}), at(1).String()))
	w.placed(1)
}

// TestFetchAhead recovers through many segments, turns back once, and leaves nothing.
func TestFetchAhead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	spool := t.TempDir()
	for number := 1; number <= 20; number++ {
		w.archive(number)
	}
	g := fetch.New(fetch.Config{Repo: w.repo, Spool: spool, Ahead: 4})
	order := []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 3, 4, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}
	for _, number := range order {
		w.ok(w.get(g, at(number).String()))
		w.placed(number)
	}
	if err := w.get(g, at(21).String()); !errors.Is(err, repo.ErrAbsent) {
		t.Errorf("after the last: %v", err)
	}
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	for number := 6; number <= 9; number++ {
		if n := w.store.gets[at(number).String()]; n < 1 || n > 2 { // again after turning back, at most
			t.Errorf("segment %d was read %d times", number, n)
		}
	}
	for range 100 {
		left, err := filepath.Glob(spool + "/*/*/0*")
		w.ok(err)
		if len(left) == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("segments are left in the spool")
}

// The tip is for a server that recovers to its end, and for nobody who follows.
// Source: design/wal.md, G8.
func TestTip(t *testing.T) {
	t.Parallel()
	for signal, want := range map[string]int{"recovery.signal": 0, "standby.signal": 1, "x": 1} {
		w := newWorld(t)
		w.archive(1)
		content := segmenttest.Make(cluster, at(2), 2)
		_, err := w.repo.PutPartial(t.Context(), cluster.System, at(2), cluster.Size.Start(at(2))+600_000, bytes.NewReader(content))
		w.ok(err)
		w.write(signal, nil)
		if err := w.get(fetch.New(fetch.Config{Repo: w.repo, Tries: time.Second}), at(2).String()); code(err) != want {
			t.Errorf("%s: %v", signal, err)
		}
	}
}
