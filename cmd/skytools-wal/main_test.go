package main_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/sandbox"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// A place is a directory with the programs, the YAML and a store, as a host has them.
type place struct {
	t          *testing.T
	dir, store string
	env        []string
	who        *syscall.Credential // that servers run as
}

func newPlace(t *testing.T) *place {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "skytools-wal-")
	if err != nil {
		t.Fatal(err)
	}
	p := &place{t: t, dir: dir, store: filepath.Join(dir, "store"), who: credential(t)}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p.ok(os.Mkdir(p.store, 0o700))
	p.ok(os.Mkdir(dir+"/run", 0o700))
	out, err := exec.Command("go", "build", "-o", dir+"/", "../skytools", ".").CombinedOutput()
	if err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	p.own(dir, p.store, dir+"/run")
	p.env = append(os.Environ(), "SKYTOOLS_WAL_DIR="+dir+"/run")
	return p
}

// credential is the user of sandbox servers, if that is not ours.
func credential(t *testing.T) *syscall.Credential {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			uid, _ := strconv.Atoi(u.Uid)
			gid, _ := strconv.Atoi(u.Gid)
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	t.Fatal("there is no user to run servers as")
	return nil
}

func (p *place) own(paths ...string) {
	p.t.Helper()
	for _, path := range paths {
		if p.who != nil {
			p.ok(os.Chown(path, int(p.who.Uid), int(p.who.Gid)))
		}
	}
}

func (p *place) ok(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// primary starts a server with small segments that archives.
func (p *place) primary() *sandbox.Server {
	p.t.Helper()
	s := p.primaryWith(1)
	p.declare("shop.yaml", s, "", p.store)
	return s
}

// primaryWith starts one with segments of so many megabytes. There may be more arguments of
// its initdb.
func (p *place) primaryWith(megabytes int, initdb ...string) *sandbox.Server {
	p.t.Helper()
	return sandboxtest.Private(p.t, sandbox.Options{Initdb: append(initdb, fmt.Sprint("--wal-segsize=", megabytes)), Settings: map[string]string{
		"archive_mode": "on", "archive_command": p.client("push wal %p"), "wal_level": "replica",
		"max_wal_size": fmt.Sprint(max(32, 4*megabytes), "MB"), "min_wal_size": fmt.Sprint(2*megabytes, "MB"), "full_page_writes": "on",
	}})
}

// received is the declaration of an archive whose WAL skytools run receives, too.
const received = "wal: {transport: both, rpo: 1s}"

// declare writes YAML about the archive of a server, with more keys and these stores.
func (p *place) declare(name string, s *sandbox.Server, more string, stores ...string) {
	p.t.Helper()
	list := ""
	for _, dir := range stores {
		list += fmt.Sprintf("{url: %q}, ", "file://"+dir)
	}
	yaml := fmt.Sprintf("skytools: 1\ncluster: shop\ndatabases: {hub: {dsn: %q}}\narchives: {wal: {of: hub, stores: [%s], %s}}\n", s.DSN("postgres"), list, more)
	p.ok(os.WriteFile(filepath.Join(p.dir, name), []byte(yaml), 0o644))
}

// receive starts "skytools run" to receive WAL, and waits until it does.
func (p *place) receive(s *sandbox.Server) *exec.Cmd {
	p.t.Helper()
	cmd := p.command("", "run", "--only", "receive", p.dir+"/shop.yaml")
	cmd.Stderr = os.Stderr
	p.ok(cmd.Start())
	p.t.Cleanup(func() { kill(cmd) })
	p.until("the slot is there", func() bool {
		return query[bool](p, s, "select exists(select from pg_replication_slots where slot_name = 'skytools_wal' and active)")
	})
	return cmd
}

// untilReceived waits until the stores have what the server has flushed now.
func (p *place) untilReceived(s *sandbox.Server) {
	p.t.Helper()
	at := query[string](p, s, "select pg_current_wal_flush_lsn()::text")
	p.until("the stores have the last row", func() bool {
		return query[bool](p, s, "select coalesce(bool_or(flush_lsn >= '"+at+"'), false) from pg_stat_replication")
	})
}

// client is a command that PostgreSQL runs.
func (p *place) client(args string) string {
	return fmt.Sprintf("SKYTOOLS_WAL_DIR=%s/run %s/skytools-wal %s -- --spec %s/shop.yaml", p.dir, p.dir, args, p.dir)
}

// skytools runs the command as the user of the servers, and returns what it prints.
func (p *place) skytools(args ...string) (string, error) {
	p.t.Helper()
	return p.skytoolsAs("shop.yaml", args...)
}

// skytoolsAs does so with other YAML.
func (p *place) skytoolsAs(yaml string, args ...string) (string, error) {
	p.t.Helper()
	out, err := p.command(yaml, args...).CombinedOutput()
	return string(out), err
}

func (p *place) command(yaml string, args ...string) *exec.Cmd {
	args = slices.Clone(args)
	if yaml != "" {
		args = append(args, "--spec", filepath.Join(p.dir, yaml))
	}
	cmd := exec.Command(p.dir+"/skytools", args...)
	cmd.Env, cmd.Dir = p.env, p.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.who}
	return cmd
}

