package main_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/skytools-go/skytools/sql/sandbox"
)

// TestOverflow takes the store away from a server that may let no more than 16 segments
// wait: the server goes on, what was left out is known on its host, and everywhere once
// the store is back; no restore leads across it, and a backup is taken at once. Source:
// design/wal.md, R13.
func TestOverflow(t *testing.T) {
	p := newPlace(t)
	s := p.primary()
	state := p.dir + "/state"
	p.ok(os.Mkdir(state, 0o700))
	p.own(state)
	p.declare("shop.yaml", s, "wal: {queue_alert: 16MB, on_overflow: drop, state_dir: "+state+`}, backup: {full: "Sun 02:00"}`, p.store)
	p.fine("wal", "init", "wal")
	daemon := p.serve()
	p.script(s, "create table t (v text)")
	first := p.rows(s, 1)
	p.until("the archive works", func() bool { return p.archived(first) })
	p.fine("backup", "wal")

	p.ok(os.Rename(p.store, p.store+".away")) // as a disk that is not mounted
	p.ok(os.Mkdir(p.store, 0o700))
	p.own(p.store)
	p.rows(s, 24)
	p.until("the queue is short enough", func() bool { return p.ready(s) <= 16 })
	last := p.rows(s, 4) // and stays so
	p.until("the queue is short enough again", func() bool { return p.ready(s) <= 16 })
	if text, err := os.ReadFile(state + "/wal.dropped"); err != nil || !strings.Contains(string(text), "may") {
		t.Errorf("what was left out is known to nobody: %s, %v", text, err)
	}
	if out := p.says(0, "status"); !strings.Contains(out, "was left out at") || !strings.Contains(out, "its stores were not looked at") {
		t.Errorf("status:\n%s", out)
	}
	kill(daemon)
	p.script(s, "checkpoint; checkpoint") // so that nothing of it can be brought after all
	if entries, err := os.ReadDir(p.store); err != nil || len(entries) > 0 {
		t.Errorf("something was written where the store is not: %v, %v", entries, err)
	}

	p.ok(os.Remove(p.store))
	p.ok(os.Rename(p.store+".away", p.store))
	p.serve()
	p.until("the rest is archived", func() bool { return p.archived(last) })
	p.until("the store knows what is missing", func() bool {
		_, err := os.Stat(state + "/wal.dropped")
		return errors.Is(err, os.ErrNotExist)
	})
	var found struct {
		Gaps []struct {
			First, Last, Because string
			Segments             int
			Dropped              bool
		}
	}
	p.ok(json.Unmarshal([]byte(p.says(10, "wal", "gaps", "wal", "--format", "json")), &found))
	if len(found.Gaps) == 0 || !found.Gaps[0].Dropped || !strings.Contains(found.Gaps[0].Because, "and 16 MB may") {
		t.Fatalf("gaps: %+v", found.Gaps)
	}
	gap := found.Gaps[0]
	for _, c := range []struct {
		code int
		args []string
		want string
	}{
		{10, []string{"wal", "gaps", "wal"}, "left out at"},
		{10, []string{"verify", "wal"}, "was left out at"},
		{0, []string{"status"}, "archive wal does not have " + gap.First},
		{10, []string{"restore", "wal", "--preview"}, "refused    the archive does not have " + gap.First},
		{1, []string{"restore", "wal", "--to", p.dir + "/run/data"}, "only a backup that was taken later leads further"},
		{1, []string{"restore", "wal", "--to", p.dir + "/run/data", "--time", "2100-01-01T00:00:00Z"}, gap.First},
	} {
		if out := p.says(c.code, c.args...); !strings.Contains(out, c.want) {
			t.Errorf("%q does not say %q:\n%s", c.args, c.want, out)
		}
	}
	if _, err := os.Stat(p.dir + "/run/data"); err == nil {
		t.Error("what was refused was restored all the same")
	}
	keeper := p.command("", "run", "--only", "backup", p.dir+"/shop.yaml")
	keeper.Stderr = os.Stderr
	p.ok(keeper.Start())
	t.Cleanup(func() { kill(keeper) })
	p.until("a backup behind the gap is taken", func() bool {
		_, err := p.skytools("restore", "wal", "--preview")
		return err == nil
	})
	keeper.Process.Signal(syscall.SIGTERM)
	if out := p.says(0, "restore", "wal", "--to", p.dir+"/run/data"); !strings.Contains(out, "Start the server") {
		t.Errorf("restore from behind the gap:\n%s", out)
	}
}

// TestOverflowWithoutDaemon does so where archive_command works alone, and with a place for
// what was left out that it cannot write to: then nothing is left out.
func TestOverflowWithoutDaemon(t *testing.T) {
	p := newPlace(t)
	s := p.primary()
	state := p.dir + "/state"
	p.declare("shop.yaml", s, "wal: {queue_alert: 16MB, on_overflow: drop, state_dir: "+state+"}", p.store)
	p.fine("wal", "init", "wal")
	p.script(s, "create table t (v text)")
	first := p.rows(s, 1)
	p.until("the archive works", func() bool { return p.archived(first) })
	p.ok(os.Rename(p.store, p.store+".away"))
	p.ok(os.Mkdir(p.store, 0o700))
	p.own(p.store)
	p.rows(s, 19)
	p.until("archiving fails", func() bool { return query[bool](p, s, "select failed_count > 0 from pg_stat_archiver") })
	if n := p.ready(s); n < 19 {
		t.Errorf("of 19 segments %d wait, and nobody knows of the others", n)
	}
	p.ok(os.Mkdir(state, 0o700))
	p.own(state)
	p.until("the queue is short enough", func() bool { return p.ready(s) <= 16 })
	p.ok(os.Remove(p.store))
	p.ok(os.Rename(p.store+".away", p.store))
	p.until("all that is left is archived, and the store knows the rest", func() bool {
		_, err := os.Stat(state + "/wal.dropped")
		p.rows(s, 1)
		return errors.Is(err, os.ErrNotExist)
	})
	if out := p.says(10, "wal", "gaps", "wal"); !strings.Contains(out, "left out at") {
		t.Errorf("gaps:\n%s", out)
	}
}

// ready counts the segments that wait to be archived.
func (p *place) ready(s *sandbox.Server) int {
	p.t.Helper()
	found, err := filepath.Glob(s.Dir + "/data/pg_wal/archive_status/*.ready")
	p.ok(err)
	return len(found)
}

// says runs the command, which ends with a code, and returns what it prints.
func (p *place) says(code int, args ...string) string {
	p.t.Helper()
	out, err := p.skytools(args...)
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		p.t.Fatal(err)
	}
	if got != code {
		p.t.Errorf("%q ended with %d, not %d:\n%s", args, got, code, out)
	}
	return out
}

// fine runs a command that has to succeed.
func (p *place) fine(args ...string) {
	p.t.Helper()
	p.says(0, args...)
}
