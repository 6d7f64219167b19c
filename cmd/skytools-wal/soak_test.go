package main_test

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/runners/wal"
	"github.com/skytools-go/skytools/runners/wal/repo"
	"github.com/skytools-go/skytools/runners/wal/segment"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/sandbox"
)

// TestSoak kills everything that has a part in an archive, at random, while rows are
// committed: the server, the daemon, the client, the receiver, backups and restores.
// Now and then, and at the end, the newest backup is restored from the stores alone:
//
//   - every row is there that was acknowledged before the WAL up to which the archiver has
//     had its answers, or the receiver, where there is one, has said that it is flushed
//   - of each writer there is no row without those before it, and none twice
//   - in the end all rows of the server are there, from either store; verify finds nothing,
//     and the stores hold the same
//
// SOAK_KILLS says how many times; SOAK_SEED takes the same decisions again.
// Source: design/wal.md, 4.2, P1, S1, B1 and B9.
func TestSoak(t *testing.T) {
	kills, seed := number(t, "SOAK_KILLS", 15), uint64(number(t, "SOAK_SEED", time.Now().UnixNano()))
	t.Logf("%d kills, SOAK_SEED=%d", kills, seed)
	// What is received makes good what the archiver would have lost.
	t.Run("archived", func(t *testing.T) { survive(t, seed, false, kills/2) })
	t.Run("archived and received", func(t *testing.T) { survive(t, seed, true, kills-kills/2) })
}

// survive kills so many times.
func survive(t *testing.T, seed uint64, receives bool, kills int64) {
	w := newSoak(t, seed, receives)
	began, checked := time.Now(), int64(0)
	for n := w.kills.total(); n < kills && !t.Failed(); n = w.kills.total() {
		w.strike()
		if n-checked >= max(kills/20, 8) {
			w.check()
			checked = n
			t.Logf("%s: %d kills: %s; %d rows", time.Since(began).Round(time.Second), w.kills.total(), w.kills, w.ledger.acked())
		}
	}
	w.end()
	t.Logf("%d kills in %s, %d restores checked: %s; %d rows", w.kills.total(), time.Since(began).Round(time.Second), w.checks, w.kills, w.ledger.acked())
	if w.ledger.acked() < 20 {
		t.Error("too little has happened")
	}
}

func number(t *testing.T, env string, otherwise int64) int64 {
	t.Helper()
	text := os.Getenv(env)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", env, err)
	}
	return n
}

// A soak is a server, what archives it, and who writes there.
type soak struct {
	*place
	server    *sandbox.Server
	rand      *rand.Rand
	how       string // received, or empty
	second    string // the other store
	target    string // of restores
	processes map[string]*process
	ledger    *ledger
	kills     tally
	checks    int
}

func newSoak(t *testing.T, seed uint64, receives bool) *soak {
	t.Helper()
	w := &soak{place: newPlace(t), rand: rand.New(rand.NewPCG(seed, 0)), processes: map[string]*process{}}
	if receives {
		w.how = received
	}
	t.Setenv("SKYTOOLS_WAL_DIR", w.dir+"/run") // for the restore_command of restored servers
	w.second, w.target = w.dir+"/second", w.dir+"/restored/data"
	for _, dir := range []string{w.second, filepath.Dir(w.target)} {
		w.ok(os.Mkdir(dir, 0o700))
		w.own(dir)
	}
	w.server = w.primaryWith(1, "--data-checksums")
	w.declare("shop.yaml", w.server, w.how, w.store, w.second)
	w.works("wal", "init", "wal")
	w.script(w.server, "create table ledger (writer int4, seq int8)")
	w.script(w.server, "alter system set archive_timeout = '3s'")
	w.script(w.server, "select pg_reload_conf()")
	t.Cleanup(func() {
		for _, p := range w.processes {
			p.kill()
		}
	})
	w.start("daemon")
	w.works("backup", "wal")
	if receives {
		w.start("receiver")
		w.until("the receiver receives", func() bool { return w.streamed() > 0 })
	}
	w.ledger = w.keep(seed)
	return w
}

func (w *soak) Helper() { w.t.Helper() }

// streamed is the position up to which the receiver has said that it is flushed. It is 0
// when the server does not say.
func (w *soak) streamed() (at sql.LSN) {
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	conn, err := pg.Dial(ctx, w.server.DSN("postgres"), pg.Options{App: "soak"})
	if err != nil {
		return 0
	}
	defer conn.Close()
	text, err := pg.One[string](ctx, conn, "select coalesce((select restart_lsn::text from pg_replication_slots where slot_name = 'skytools_wal'), '0/0')")
	if err == nil {
		at, err = sql.ParseLSN(text)
	}
	if err != nil {
		return 0
	}
	return at
}

// answered is the position up to which archive_command has succeeded, as the directory of
// the server says: all segments before it have been archived or have gone.
func (w *soak) answered() sql.LSN {
	w.Helper()
	dir := wal.DataDir(filepath.Join(w.server.Dir, "data"))
	names, err := dir.Files()
	w.ok(err)
	for _, n := range names {
		if n.Kind != segment.Whole {
			continue
		}
		if _, err := os.Stat(filepath.Join(string(dir), "pg_wal", "archive_status", n.String()+".done")); err != nil {
			return segment.Size(1 << 20).Start(n)
		}
	}
	w.t.Fatal("there is no segment that is not archived")
	return 0
}

