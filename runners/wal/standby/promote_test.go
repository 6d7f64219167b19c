package standby_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/runners/wal/standby"
)

// created makes a running standby.
func (w *world) created(name string, copied bool) *standby.Standby {
	w.Helper()
	s := w.standby(name)
	_, err := s.Create(w.Context(), standby.Creating{Copy: copied, Start: true})
	w.ok(err)
	return s
}

// old describes the server of the world's primary as a standby of another one.
func (w *world) old(name string, primary *standby.Standby) *standby.Standby {
	s := *primary
	s.Name, s.Data, s.DSN, s.Primary = name, filepath.Join(w.Dir, "data"), w.DSN("postgres"), primary.DSN
	s.Settings = map[string]string{"unix_socket_directories": w.Dir, "wal_retrieve_retry_interval": "200ms"}
	return &s
}

// TestFailover: the primary dies, one of two standbys is promoted, the other one follows
// it on its new timeline, and the old primary comes back and is rewound. What it alone had
// is lost, and nothing else.
func TestFailover(t *testing.T) {
	w := newWorld(t)
	w.take()
	b, c := w.created("b", false), w.created("c", true)
	w.insert(w.DSN("postgres"), 2000)
	w.has(b.DSN, 2000)
	w.has(c.DSN, 2000)
	if _, err := b.Rewind(t.Context(), standby.Rewinding{}); err == nil || !strings.Contains(err.Error(), "a server runs in") {
		t.Errorf("rewind of a running one: %v", err)
	}

	w.shut(c) // it misses what comes now, and gets it from the new primary
	w.insert(w.DSN("postgres"), 2001)
	w.has(b.DSN, 2001)
	w.shut(b)
	w.insert(w.DSN("postgres"), 6666) // b never sees it
	w.Kill()
	w.start(b)
	done, err := b.Promote(t.Context(), standby.Promoting{})
	w.ok(err)
	if done.From != 1 || done.To != 2 || done.PrimaryLives {
		t.Errorf("promoted %+v", done)
	}
	w.insert(b.DSN, 2002)

	follower := of(c, b)
	rewound, err := follower.Rewind(t.Context(), standby.Rewinding{Start: true})
	w.ok(err)
	if !rewound.Follows {
		t.Errorf("rewound %+v", rewound)
	}
	w.has(c.DSN, 2002)

	old := w.old("a", b)
	var told, all atomic.Int64
	rewound, err = old.Rewind(t.Context(), standby.Rewinding{Start: true, Progress: func(done, total int64) { told.Store(done); all.Store(total) }})
	w.ok(err)
	w.Cleanup(func() { w.halt(old) })
	if told.Load() == 0 || told.Load() != all.Load() {
		t.Errorf("it was told of %d bytes of %d", told.Load(), all.Load())
	}
	if pgRewind := filepath.Join(w.Install.Bin, "pg_rewind"); exists(pgRewind) != (rewound.By == "rewind") {
		t.Errorf("rewound %+v", rewound)
	}
	w.insert(b.DSN, 2003)
	for _, s := range []*standby.Standby{follower, old} {
		w.has(s.DSN, 2003)
		if n := one[int](w, s.DSN, "select count(*)::int from t where n = 6666"); n != 0 {
			t.Errorf("%s has what only the dead primary had", s.Name)
		}
		if st := s.State(t.Context()); st.Timeline != 2 || !st.Well() {
			t.Errorf("%s: %+v", s.Name, st)
		}
	}
}

// What pg_rewind says comes in any pieces, and is not all progress.
func TestRewindProgress(t *testing.T) {
	got := standby.Copied("pg_rewind: need to copy 4 MB (total source directory size is 80 MB)\n   0/40", "96 kB (0%) copied\r1024/4096 kB (25", "%) copied\r", strings.Repeat("x", 1000)+"\n4096/4096 kB (100%) copied\n5/")
	if diff := cmp.Diff([][2]int64{{0, 4 << 20}, {1 << 20, 4 << 20}, {4 << 20, 4 << 20}}, got); diff != "" {
		t.Error(diff)
	}
}

