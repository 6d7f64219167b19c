package receive_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners"
	"github.com/skytools-go/skytools/runners/wal/receive"
	"github.com/skytools-go/skytools/runners/wal/repo"
	"github.com/skytools-go/skytools/runners/wal/segment"
	"github.com/skytools-go/skytools/runners/wal/store"
	"github.com/skytools-go/skytools/sql/sandbox"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

type world struct {
	t      *testing.T
	server *sandbox.Server
	db     *sandboxtest.DB
	repo   *repo.Repo
	epoch  repo.Epoch
	stats  receive.Stats
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t}
	w.server = sandboxtest.Private(t, sandbox.Options{Initdb: []string{"--wal-segsize=1"}, Settings: map[string]string{"wal_level": "replica", "min_wal_size": "32MB"}})
	w.db = sandboxtest.DatabaseOn(t, w.server, "template1")
	s, err := store.Open(t.Context(), store.Config{URL: "file://" + t.TempDir()})
	w.ok(err)
	w.repo, err = repo.Open(repo.Config{Stores: []repo.Store{{Store: s, Required: true}}})
	w.ok(err)
	id, err := strconv.ParseUint(sandboxtest.One[string](t, w.db, "select system_identifier::text from pg_control_system()"), 10, 64)
	w.ok(err)
	w.ok(w.repo.Init(t.Context(), segment.Cluster{System: id, Major: w.server.Install.Major(), Size: 1 << 20}, time.Now()))
	w.epoch, err = w.repo.Epoch(t.Context(), id)
	w.ok(err)
	w.db.Script(t, "create table t (v text)")
	return w
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// start runs a receiver; stop ends it in an orderly way, and kill as if it had died.
func (w *world) start(every time.Duration) (stop func() error, kill func()) {
	hard, die := context.WithCancel(w.t.Context())
	ctx, soft := context.WithCancel(runners.WithHardStop(hard, hard))
	ended := make(chan error, 1)
	r := receive.New(receive.Config{
		DSN:  func(context.Context) (string, error) { return w.db.DSN, nil },
		Open: func(context.Context) (*repo.Repo, error) { return w.repo, nil }, Slot: "archive", Every: every, Stats: &w.stats,
	})
	go func() { ended <- r.Run(ctx) }()
	w.t.Cleanup(die)
	return func() error { soft(); return <-ended }, func() { die(); <-ended }
}

// fill writes rows and ends their segment, and returns the file of it.
func (w *world) fill() string {
	w.t.Helper()
	w.db.Script(w.t, "insert into t select repeat('x', 500) from generate_series(1, 200)")
	return sandboxtest.One[string](w.t, w.db, "select pg_walfile_name(pg_switch_wal())")
}