// serve starts "skytools wal serve".
func (p *place) serve() *exec.Cmd {
	p.t.Helper()
	cmd := p.command("shop.yaml", "wal", "serve", "wal", "--spool", p.dir+"/run")
	cmd.Stderr = os.Stderr
	p.ok(cmd.Start())
	p.t.Cleanup(func() { kill(cmd) })
	return cmd
}

func kill(cmd *exec.Cmd) {
	cmd.Process.Kill()
	cmd.Wait()
}

// until waits for something to become true.
func (p *place) until(what string, true func() bool) {
	p.t.Helper()
	for range 1200 {
		if true() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	p.t.Fatalf("it did not happen: %s", what)
}

func query[T any](p *place, s *sandbox.Server, text string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	conn, err := pg.Dial(ctx, s.DSN("postgres"), pg.Options{App: "test"})
	p.ok(err)
	defer conn.Close()
	value, err := pg.One[T](ctx, conn, text)
	p.ok(err)
	return value
}

// rows inserts rows and ends their segment, so many times, and returns the name of the
// last segment that is complete.
func (p *place) rows(s *sandbox.Server, times int) string {
	p.t.Helper()
	last := ""
	for range times {
		query[int64](p, s, "with i as (insert into t select repeat('x', 500) from generate_series(1, 200) returning 1) select count(*) from i")
		last = query[string](p, s, "select pg_walfile_name(pg_switch_wal())")
	}
	return last
}

func (p *place) archived(file string) bool {
	found, _ := filepath.Glob(p.store + "/e/*/wal/*/*/" + file)
	return len(found) > 0
}

func (p *place) script(s *sandbox.Server, text string) {
	p.t.Helper()
	conn, err := pg.Dial(p.t.Context(), s.DSN("postgres"), pg.Options{App: "test"})
	p.ok(err)
	defer conn.Close()
	p.ok(conn.Script(p.t.Context(), text))
}

// backup takes a base backup without WAL, and returns a server on it that does not run.
func (p *place) backup(s *sandbox.Server, settings string) *sandbox.Server {
	p.t.Helper()
	dir, err := os.MkdirTemp("/tmp", "skytools-pg-")
	p.ok(err)
	p.own(dir)
	cmd := exec.Command(filepath.Join(s.Install.Bin, "pg_basebackup"), "-D", dir+"/data", "-d", s.DSN("postgres"), "-X", "none", "-c", "fast", "--no-sync")
	cmd.SysProcAttr, cmd.Dir = &syscall.SysProcAttr{Credential: p.who}, dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		p.t.Fatalf("pg_basebackup: %v\n%s", err, out)
	}
	conf, err := os.OpenFile(dir+"/data/postgresql.conf", os.O_APPEND|os.O_WRONLY, 0)
	p.ok(err)
	fmt.Fprintf(conf, "unix_socket_directories = '%s'\nrecovery_target_timeline = 'latest'\n%s\n", dir, settings)
	p.ok(conf.Close())
	copied := &sandbox.Server{Dir: dir, Install: s.Install, Port: s.Port}
	p.t.Cleanup(func() { copied.Stop() })
	return copied
}

// signal says what a server is to do when it starts.
func (p *place) signal(s *sandbox.Server, name string) {
	p.t.Helper()
	file := filepath.Join(s.Dir, "data", name)
	p.ok(os.WriteFile(file, nil, 0o600))
	p.own(file)
}

