package standby_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/runners/wal/backup/backuptest"
	"github.com/skytools-go/skytools/runners/wal/standby"
	"github.com/skytools-go/skytools/sql/sandbox"
)

// TestCreate makes standbys in each way. Rows from before and after arrive, the primary
// keeps WAL for those that stream, and none of them archives or waits for itself.
func TestCreate(t *testing.T) {
	w := newWorld(t)
	w.names("alter system set synchronous_standby_names = 'nobody'")
	w.take()
	w.names("alter system reset synchronous_standby_names")
	for _, c := range []struct {
		name   string
		follow standby.Follow
		copied bool
	}{{"restored", standby.Both, false}, {"streams", standby.Stream, true}, {"copied", standby.Both, true}, {"archived", standby.Archive, false}} {
		t.Run(c.name, func(t *testing.T) {
			w := *w
			w.TB, w.Cluster = t, w.Cluster.For(t)
			s := w.standby(c.name)
			if s.Follow = c.follow; c.follow == standby.Stream {
				s.Command = ""
			}
			var stages []string
			made, err := s.Create(t.Context(), standby.Creating{Copy: c.copied, Start: true, Stage: func(name string) { stages = append(stages, name) }})
			w.ok(err)
			if !made.Follows || made.Written == 0 || (made.Backup == "") != c.copied || stages[len(stages)-1] != "start" {
				t.Errorf("made %+v in %v", made, stages)
			}
			n := one[int](&w, w.DSN("postgres"), "select max(n) + 1 from t")
			w.insert(w.DSN("postgres"), n)
			w.Exec("select pg_switch_wal()")
			w.has(s.DSN, n)
			if got := one[string](&w, s.DSN, "select current_setting('synchronous_standby_names')"); got != "" {
				t.Errorf("synchronous_standby_names = %s", got)
			}
			st := s.State(t.Context())
			if st.Role != "standby" || !st.Well() || (st.Slot == nil) != (c.follow == standby.Archive) || st.LagBytes == nil {
				t.Errorf("state: %+v", st)
			}
			if st.Slot != nil && (!st.Slot.Active || st.Receiver != "streaming" || st.From == "") {
				t.Errorf("state: %+v, slot %+v", st, st.Slot)
			}
			var taken *standby.Error
			if _, err := s.Create(t.Context(), standby.Creating{Copy: true}); !errors.As(err, &taken) || !strings.Contains(err.Error(), "in use") {
				t.Errorf("create again: %v", err)
			}
			w.shut(s)
			if _, err := s.Create(t.Context(), standby.Creating{Copy: true}); !errors.As(err, &taken) || !strings.Contains(err.Error(), "holds a server already") {
				t.Errorf("create over it: %v", err)
			}
		})
	}
}

// TestInterruptedCreate: nothing can be started that is not whole, no slot is left, and the
// next one replaces what is there.
func TestInterruptedCreate(t *testing.T) {
	w := newWorld(t)
	w.take()
	for _, copied := range []bool{true, false} {
		s := w.standby(fmt.Sprintf("copied_%t", copied))
		ctx, cancel := context.WithCancel(t.Context())
		_, err := s.Create(ctx, standby.Creating{Copy: copied, Progress: func(done, total int64) {
			if done > total/2 {
				cancel()
			}
		}})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("copied %t: %v", copied, err)
		}
		if _, err := os.Stat(filepath.Join(s.Data, "global", "pg_control")); !os.IsNotExist(err) {
			t.Errorf("copied %t: there is a pg_control: %v", copied, err)
		}
		if n := one[int](w, w.DSN("postgres"), "select count(*)::int from pg_replication_slots where slot_type = 'physical' and not temporary"); n != 0 {
			t.Errorf("copied %t: %d slots are left", copied, n)
		}
		_, err = s.Create(t.Context(), standby.Creating{Copy: copied, Start: true})
		w.ok(err)
		if n := one[int](w, s.DSN, "select count(*)::int from t"); n != 1000 {
			t.Errorf("copied %t: %d rows", copied, n)
		}
		w.shut(s)
		_, err = s.Drop(t.Context(), standby.Dropping{})
		w.ok(err)
	}
}

