package main_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/skytools-go/skytools/sql/sandbox"
)

// TestSegmentSizes takes segments of the smallest and of a large size the whole way: by the
// daemon, by the receiver up to the last row, with a backup, to a moment and to the latest.
// Source: design/wal.md, 4.2 and G7.
func TestSegmentSizes(t *testing.T) {
	p := newPlace(t)
	t.Setenv("SKYTOOLS_WAL_DIR", p.dir+"/run") // for the restore_command of restored servers
	for _, megabytes := range []int{1, 64} {
		t.Run(fmt.Sprint(megabytes, " MB"), func(t *testing.T) {
			p := *p
			p.t, p.store = t, filepath.Join(p.dir, fmt.Sprint("store-", megabytes))
			p.ok(os.Mkdir(p.store, 0o700))
			p.own(p.store)
			s := p.primaryWith(megabytes)
			p.declare("shop.yaml", s, received, p.store)
			p.works("wal", "init", "wal")
			daemon, receiver := p.serve(), p.receive(s)
			p.script(s, "create table t (v text)")
			p.works("backup", "wal")
			p.script(s, "insert into t values ('before')")
			time.Sleep(2100 * time.Millisecond) // the end of a backup is known to the second
			moment := query[time.Time](&p, s, "select clock_timestamp()")
			p.script(s, "insert into t values ('after')")
			for range 2 {
				p.works("wal", "prove", "wal")
			}
			if n := query[int64](&p, s, "select archived_count from pg_stat_archiver"); n == 0 {
				t.Error("archive_command has archived nothing")
			}
			p.script(s, "insert into t values ('tip')")
			p.untilReceived(s)
			s.Kill()
			kill(receiver)
			p.works("wal", "gaps", "wal")
			p.works("verify", "wal", "--deep")
			if got := p.restoredTo("--time", moment.UTC().Format(time.RFC3339Nano)); got != "before" {
				t.Errorf("at the moment there is %s", got)
			}
			kill(daemon)
			if got := p.restoredTo("--latest"); got != "before after tip" {
				t.Errorf("in the end there is %s", got)
			}
		})
	}
}

// works runs a command that must succeed.
func (p *place) works(args ...string) {
	p.t.Helper()
	if out, err := p.skytools(args...); err != nil {
		p.t.Fatalf("skytools %v: %v\n%s", args, err, out)
	}
}

// restoredTo restores to a target, and returns what table t has there.
func (p *place) restoredTo(target ...string) string {
	p.t.Helper()
	to := filepath.Join(p.dir, "restored")
	p.works(append([]string{"restore", "wal", "--to", to}, target...)...)
	defer os.RemoveAll(to)
	ctx, cancel := context.WithTimeout(p.t.Context(), 2*time.Minute)
	defer cancel()
	s, err := sandbox.Start(ctx, sandbox.Options{Data: to})
	p.ok(err)
	defer s.Stop()
	p.until("recovery ends", func() bool { return !query[bool](p, s, "select pg_is_in_recovery()") })
	return query[string](p, s, "select string_agg(v, ' ' order by ctid) from t")
}