// TestSwitchover: the primary is stopped in order, the standby promoted, and the old primary
// follows. Nothing is lost, and it keeps no WAL for those who followed it before.
func TestSwitchover(t *testing.T) {
	w := newWorld(t)
	w.take()
	b := w.created("b", true)
	old := w.old("a", b)
	w.insert(w.DSN("postgres"), 2000)
	w.Halt()
	done, err := b.Promote(t.Context(), standby.Promoting{})
	w.ok(err)
	if done.PrimaryLives || done.To != 2 {
		t.Errorf("promoted %+v", done)
	}
	w.insert(b.DSN, 2001)
	rewound, err := old.Rewind(t.Context(), standby.Rewinding{Start: true})
	w.ok(err)
	w.Cleanup(func() { w.halt(old) })
	if !rewound.Follows {
		t.Errorf("rewound %+v", rewound)
	}
	w.has(old.DSN, 2000)
	w.has(old.DSN, 2001)
	if n := one[int](w, old.DSN, "select count(*)::int from pg_replication_slots"); n != 0 {
		t.Errorf("it keeps WAL for %d slots", n)
	}
}

// TestRewindByBackup: where pg_rewind is missing, the newest backup is restored over what
// is there.
func TestRewindByBackup(t *testing.T) {
	w := newWorld(t)
	w.take()
	b := w.created("b", false)
	w.Kill()
	_, err := b.Promote(t.Context(), standby.Promoting{})
	w.ok(err)
	w.insert(b.DSN, 2000)
	w.exec(b.DSN, "select pg_switch_wal()")
	old := w.old("a", b)
	old.Bin = t.TempDir()
	for _, name := range []string{"pg_ctl", "postgres"} {
		w.ok(os.Symlink(filepath.Join(w.Install.Bin, name), filepath.Join(old.Bin, name)))
	}
	w.ok(os.Chmod(filepath.Dir(old.Bin), 0o755))
	rewound, err := old.Rewind(t.Context(), standby.Rewinding{})
	w.ok(err)
	old.Bin = w.Install.Bin
	w.start(old)
	w.Cleanup(func() { w.halt(old) })
	if rewound.By != "restore" || rewound.Because == "" {
		t.Errorf("rewound %+v", rewound)
	}
	w.has(old.DSN, 2000)
}

// TestPromoteBehind: a standby that lacks what a living primary has is not promoted, and
// one that has all is, with a word about the primary.
func TestPromoteBehind(t *testing.T) {
	w := newWorld(t)
	b := w.created("b", true)
	w.exec(b.DSN, "alter system set primary_conninfo = ''")
	w.exec(b.DSN, "select pg_reload_conf()")
	w.until("it does not stream", func() bool { return one[int](w, b.DSN, "select count(*)::int from pg_stat_wal_receiver") == 0 })
	w.insert(w.DSN("postgres"), 2000)
	var behind *standby.BehindError
	if _, err := b.Promote(t.Context(), standby.Promoting{}); !errors.As(err, &behind) || behind.Bytes <= 0 || behind.Here >= behind.Primary {
		t.Fatalf("promote: %v", err)
	}
	if !one[bool](w, b.DSN, "select pg_is_in_recovery()") {
		t.Fatal("it was promoted")
	}
	w.ok(b.Pause(t.Context()))
	done, err := b.Promote(t.Context(), standby.Promoting{Behind: true})
	w.ok(err)
	if !done.PrimaryLives || done.To != 2 {
		t.Errorf("promoted %+v", done)
	}
	if st := b.State(t.Context()); st.Role != "primary" || st.Timeline != 2 || st.Well() {
		t.Errorf("state: %+v", st)
	}
	if _, err := b.Drop(t.Context(), standby.Dropping{Stop: true, RemoveData: true}); err == nil || !strings.Contains(err.Error(), "no standby's") {
		t.Errorf("drop of a promoted one: %v", err)
	}
}

func (w *world) start(s *standby.Standby) {
	w.Helper()
	w.ok(s.Launch(w.Context()))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