// TestTablespaces are copied to where they are said to go.
func TestTablespaces(t *testing.T) {
	w := newWorld(t)
	old, to := filepath.Join(backuptest.Dir(t, "space"), "a"), filepath.Join(backuptest.Dir(t, "space"), "b")
	w.ok(os.Mkdir(old, 0o700))
	w.ok(sandbox.Give(old))
	w.Exec("create tablespace far location '" + old + "'")
	w.Exec("create table far tablespace far as select * from t")
	s := w.standby("b")
	var in *standby.Error
	if _, err := s.Create(t.Context(), standby.Creating{Copy: true}); !errors.As(err, &in) || !strings.Contains(in.Try, "--tablespace "+old) {
		t.Fatalf("over the primary's own: %v", err)
	}
	if n := one[int](w, w.DSN("postgres"), "select count(*)::int from pg_replication_slots"); n != 0 {
		t.Errorf("%d slots are left of a create that failed", n)
	}
	s.Tablespaces = map[string]string{old: to}
	_, err := s.Create(t.Context(), standby.Creating{Copy: true, Start: true})
	w.ok(err)
	if n := one[int](w, s.DSN, "select count(*)::int from far"); n != 1000 {
		t.Errorf("%d rows", n)
	}
	if got := one[string](w, s.DSN, "select pg_tablespace_location(oid) from pg_tablespace where spcname = 'far'"); got != to {
		t.Errorf("the tablespace is in %s", got)
	}
}

// TestRefusals are told before anything is changed.
func TestRefusals(t *testing.T) {
	w := newWorld(t)
	w.take()
	other := backuptest.Start(t)
	for _, c := range []struct {
		name   string
		change func(*standby.Standby)
		how    standby.Creating
		want   string
	}{
		{"a limit that is lower than the primary's", func(s *standby.Standby) { s.Settings["max_connections"] = "10" }, standby.Creating{}, "max_connections = 10 is lower than the primary's 100"},
		{"another system's archive", func(s *standby.Standby) { s.Primary = other.DSN("postgres") }, standby.Creating{}, "the archive is of system"},
		{"no archive", func(s *standby.Standby) { s.Archive = nil }, standby.Creating{}, "there is no archive"},
		{"a backup for one that only streams", func(s *standby.Standby) { s.Follow, s.Command = standby.Stream, "" }, standby.Creating{}, "only streams"},
		{"a directory of something else", func(s *standby.Standby) {
			w.ok(os.Mkdir(s.Data, 0o700))
			w.ok(os.WriteFile(filepath.Join(s.Data, "mine"), nil, 0o600))
			w.ok(sandbox.Give(s.Data))
		}, standby.Creating{Copy: true}, "is not empty"},
		{"a path that depends on where we are", func(s *standby.Standby) { s.Data = "data" }, standby.Creating{Copy: true}, "not an absolute path"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := w.standby("b")
			c.change(s)
			_, err := s.Create(t.Context(), c.how)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v; want %s", err, c.want)
			}
			if n := one[int](w, w.DSN("postgres"), "select count(*)::int from pg_replication_slots"); n != 0 {
				t.Errorf("%d slots are left", n)
			}
		})
	}
}

// TestPassword is in a file of its own, and neither in the settings nor on a command line.
func TestPassword(t *testing.T) {
	w := newWorld(t)
	w.Exec("create role repl superuser replication login password 'se:cr\\et'")
	s := w.standby("b")
	s.Primary = "host=" + w.Dir + " port=5432 dbname=postgres user=repl password='se:cr\\\\et'"
	_, err := s.Create(t.Context(), standby.Creating{Copy: true, Start: true})
	w.ok(err)
	conf, err := os.ReadFile(filepath.Join(s.Data, "postgresql.auto.conf"))
	w.ok(err)
	file, err := os.ReadFile(s.Data + ".pgpass")
	w.ok(err)
	if strings.Contains(string(conf), "se:cr") || !strings.Contains(string(conf), "passfile="+s.Data+".pgpass") {
		t.Errorf("settings:\n%s", conf)
	}
	if want := `*:*:*:repl:se\:cr\\et` + "\n"; string(file) != want {
		t.Errorf("the password file is %q; want %q", file, want)
	}
	if info, err := os.Stat(s.Data + ".pgpass"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("its mode: %v, %v", info.Mode(), err)
	}
}