func (w *world) until(what string, true func() bool) {
	w.t.Helper()
	for range 600 {
		if true() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	w.t.Fatalf("it did not happen: %s", what)
}

// same compares a segment in the repository with the one on disk.
func (w *world) same(file string) {
	w.t.Helper()
	n, err := segment.Parse(file)
	w.ok(err)
	path := filepath.Join(w.t.TempDir(), file)
	w.until(file+" is archived", func() bool { return w.repo.Get(w.t.Context(), w.epoch.System, n, path) == nil })
	got, err := os.ReadFile(path)
	w.ok(err)
	want, err := os.ReadFile(filepath.Join(w.server.Dir, "data", "pg_wal", file))
	w.ok(err)
	if !bytes.Equal(got, want) {
		w.t.Errorf("%s differs from that on disk", file)
	}
}

// files are the names in the repository, by kind.
func (w *world) files() (whole []segment.Name, partial int) {
	w.t.Helper()
	for f, err := range repo.Files(w.t.Context(), w.repo.Stores[0], w.epoch.System) {
		w.ok(err)
		switch f.Name.Kind {
		case segment.Whole:
			whole = append(whole, f.Name)
		case segment.Partial:
			partial++
		}
	}
	return whole, partial
}

// TestReceive kills the receiver again and again: all segments arrive, whole and the
// same as on disk, and the slot is told only what the stores have. Source: design/wal.md, S1.
func TestReceive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var all []string
	for range 5 {
		_, kill := w.start(50 * time.Millisecond)
		w.until("the slot is in use", func() bool {
			return sandboxtest.One[bool](t, w.db, "select exists(select from pg_replication_slots where slot_name = 'archive' and active)")
		})
		for range 3 {
			all = append(all, w.fill())
		}
		time.Sleep(30 * time.Millisecond)
		kill()
		w.until("the server notices", func() bool {
			return sandboxtest.One[bool](t, w.db, "select not active from pg_replication_slots where slot_name = 'archive'")
		})
		all = append(all, w.fill()) // while nobody receives
	}
	stop, _ := w.start(time.Hour)
	for _, file := range all {
		w.same(file)
	}
	whole, _ := w.files()
	if gaps := repo.Gaps(w.epoch.Size, whole, nil, nil); len(gaps) > 0 {
		t.Errorf("missing: %v", gaps)
	}
	w.db.Script(t, "insert into t values ('tip')")
	at := sandboxtest.One[string](t, w.db, "select pg_current_wal_flush_lsn()::text")
	w.until("it is received", func() bool {
		return sandboxtest.One[bool](t, w.db, "select coalesce(bool_or(write_lsn >= $1::pg_lsn), false) from pg_stat_replication", at) || w.stats.Bytes.Load() == 0
	})
	if sandboxtest.One[bool](t, w.db, "select bool_or(flush_lsn >= $1::pg_lsn) from pg_stat_replication", at) {
		t.Error("what only memory has is said to be flushed")
	}
	w.ok(stop())
	if !sandboxtest.One[bool](t, w.db, "select restart_lsn >= $1::pg_lsn from pg_replication_slots where slot_name = 'archive'", at) {
		w.until("what was in hand is archived at the end", func() bool {
			return sandboxtest.One[bool](t, w.db, "select restart_lsn >= $1::pg_lsn from pg_replication_slots where slot_name = 'archive'", at)
		})
	}
	// A kill while shorter copies are removed may leave one, which harms nothing.
	if _, partial := w.files(); partial < 1 || partial > 1+5 {
		t.Errorf("%d partial copies, not only that of the tip and one for each kill", partial)
	}
}

// TestTimelines follows a server over its promotion. Source: design/wal.md, R21.
func TestTimelines(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stop, _ := w.start(time.Second)
	last := w.fill()
	w.same(last)
	w.ok(stop())
	w.server.Halt()
	standby := filepath.Join(w.server.Dir, "data", "standby.signal")
	w.ok(os.WriteFile(standby, nil, 0o600))
	info, err := os.Stat(filepath.Join(w.server.Dir, "data", "PG_VERSION"))
	w.ok(err)
	w.ok(owned(standby, info))
	w.ok(w.server.Resume(t.Context()))
	stop, _ = w.start(100 * time.Millisecond)
	w.until("the slot is in use", func() bool {
		return sandboxtest.One[bool](t, w.db, "select active from pg_replication_slots where slot_name = 'archive'")
	})
	w.db.Script(t, "select pg_promote()")
	after := w.fill()
	w.same(after)
	if n, err := segment.Parse(after); err != nil || n.Timeline != 2 {
		t.Errorf("%s is not of timeline 2", after)
	}
	text, err := w.repo.Text(t.Context(), w.epoch.System, segment.Name{Kind: segment.History, Timeline: 2})
	w.ok(err)
	history, err := segment.ParseHistory(2, text)
	w.ok(err)
	whole, _ := w.files()
	if gaps := repo.Gaps(w.epoch.Size, whole, []segment.Lineage{history}, nil); len(gaps) > 0 {
		t.Errorf("missing: %v", gaps)
	}
	w.ok(stop())
}