// TestArchive kills the daemon and the clients again and again while a server archives:
// nothing is lost and nothing is damaged. Then it recovers a copy from the archive, with
// an outage in the middle, and no row is missing. Source: design/wal.md, P1, P11 and G1.
func TestArchive(t *testing.T) {
	p := newPlace(t)
	s := p.primary()
	if out, err := p.skytools("wal", "init", "wal"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p.script(s, "create table t (v text)")
	copied := p.backup(s, "archive_mode = off\nrestore_command = '"+p.dir+"/restore %f %p'")

	daemon, last := p.serve(), ""
	for round := range 4 {
		last = p.rows(s, 4)
		time.Sleep(time.Duration(round*30) * time.Millisecond)
		kill(daemon)
		if round%2 == 1 {
			p.rows(s, 2) // archived without a daemon
		}
		daemon = p.serve()
	}
	last = p.rows(s, 2)
	p.until("the last segment is archived", func() bool { return p.archived(last) })
	if out, err := p.skytools("wal", "gaps", "wal"); err != nil {
		t.Errorf("gaps: %v\n%s", err, out)
	}
	if out, err := p.skytools("wal", "verify", "wal"); err != nil {
		t.Errorf("verify: %v\n%s", err, out)
	}
	kill(daemon)
	want := query[int64](p, s, "select count(*) from t")

	// The store goes away when recovery asks for the last segment but one, once.
	script := fmt.Sprintf(`#!/bin/sh
if [ -e %[1]s/missing ] && [ "$1" = "$(cat %[1]s/missing)" ]; then rm %[1]s/missing; mv %[2]s %[2]s.away; mkdir %[2]s; fi
exec env SKYTOOLS_WITHIN=1s %[3]s
`, p.dir+"/run", p.store, p.client("get wal $1 $2"))
	p.ok(os.WriteFile(p.dir+"/restore", []byte(script), 0o755))
	p.ok(os.WriteFile(p.dir+"/run/missing", []byte(last), 0o644))
	p.own(p.dir + "/run/missing")
	p.signal(copied, "recovery.signal")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	copied.Resume(ctx) // its state before the outage may be called ready
	p.until("the outage stops recovery", func() bool { return !copied.Running() })
	if _, err := os.Stat(p.dir + "/run/missing"); err == nil || !strings.Contains(copied.Log(), "could not restore file") && !strings.Contains(copied.Log(), "not known whether") {
		t.Fatalf("recovery did not come to the outage:\n%s", copied.Log())
	}
	p.ok(os.Remove(p.store))
	p.ok(os.Rename(p.store+".away", p.store))
	p.serve() // and from here on with files fetched ahead
	p.ok(copied.Resume(ctx))
	p.until("recovery ends", func() bool { return !query[bool](p, copied, "select pg_is_in_recovery()") })
	if got := query[int64](p, copied, "select count(*) from t"); got != want {
		t.Errorf("%d rows after recovery, %d before", got, want)
	}
	if got := query[string](p, copied, "select substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"); got != "00000002" {
		t.Errorf("recovery ended on timeline %s", got)
	}
}

// TestArchiveAfterFailover promotes a standby whose primary could not archive, and closes the hole
// that this leaves; then the old primary is rescued. Source: design/wal.md, R12 and S6.
func TestArchiveAfterFailover(t *testing.T) {
	p := newPlace(t)
	s := p.primary()
	if out, err := p.skytools("wal", "init", "wal"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p.script(s, "create table t (v text)")
	begun := p.rows(s, 1)
	p.until("the archive works", func() bool { return p.archived(begun) })
	standby := p.backup(s, "primary_conninfo = '"+strings.ReplaceAll(s.DSN("postgres"), "'", "''")+"'\nprimary_slot_name = 's'\narchive_command = '"+p.client("push wal %p")+"'")
	p.script(s, "alter system set archive_command = 'false'")
	p.script(s, "select pg_reload_conf(), pg_create_physical_replication_slot('s')")
	p.signal(standby, "standby.signal")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	p.ok(standby.Resume(ctx))
	p.rows(s, 6)
	want := query[int64](p, s, "select count(*) from t")
	p.until("the standby has all rows", func() bool { return query[int64](p, standby, "select count(*) from t") == want })
	s.Kill()
	query[bool](p, standby, "select pg_promote()")
	last := p.rows(standby, 2)
	p.until("the new primary archives", func() bool { return p.archived(last) })
	var differs *exec.ExitError
	if out, err := p.skytools("wal", "gaps", "wal"); !errors.As(err, &differs) || differs.ExitCode() != 10 {
		t.Errorf("there is no hole to close: %v\n%s", err, out)
	}
	if out, err := p.skytools("wal", "push", "wal", "--from-datadir", standby.Dir+"/data", "--running"); err != nil {
		t.Errorf("fill the hole: %v\n%s", err, out)
	}
	if out, err := p.skytools("wal", "gaps", "wal"); err != nil {
		t.Errorf("the hole is still there: %v\n%s", err, out)
	}
	if out, err := p.skytools("wal", "push", "wal", "--from-datadir", s.Dir+"/data"); err != nil {
		t.Errorf("rescue: %v\n%s", err, out)
	}
	out, err := p.skytools("wal", "list", "wal", "--format", "json")
	p.ok(err)
	var listed struct {
		WAL []struct {
			Timeline    int
			Kind, First string
		}
	}
	p.ok(json.Unmarshal([]byte(out[strings.Index(out, "{"):]), &listed))
	kinds := map[string]bool{}
	for _, e := range listed.WAL {
		kinds[fmt.Sprintf("%s %d", e.Kind, e.Timeline)] = true
	}
	for _, kind := range []string{"segment 1", "segment 2", "partial segment 1", "history 2"} {
		if !kinds[kind] {
			t.Errorf("there is no %s: %s", kind, out)
		}
	}
}

// TestRun lets "skytools run" receive WAL that archive_command does not bring, up to the
// last row, and recovers from that alone.
func TestRun(t *testing.T) {
	p := newPlace(t)
	s := p.primary()
	p.script(s, "alter system set archive_command = 'false'")
	p.script(s, "select pg_reload_conf()")
	p.declare("shop.yaml", s, received, p.store)
	if out, err := p.skytools("wal", "init", "wal"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	run := p.receive(s)
	p.script(s, "create table t (v text)")
	p.script(s, "alter system set archive_mode = off") // or a backup waits for archive_command
	s.Halt()
	p.ok(s.Resume(t.Context()))
	p.until("it receives again", func() bool {
		return query[bool](p, s, "select active from pg_replication_slots where slot_name = 'skytools_wal'")
	})
	copied := p.backup(s, "restore_command = '"+p.client("get wal %f %p")+"'")
	p.rows(s, 3)
	p.script(s, "insert into t values ('the last one')")
	p.untilReceived(s)
	want := query[int64](p, s, "select count(*) from t")
	s.Kill()
	kill(run)
	p.signal(copied, "recovery.signal")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p.ok(copied.Resume(ctx))
	p.until("recovery ends", func() bool { return !query[bool](p, copied, "select pg_is_in_recovery()") })
	if got := query[int64](p, copied, "select count(*) from t"); got != want {
		t.Errorf("%d rows after recovery, %d before", got, want)
	}
}

// What PostgreSQL would misread never comes out. Source: design/wal.md, R7 and R15.
func TestExitCodes(t *testing.T) {
	p := newPlace(t)
	p.ok(os.WriteFile(p.dir+"/shop.yaml", []byte("skytools: 1\n"), 0o644))
	p.ok(os.MkdirAll(p.dir+"/standby/pg_wal", 0o755))
	p.ok(os.WriteFile(p.dir+"/standby/PG_VERSION", []byte("15\n"), 0o644))
	p.ok(os.WriteFile(p.dir+"/standby/standby.signal", nil, 0o644))
	for _, c := range []struct {
		in, args string
		want     int
	}{
		{"", "", 1},
		{"", "push", 1},
		{"", "push wal x", 1},
		{"", "push ../wal x", 1},
		{"", "push wal x -- --no-such-flag", 1},
		{"", "get", 200},
		{"", "get wal 00000002.history x", 200},
		{"", "get wal 00000002.history x -- --no-such-flag", 200},
		{"", "get wal 00000002.history x -- --spec /nowhere", 200},
		{"standby", "get wal 00000002.history pg_wal/x", 1},
	} {
		cmd := exec.Command(p.dir+"/skytools-wal", strings.Fields(c.args)...)
		cmd.Env, cmd.Dir = append(p.env, "SKYTOOLS_SPEC="+p.dir+"/shop.yaml"), filepath.Join(p.dir, c.in)
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != c.want {
			t.Errorf("%s: %v, not %d\n%s", c.args, err, c.want, out)
		}
	}
	cmd := exec.Command(p.dir+"/skytools-wal", "get", "wal", "00000002.history", "x")
	cmd.Env = append(p.env, "SKYTOOLS=/nowhere/skytools")
	cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != 200 {
		t.Errorf("without a program to become: %d", code)
	}
}