// TestReplay pauses, resumes and delays, and each is so when the call returns.
func TestReplay(t *testing.T) {
	w := newWorld(t)
	s := w.standby("b")
	_, err := s.Create(t.Context(), standby.Creating{Copy: true, Start: true})
	w.ok(err)
	w.insert(w.DSN("postgres"), 1999)
	w.has(s.DSN, 1999)
	w.ok(s.Pause(t.Context()))
	w.insert(w.DSN("postgres"), 2000)
	at := one[string](w, w.DSN("postgres"), "select pg_current_wal_lsn()::text")
	w.until("WAL arrives while replay is paused", func() bool {
		return one[bool](w, s.DSN, "select pg_last_wal_receive_lsn() >= $1::text::pg_lsn", at)
	})
	if st := s.State(t.Context()); !st.Paused || st.ReplayedAt == nil || !st.Well() || st.LagBytes == nil || *st.LagBytes == 0 || one[int](w, s.DSN, "select count(*)::int from t where n = 2000") != 0 {
		t.Errorf("paused: %+v", st)
	}
	w.ok(s.Resume(t.Context()))
	w.has(s.DSN, 2000)
	w.ok(s.SetDelay(t.Context(), time.Hour))
	w.insert(w.DSN("postgres"), 2001)
	if st := s.State(t.Context()); st.Delay != 3600 || st.Well() {
		t.Errorf("delayed: %+v", st)
	}
	w.ok(s.SetDelay(t.Context(), 0))
	w.has(s.DSN, 2001)

	var none *standby.NoStandbyError
	primary := *s
	primary.DSN = w.DSN("postgres")
	for name, do := range map[string]func() error{
		"pause": func() error { return primary.Pause(t.Context()) }, "delay": func() error { return primary.SetDelay(t.Context(), time.Second) },
		"promote": func() error { _, err := primary.Promote(t.Context(), standby.Promoting{}); return err },
	} {
		if err := do(); !errors.As(err, &none) {
			t.Errorf("%s of a primary: %v", name, err)
		}
	}
}

// A pause is told when it has lasted, and not while there is nothing to replay.
func TestPausedForLong(t *testing.T) {
	at, much := time.Date(2026, 11, 29, 13, 0, 0, 0, time.UTC), int64(45<<20)
	seconds := func(n float64) *float64 { return &n }
	for _, c := range []struct {
		name string
		s    standby.Standby
		lag  *float64
		want []string
	}{
		{name: "a moment", lag: seconds(30)},
		{name: "nothing to replay", lag: seconds(0)},
		{name: "long", lag: seconds(61), want: []string{"replay is paused, 45 MB behind: nothing is replayed that was committed after 2026-11-29 13:00:00Z"}},
		{name: "nobody knows", want: []string{"replay is paused, 45 MB behind: nothing is replayed that was committed after 2026-11-29 13:00:00Z"}},
		{name: "as declared", s: standby.Standby{Holds: true}, lag: seconds(4000)},
		{name: "within its delay", s: standby.Standby{Delay: time.Hour}, lag: seconds(3600)},
	} {
		st := standby.State{Role: standby.Following, Paused: true, LagBytes: &much, LagSeconds: c.lag, ReplayedAt: &at, Delay: c.s.Delay.Seconds(), Receiver: "streaming"}
		if diff := cmp.Diff(c.want, c.s.Complaints(st)); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

// TestDrop leaves no slot and no data that nobody asked to keep.
func TestDrop(t *testing.T) {
	w := newWorld(t)
	s := w.standby("b")
	_, err := s.Create(t.Context(), standby.Creating{Copy: true, Start: true})
	w.ok(err)
	refused := func(want string, d standby.Dropping) {
		t.Helper()
		if _, err := s.Drop(t.Context(), d); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v; want %s", err, want)
		}
	}
	refused("a server runs in", standby.Dropping{})
	w.names("alter system set synchronous_standby_names = 'FIRST 1 (a, b)'")
	refused("commits on the primary wait for it", standby.Dropping{Stop: true})
	w.names("alter system reset synchronous_standby_names")
	s.Stop = "exit 3"
	refused("exit status 3", standby.Dropping{Stop: true})
	s.Stop = "kill -INT $(head -1 " + s.Data + "/postmaster.pid)"
	done, err := s.Drop(t.Context(), standby.Dropping{Stop: true})
	w.ok(err)
	if !done.Stopped || !done.Slot || done.Data {
		t.Errorf("dropped %+v", done)
	}
	if n := one[int](w, w.DSN("postgres"), "select count(*)::int from pg_replication_slots"); n != 0 {
		t.Errorf("%d slots are left", n)
	}
	if done, err = s.Drop(t.Context(), standby.Dropping{RemoveData: true}); err != nil || !done.Data {
		t.Errorf("dropped again: %+v, %v", done, err)
	}
	if _, err := os.Stat(s.Data); !os.IsNotExist(err) {
		t.Errorf("the data is there: %v", err)
	}
}