// check kills the server and all that archives, restores to the latest from the stores
// alone, and lets all go on.
func (w *soak) check() {
	w.Helper()
	streamed := w.streamed()
	w.hit("receiver")
	w.hit("daemon")
	w.server.Kill()
	w.kills.add("server")
	upTo := max(streamed, w.answered())
	if w.rand.IntN(2) == 0 {
		w.start("daemon")
	}
	w.report(w.ledger.compare(w.restored("shop.yaml"), upTo))
	w.resume()
	w.start("daemon")
	if w.how == received {
		w.start("receiver")
	}
}

func (w *soak) report(wrong []string) {
	w.Helper()
	for _, text := range wrong[:min(len(wrong), 20)] {
		w.t.Error(text)
	}
}

// restored restores to the latest, and returns the rows in a server that has recovered.
func (w *soak) restored(yaml string) map[int32][]int64 {
	w.Helper()
	w.checks++
	if out, err := w.skytoolsAs(yaml, "restore", "wal", "--to", w.target, "--delta"); err != nil {
		w.t.Fatalf("%v\n%s", err, out)
	}
	defer os.RemoveAll(w.target)
	ctx, cancel := context.WithTimeout(w.t.Context(), 3*time.Minute)
	defer cancel()
	s, err := sandbox.Start(ctx, sandbox.Options{Install: w.server.Install, Data: w.target})
	w.ok(err)
	defer s.Stop()
	w.until("recovery ends", func() bool { return !query[bool](w.place, s, "select pg_is_in_recovery()") })
	return w.rows(s)
}

func (w *soak) rows(s *sandbox.Server) map[int32][]int64 {
	w.Helper()
	conn, err := pg.Dial(w.t.Context(), s.DSN("postgres"), pg.Options{App: "soak"})
	w.ok(err)
	defer conn.Close()
	type row struct {
		Writer int32
		Seq    int64
	}
	rows, err := pg.Structs[row](w.t.Context(), conn, "select writer, seq from ledger order by writer, seq")
	w.ok(err)
	all := map[int32][]int64{}
	for _, r := range rows {
		all[r.Writer] = append(all[r.Writer], r.Seq)
	}
	return all
}

// end lets everything arrive, and compares what the stores hold with the server and with
// each other. Then the server is gone, and each store must do alone.
func (w *soak) end() {
	w.Helper()
	w.ledger.stop()
	for _, role := range []string{"backup", "restore"} {
		if p := w.processes[role]; p != nil {
			<-p.done
		}
	}
	want := w.rows(w.server)
	w.report(w.ledger.compare(want, ^sql.LSN(0)))
	w.works("wal", "prove", "wal")
	tip := query[string](w.place, w.server, "select pg_walfile_name(pg_switch_wal())")
	w.until("everything is archived", func() bool {
		ready, err := wal.DataDir(filepath.Join(w.server.Dir, "data")).Ready()
		return err == nil && len(ready) == 0 && w.archived(tip)
	})
	if p := w.processes["receiver"]; p != nil {
		p.cmd.Process.Signal(syscall.SIGTERM)
		<-p.done
	}
	for _, command := range [][]string{{"wal", "gaps", "wal"}, {"wal", "verify", "wal"}, {"verify", "wal", "--deep"}} {
		if out, err := w.skytools(command...); err != nil {
			w.t.Errorf("%v: %v\n%s", command, err, out)
		}
	}
	if diff := cmp.Diff(w.content(w.store), w.content(w.second)); diff != "" {
		w.t.Errorf("the stores differ (-first +second):\n%s", diff)
	}
	w.server.Kill()
	w.ok(w.server.Stop())
	for i, store := range []string{w.store, w.second} {
		w.declare("alone.yaml", w.server, w.how, store)
		if diff := cmp.Diff(want, w.restored("alone.yaml")); diff != "" {
			w.t.Errorf("restored from store %d alone (-server +restored):\n%s", i+1, diff)
		}
	}
}

// content is what a store has of WAL and of complete backups: keys and digests.
func (w *soak) content(store string) map[string]string {
	w.Helper()
	all := map[string]string{}
	w.ok(filepath.WalkDir(filepath.Join(store, "e"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), ".new-") { // what those who were killed have left goes a day later
			return err
		}
		key, err := filepath.Rel(store, path)
		if err != nil {
			return err
		}
		head := make([]byte, repo.HeaderSize)
		switch {
		case matches(key, "e/*/wal/*/*/*"), matches(key, "e/*/wal/*/*"):
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			if _, err := io.ReadFull(f, head); err != nil {
				return err
			}
			h, err := repo.ParseHeader(head)
			all[key] = h.SHA256
			return err
		case matches(key, "e/*/backup/*/manifest"):
			info, err := d.Info()
			if err == nil {
				all[key] = fmt.Sprint(info.Size(), " bytes")
			}
			return err
		}
		return nil // packs of backups that were killed; those of others verify has compared
	}))
	return all
}

func matches(key, pattern string) bool {
	ok, _ := filepath.Match(pattern, key)
	return ok
}
