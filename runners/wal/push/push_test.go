package push_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/runners/wal"
	"github.com/skytools-go/skytools/runners/wal/push"
	"github.com/skytools-go/skytools/runners/wal/repo"
	"github.com/skytools-go/skytools/runners/wal/segment"
	"github.com/skytools-go/skytools/runners/wal/segment/segmenttest"
	"github.com/skytools-go/skytools/runners/wal/store"
	"github.com/skytools-go/skytools/sql"
)

var cluster = segmenttest.Cluster

// A world is a data directory and an archive.
type world struct {
	t    *testing.T
	dir  string
	repo *repo.Repo
	slow *slow
}

// slow counts puts, and can be told to fail.
type slow struct {
	store.Store
	puts atomic.Int64
	down atomic.Bool

	segmentsOnly bool // what else there is comes through while it is down
}

var errDown = errors.New("the store is down")

func (s *slow) Put(ctx context.Context, key string, body io.ReadSeeker) error {
	if s.down.Load() && !(s.segmentsOnly && !strings.Contains(key, "/wal/")) {
		return errDown
	}
	err := s.Store.Put(ctx, key, body)
	if err == nil {
		s.puts.Add(1)
	}
	return err
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	for _, dir := range []string{"pg_wal/archive_status", "global"} {
		w.ok(os.MkdirAll(filepath.Join(w.dir, dir), 0o700))
	}
	w.write("PG_VERSION", []byte("15\n"))
	w.write("global/pg_control", binary.NativeEndian.AppendUint64(nil, cluster.System))
	s, err := store.Open(t.Context(), store.Config{URL: "file://" + t.TempDir()})
	w.ok(err)
	w.slow = &slow{Store: s}
	w.repo, err = repo.Open(repo.Config{Stores: []repo.Store{{Store: w.slow, Required: true}}})
	w.ok(err)
	w.ok(w.repo.Init(t.Context(), cluster, time.Now()))
	w.slow.puts.Store(0)
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

// segment writes the WAL file of a number, and marks it ready.
func (w *world) segment(timeline uint32, number int, ready bool) segment.Name {
	w.t.Helper()
	n := cluster.Size.At(timeline, sql.LSN(number)<<20)
	w.write("pg_wal/"+n.String(), segmenttest.Make(cluster, n, uint64(number)))
	if ready {
		w.write("pg_wal/archive_status/"+n.String()+".ready", nil)
	}
	return n
}

func (w *world) archived() (names []string) {
	w.t.Helper()
	for f, err := range repo.Files(w.t.Context(), w.slow, cluster.System) {
		w.ok(err)
		names = append(names, f.Name.String())
	}
	return names
}

func TestPush(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := push.New(push.Config{Repo: w.repo})
	n := w.segment(1, 1, true)
	w.ok(p.Push(t.Context(), t.Context(), w.dir, "pg_wal/"+n.String()))
	w.ok(p.Push(t.Context(), t.Context(), w.dir, "pg_wal/"+n.String()))
	w.ok(p.Push(t.Context(), t.Context(), "/", w.dir+"/pg_wal/"+n.String()))
	for what, path := range map[string]string{
		"no file": "pg_wal/000000010000000000000099", "no WAL": "PG_VERSION", "elsewhere": "/etc/hostname", "other name": "pg_wal/archive_status",
	} {
		if err := p.Push(t.Context(), t.Context(), w.dir, path); err == nil {
			t.Errorf("%s: archived", what)
		}
	}
	if err := p.Push(t.Context(), t.Context(), t.TempDir(), "pg_wal/"+n.String()); err == nil {
		t.Error("from no data directory: archived")
	}
	other := segmenttest.Make(cluster, n, 99)
	w.write("pg_wal/"+n.String(), other)
	var split *repo.SplitBrainError
	if err := p.Push(t.Context(), t.Context(), w.dir, "pg_wal/"+n.String()); !errors.As(err, &split) {
		t.Errorf("another content: %v", err)
	}
	if diff := cmp.Diff([]string{n.String()}, w.archived()); diff != "" {
		t.Error(diff)
	}
}

// TestLookAhead asks for one file after the other, as PostgreSQL does, while others are
// on their way: each is sent once.
func TestLookAhead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := push.New(push.Config{Repo: w.repo, Ahead: 3})
	var all []string
	for number := 1; number <= 12; number++ {
		all = append(all, w.segment(1, number, true).String())
	}
	for _, file := range all {
		w.ok(p.Push(t.Context(), t.Context(), w.dir, "pg_wal/"+file))
		w.ok(os.Remove(filepath.Join(w.dir, "pg_wal/archive_status", file+".ready")))
	}
	if diff := cmp.Diff(all, w.archived()); diff != "" {
		t.Error(diff)
	}
	if n := w.slow.puts.Load(); n != int64(len(all)) {
		t.Errorf("%d puts for %d files", n, len(all))
	}
}