// A slot whose WAL is gone is given up once that has been said: what comes is archived, and
// what is missing shows as a gap. Source: design/wal.md, R22.
func TestLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stop, _ := w.start(time.Second)
	w.same(w.fill())
	w.ok(stop())
	w.db.Script(t, "alter system set max_slot_wal_keep_size = '1MB'")
	w.db.Script(t, "alter system set min_wal_size = '2MB'")
	w.db.Script(t, "alter system set max_wal_size = '2MB'")
	w.db.Script(t, "select pg_reload_conf()")
	w.until("the slot is lost", func() bool {
		w.fill()
		w.db.Script(t, "checkpoint")
		return sandboxtest.One[bool](t, w.db, "select wal_status = 'lost' from pg_replication_slots where slot_name = 'archive'")
	})
	w.db.Script(t, "alter system reset max_slot_wal_keep_size")
	w.db.Script(t, "select pg_reload_conf()")
	stop, _ = w.start(time.Second)
	w.until("there is a new slot", func() bool {
		return sandboxtest.One[bool](t, w.db, "select coalesce(bool_or(wal_status <> 'lost' and active), false) from pg_replication_slots where slot_name = 'archive'")
	})
	w.same(w.fill())
	w.same(w.fill())
	w.ok(stop())
	if n := w.stats.Lost.Load(); n != 1 {
		t.Errorf("lost %d times", n)
	}
	files, _ := w.files()
	gaps := repo.Gaps(w.epoch.Size, files, nil, nil)
	if len(gaps) != 1 || gaps[0].Count < 1 {
		t.Fatalf("gaps: %v", gaps)
	}

	// The archive remembers it, and has known it since there was nothing behind it.
	missed, err := w.repo.Misses(t.Context(), w.epoch.System)
	w.ok(err)
	if len(missed) != 1 || missed[0].First != gaps[0].First.String() || missed[0].Last != gaps[0].Last.String() || missed[0].Because == "" || missed[0].At.IsZero() {
		t.Errorf("missed: %+v, not %v", missed, gaps)
	}
	before := slices.DeleteFunc(slices.Clone(files), func(n segment.Name) bool { return n.Base() > missed[0].First })
	if open := repo.Gaps(w.epoch.Size, before, nil, missed); len(open) != 1 || open[0].Count != gaps[0].Count || !open[0].Missed.Equal(missed[0].At) {
		t.Errorf("with nothing behind it: %v", open)
	}
	if open := missed.Open(w.epoch.Size, append(before, gaps[0].First)); len(open) > 1 || len(open) == 1 && open[0].Count != gaps[0].Count-1 {
		t.Errorf("with its first segment: %v", open)
	}
	end := w.epoch.Size.End(gaps[0].Last)
	if n := len(missed.After(w.epoch.Size, end-1)); n != 1 || len(missed.After(w.epoch.Size, end)) != 0 {
		t.Errorf("before its end there are %d", n)
	}
	if open := missed.Open(w.epoch.Size, files[len(before):]); len(open) > 0 {
		t.Errorf("where the archive begins behind it: %v", open)
	}
}

// A slot that was dropped and made anew while WAL was written is found out, too. Source:
// design/wal.md, S5.
func TestDropped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stop, _ := w.start(time.Second)
	w.same(w.fill())
	w.ok(stop())
	w.until("nobody uses the slot", func() bool {
		return sandboxtest.One[bool](t, w.db, "select not active from pg_replication_slots where slot_name = 'archive'")
	})
	w.db.Script(t, "select pg_drop_replication_slot('archive')")
	w.fill()
	w.fill()
	w.db.Script(t, "checkpoint")
	stop, _ = w.start(time.Second)
	w.until("there is a new slot", func() bool {
		return sandboxtest.One[bool](t, w.db, "select coalesce(bool_or(active), false) from pg_replication_slots where slot_name = 'archive'")
	})
	w.same(w.fill())
	w.ok(stop())
	missed, err := w.repo.Misses(t.Context(), w.epoch.System)
	w.ok(err)
	whole, _ := w.files()
	gaps := repo.Gaps(w.epoch.Size, whole, nil, missed)
	if len(missed) != 1 || len(gaps) != 1 || gaps[0].Missed.IsZero() {
		t.Errorf("missed: %+v, gaps: %v", missed, gaps)
	}
	stop, _ = w.start(time.Second) // which finds nothing new
	w.same(w.fill())
	w.ok(stop())
	if again, err := w.repo.Misses(t.Context(), w.epoch.System); err != nil || len(again) != 1 {
		t.Errorf("missed later: %+v, %v", again, err)
	}
}