// A store that is down is told for the file that was asked for, and what was sent ahead
// is sent again once it is up.
func TestLookAheadFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := push.New(push.Config{Repo: w.repo, Ahead: 3})
	var all []string
	for number := 1; number <= 6; number++ {
		all = append(all, w.segment(1, number, true).String())
	}
	w.slow.down.Store(true)
	for range 3 {
		if err := p.Push(t.Context(), t.Context(), w.dir, "pg_wal/"+all[0]); !errors.Is(err, errDown) {
			t.Fatalf("store down: %v", err)
		}
	}
	w.slow.down.Store(false)
	for _, file := range all {
		var err error
		for range 3 { // the answer to what was sent ahead while it was down
			if err = p.Push(t.Context(), t.Context(), w.dir, "pg_wal/"+file); err == nil {
				break
			}
		}
		w.ok(err)
	}
	if diff := cmp.Diff(all, w.archived()); diff != "" {
		t.Error(diff)
	}
}

// An impatient question does not end the work: the next one finds it done.
func TestPushGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := push.New(push.Config{Repo: w.repo})
	n := w.segment(1, 1, true)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Push(ctx, t.Context(), w.dir, "pg_wal/"+n.String()); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	w.ok(p.Push(t.Context(), t.Context(), w.dir, "pg_wal/"+n.String()))
	if w.slow.puts.Load() != 1 {
		t.Errorf("%d puts", w.slow.puts.Load())
	}
}

// TestBackfill finds what a promoted server never archives. Source: design/wal.md, R12.
func TestBackfill(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for number := 1; number <= 5; number++ {
		w.segment(1, number, false) // streamed, and 4 and 5 lie after the promotion
	}
	w.write("pg_wal/00000002.history", []byte("1\t0/380000\tno recovery target specified\n"))
	w.segment(2, 3, false)
	w.segment(2, 4, false)
	w.segment(2, 5, false) // being written
	old := segmenttest.Make(cluster, cluster.Size.At(2, 1<<20), 1)
	w.write("pg_wal/000000020000000000000006", old) // kept for later use
	sent, err := push.Backfill(t.Context(), w.repo, wal.DataDir(w.dir))
	w.ok(err)
	want := []string{"000000010000000000000001", "000000010000000000000002", "000000020000000000000003", "000000020000000000000004", "00000002.history"}
	if diff := cmp.Diff(want, w.archived()); diff != "" {
		t.Error(diff)
	}
	if len(sent) == 0 {
		t.Error("nothing was sent")
	}
	if sent, err = push.Backfill(t.Context(), w.repo, wal.DataDir(w.dir)); err != nil || len(sent) > 0 {
		t.Errorf("again: %v, %v", sent, err)
	}
}

// A pusher that stays closes the hole by itself, with the first file after a promotion.
func TestBackfillOnItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := push.New(push.Config{Repo: w.repo, Ahead: 1})
	first := w.segment(1, 1, true)
	w.ok(p.Push(t.Context(), t.Context(), w.dir, "pg_wal/"+first.String()))
	w.ok(os.Remove(filepath.Join(w.dir, "pg_wal", "archive_status", first.String()+".ready")))
	w.segment(1, 2, false)
	w.segment(1, 3, true) // PostgreSQL is going to ask for it
	w.segment(1, 4, false)
	w.write("pg_wal/00000002.history", []byte("1\t0/480000\tno recovery target specified\n"))
	w.segment(2, 4, false)
	w.segment(2, 5, false)
	w.ok(p.Push(t.Context(), t.Context(), w.dir, "pg_wal/00000002.history"))
	want := []string{"000000010000000000000001", "000000010000000000000002", "000000020000000000000004", "00000002.history"}
	var got []string
	for range 200 {
		if got = w.archived(); len(got) >= len(want) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRescue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.segment(1, 1, true)
	tip := w.segment(1, 2, false)
	content := segmenttest.Make(cluster, tip, 2) // of which one page is its own
	for i := range content[8192:] {
		content[8192+i] = 0xAA
	}
	w.write("pg_wal/"+tip.String(), content)
	w.write("postmaster.pid", []byte("1\n"))
	if _, _, err := push.Rescue(t.Context(), w.repo, wal.DataDir(w.dir)); !errors.Is(err, push.ErrRunning) {
		t.Errorf("with a server that runs: %v", err)
	}
	w.ok(os.Remove(filepath.Join(w.dir, "postmaster.pid")))
	for range 2 {
		_, upTo, err := push.Rescue(t.Context(), w.repo, wal.DataDir(w.dir))
		w.ok(err)
		if upTo != 0x200000+8192 {
			t.Errorf("rescued up to %s", upTo)
		}
	}
	if diff := cmp.Diff([]string{"000000010000000000000001", tip.String() + ".partial"}, w.archived()); diff != "" {
		t.Error(diff)
	}
	path := filepath.Join(t.TempDir(), "x")
	w.ok(w.repo.GetPartial(t.Context(), cluster.System, tip, path))
	got, err := os.ReadFile(path)
	w.ok(err)
	clear(content[8192:])
	if diff := cmp.Diff(content, got); diff != "" {
		t.Error("what was rescued is not what was there")
	}
}
