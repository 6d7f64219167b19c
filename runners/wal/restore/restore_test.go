package restore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/skytools-go/skytools/runners/wal/backup"
	"github.com/skytools-go/skytools/runners/wal/backup/backuptest"
	"github.com/skytools-go/skytools/runners/wal/restore"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/sandbox"
)

// digest is the content of all tables of a test.
const digest = "select string_agg(md5(t::text), ',' order by t::text) from (select * from ledger) t"

// TestRoundTrip: a backup under load, with a tablespace, encrypted, and every kind of
// target, hit exactly.
func TestRoundTrip(t *testing.T) {
	c := backuptest.Start(t)
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	shelf := c.Shelf(backuptest.Dir(t, "store"))
	shelf.Recipients, shelf.Identities = []string{identity.Recipient().String()}, []age.Identity{identity}
	c.Fill("large", 8)
	ledger := c.Keep()
	first := c.Take(shelf, c.Options())

	// Four points in time, each with the last row before it.
	wait := func() {
		for n := ledger.Acked(); ledger.Acked() < n+20; time.Sleep(time.Millisecond) {
		}
	}
	wait()
	c.Exec("select pg_create_restore_point('here')")
	wait()
	lsn, err := sql.ParseLSN(backuptest.One[string](c, "select pg_current_wal_insert_lsn()::text"))
	if err != nil {
		t.Fatal(err)
	}
	wait()
	c.Exec("create table marked (xid xid8)")
	wait()
	xid := backuptest.One[string](c, "with w as (insert into marked values (pg_current_xact_id()) returning xid) select xid::text from w")
	wait()
	time.Sleep(2100 * time.Millisecond) // a backup's end and beginning are known to the second each
	moment := backuptest.One[time.Time](c, "select clock_timestamp()")
	wait()
	last := ledger.Stop()
	c.Exec("select pg_switch_wal()")
	if got := backuptest.Check(t, c.DSN("postgres")); got != last {
		t.Fatalf("the ledger itself ends at %d, not %d", got, last)
	}
	if err := walOf(c).Wait(t.Context(), 1, first.Start, lsn); err != nil {
		t.Fatal(err)
	}
	c.Archived()
	want := backuptest.One[string](c, digest)

	t.Run("latest", func(t *testing.T) {
		r := restored(t, c, shelf, restore.Target{})
		if got := backuptest.Check(t, r.DSN("postgres")); got != last || backuptest.One[string](r, digest) != want {
			t.Errorf("the ledger ends at %d; want %d", got, last)
		}
		if got := backuptest.One[int64](r, "select count(*) from large"); got != 8*6200 {
			t.Errorf("large has %d rows", got)
		}
		if mode := backuptest.One[string](r, "show archive_mode"); mode != "off" {
			t.Errorf("the clone archives: %s", mode)
		}
	})
	t.Run("lsn", func(t *testing.T) {
		r := restored(t, c, shelf, restore.Target{LSN: lsn})
		backuptest.Check(t, r.DSN("postgres"))
		if n := backuptest.One[int64](r, "select count(*) from pg_class where relname = 'marked'"); n != 0 {
			t.Error("what came after the position is there")
		}
	})
	t.Run("name", func(t *testing.T) {
		r := restored(t, c, shelf, restore.Target{Name: "here"})
		backuptest.Check(t, r.DSN("postgres"))
		if !strings.Contains(r.Log(), `recovery stopping at restore point "here"`) {
			t.Error("it did not stop at the restore point")
		}
	})
	for _, exclusive := range []bool{false, true} {
		t.Run(fmt.Sprintf("xid, exclusive %v", exclusive), func(t *testing.T) {
			r := restored(t, c, shelf, restore.Target{XID: xid, Exclusive: exclusive})
			backuptest.Check(t, r.DSN("postgres"))
			if n := backuptest.One[int64](r, "select count(*) from marked"); n == 1 == exclusive {
				t.Errorf("%d rows of that transaction", n)
			}
		})
	}
	t.Run("time", func(t *testing.T) {
		r := restored(t, c, shelf, restore.Target{Time: moment})
		got := backuptest.Check(t, r.DSN("postgres"))
		// The clock of a row is read before its commit: of those around the moment one may
		// be on either side.
		before := backuptest.One[int64](c, "select count(*) from ledger where at < $1", moment)
		if got != before && got != before-1 {
			t.Errorf("the ledger ends at %d; %d rows are from before", got, before)
		}
	})
	t.Run("immediate", func(t *testing.T) {
		r := restored(t, c, shelf, restore.Target{Immediate: true})
		if got := backuptest.Check(t, r.DSN("postgres")); got >= last {
			t.Errorf("the ledger ends at %d", got)
		}
	})
	t.Run("a standby", func(t *testing.T) {
		to := filepath.Join(backuptest.Dir(t, "restored"), "data")
		into(t, c, shelf, restore.Target{}, restore.Options{To: to, As: restore.Standby, Conninfo: c.DSN("postgres")})
		s := c.At(start(t, to))
		if !backuptest.One[bool](s, "select pg_is_in_recovery()") {
			t.Error("it is no standby")
		}
	})
	t.Run("a time before the backup", func(t *testing.T) {
		_, err := restore.Look(t.Context(), shelf, walOf(c), restore.Target{Time: first.Began.Add(-time.Minute)}, "")
		var none *restore.NoBackupError
		if !errors.As(err, &none) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a preview names missing WAL", func(t *testing.T) {
		gone := walOf(c).Name(1, lsn)
		if err := os.Rename(filepath.Join(c.WAL, gone), filepath.Join(c.WAL, "."+gone)); err != nil {
			t.Fatal(err)
		}
		defer os.Rename(filepath.Join(c.WAL, "."+gone), filepath.Join(c.WAL, gone))
		p, err := restore.Look(t.Context(), shelf, walOf(c), restore.Target{LSN: lsn + 1}, "")
		if err != nil || len(p.Missing) != 1 || p.Missing[0] != gone || p.Bytes != first.Bytes || p.Segments == 0 {
			t.Errorf("got %+v, %v; want %s missing", p, err, gone)
		}
	})
}

// tree is what is in a directory: names and content.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			files[name], err = os.Readlink(path)
		case d.IsDir():
			files[name] = "directory"
		default:
			var content []byte
			content, err = os.ReadFile(path)
			files[name] = string(content)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func sameTree(t *testing.T, got, want map[string]string) {
	t.Helper()
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s differs", name)
		}
	}
	for name := range got {
		if _, known := want[name]; !known {
			t.Errorf("%s does not belong there", name)
		}
	}
}

// TestDelta: whatever was damaged, added or removed, the directory is that of a fresh
// restore again, and only what differed was fetched.
func TestDelta(t *testing.T) {
	c := backuptest.Start(t)
	space := filepath.Join(backuptest.Dir(t, "space"), "old")
	moved := filepath.Join(backuptest.Dir(t, "space"), "new")
	if err := errors.Join(os.Mkdir(space, 0o700), sandbox.Give(space)); err != nil {
		t.Fatal(err)
	}
	c.Exec("create tablespace other location " + sql.Literal(space))
	c.Fill("large", 8)
	c.Exec("alter table large set tablespace other")
	c.Fill("small", 1)
	shelf := c.Shelf(backuptest.Dir(t, "store"))
	c.Take(shelf, c.Options())

	to := filepath.Join(backuptest.Dir(t, "restored"), "data")
	o := restore.Options{To: to, Tablespaces: map[string]string{space: moved}}
	if _, err := restore.Look(t.Context(), shelf, walOf(c), restore.Target{}, ""); err != nil {
		t.Fatal(err)
	}
	into(t, c, shelf, restore.Target{}, o)
	fresh, freshSpace := tree(t, to), tree(t, moved)

	damage := func() {
		relation := backuptest.One[string](c, "select pg_relation_filepath('small')")
		f, err := os.OpenFile(filepath.Join(to, relation), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.WriteAt([]byte("damage"), 100_000)
		f.Close()
		os.WriteFile(filepath.Join(to, "base", "stray"), []byte("x"), 0o600)
		os.MkdirAll(filepath.Join(to, "base", "99999"), 0o700)
		os.Remove(filepath.Join(to, "PG_VERSION"))
		os.WriteFile(filepath.Join(to, "postmaster.pid"), []byte("999999999\n"), 0o600)
		large := backuptest.One[string](c, "select pg_relation_filepath('large')")
		_, below, _ := strings.Cut(strings.TrimPrefix(large, "pg_tblspc/"), "/")
		if err := os.Truncate(filepath.Join(moved, below), 1_000_000); err != nil {
			t.Fatal(err)
		}
	}
	damage()
	if _, err := tryRestore(t, c, shelf, o); !strings.Contains(fmt.Sprint(err), "not empty") {
		t.Errorf("without delta: %v", err)
	}
	o.Delta = true
	result := into(t, c, shelf, restore.Target{}, o)
	if result.Removed < 3 || result.Kept == 0 || result.Written > 12<<20 || result.Written < 6<<20 {
		t.Errorf("it did %+v", result)
	}
	sameTree(t, tree(t, to), fresh)
	sameTree(t, tree(t, moved), freshSpace)
	r := c.At(start(t, to))
	r.Recovered()
	if n := backuptest.One[int64](r, "select count(*) from large"); n != 8*6200 {
		t.Errorf("large has %d rows", n)
	}
	if _, err := tryRestore(t, c, shelf, o); !strings.Contains(fmt.Sprint(err), "in use") {
		t.Errorf("over a running server: %v", err)
	}
}

func tryRestore(t *testing.T, c *backuptest.Cluster, shelf *backup.Shelf, o restore.Options) (restore.Result, error) {
	t.Helper()
	p, err := restore.Look(t.Context(), shelf, walOf(c), restore.Target{}, "")
	if err != nil {
		t.Fatal(err)
	}
	o.As, o.Command = restore.Clone, command(c)
	return restore.Restore(t.Context(), shelf, p.Backup, p.Choice, o)
}

func TestRestoreRefuses(t *testing.T) {
	c := backuptest.Start(t)
	shelf := c.Shelf(backuptest.Dir(t, "store"))
	c.Take(shelf, c.Options())
	foreign := backuptest.Dir(t, "foreign")
	if err := os.WriteFile(filepath.Join(foreign, "thesis.tex"), []byte("important"), 0o600); err != nil {
		t.Fatal(err)
	}
	other := backuptest.Start(t)
	other.Halt()
	for dir, why := range map[string]string{
		foreign:                          "no data directory",
		filepath.Join(other.Dir, "data"): "another system",
		filepath.Join(c.Dir, "data"):     "in use",
		"relative":                       "not an absolute path",
	} {
		before := map[string]string{}
		if filepath.IsAbs(dir) && dir != filepath.Join(c.Dir, "data") {
			before = tree(t, dir)
		}
		if _, err := tryRestore(t, c, shelf, restore.Options{To: dir, Delta: true}); !strings.Contains(fmt.Sprint(err), why) {
			t.Errorf("%s: %v", dir, err)
		}
		if len(before) > 0 {
			sameTree(t, tree(t, dir), before)
		}
	}
}

// TestRestoreKilled runs a restore in a process of its own and kills it at many points:
// no server starts on what is there, and another run completes it.
func TestRestoreKilled(t *testing.T) {
	if dir := os.Getenv("RESTORE_TEST_TO"); dir != "" {
		child(t, dir)
		return
	}
	c := backuptest.Start(t)
	c.Fill("large", 6)
	ledger := c.Keep()
	store := backuptest.Dir(t, "store")
	shelf := c.Shelf(store)
	c.Take(shelf, c.Options())
	last := ledger.Stop()
	c.Exec("select pg_switch_wal()")
	c.Archived()
	to := filepath.Join(backuptest.Dir(t, "restored"), "data")
	for n := 1; n <= 6; n++ {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestRestoreKilled$")
		cmd.Env = append(os.Environ(), "RESTORE_TEST_TO="+to, "RESTORE_TEST_STORE="+store, "RESTORE_TEST_WAL="+c.WAL, "RESTORE_TEST_SYSTEM="+c.System,
			fmt.Sprint("RESTORE_TEST_DIE=", n*n*20))
		out, err := cmd.CombinedOutput()
		cancel()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != -1 {
			t.Fatalf("it was not killed: %v\n%s", err, out)
		}
		if _, err := os.Stat(filepath.Join(to, "global", "pg_control")); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("after %d: pg_control is there", n)
		}
	}
	out, err := exec.Command(filepath.Join(c.Install.Bin, "pg_controldata"), to).CombinedOutput()
	if err == nil {
		t.Errorf("a server would start: %s", out)
	}
	into(t, c, shelf, restore.Target{}, restore.Options{To: to})
	r := c.At(start(t, to))
	r.Recovered()
	if got := backuptest.Check(t, r.DSN("postgres")); got != last {
		t.Errorf("the ledger ends at %d; want %d", got, last)
	}
}

// child restores until it has made so much progress, and kills itself.
func child(t *testing.T, to string) {
	c := &backuptest.Cluster{WAL: os.Getenv("RESTORE_TEST_WAL"), System: os.Getenv("RESTORE_TEST_SYSTEM")}
	c = c.For(t)
	var die, calls int64
	fmt.Sscan(os.Getenv("RESTORE_TEST_DIE"), &die)
	var n atomic.Int64
	into(t, c, c.Shelf(os.Getenv("RESTORE_TEST_STORE")), restore.Target{}, restore.Options{To: to, Progress: func(int64, int64) {
		if calls = n.Add(1); calls == die {
			self, _ := os.FindProcess(os.Getpid())
			self.Kill()
			select {}
		}
	}})
}

// TestDamagedStore: what is damaged in one store comes from the other, and what is
// damaged in both is an error and no server.
func TestDamagedStore(t *testing.T) {
	c := backuptest.Start(t)
	c.Fill("large", 2)
	one, two := backuptest.Dir(t, "one"), backuptest.Dir(t, "two")
	shelf := c.Shelf(one, two)
	shelf.Stores[1].Required = true
	m := c.Take(shelf, c.Options())
	pack := filepath.Join("e", c.System, "pack", string(m.ID), "00000")
	spoil(t, filepath.Join(one, pack))
	to := filepath.Join(backuptest.Dir(t, "restored"), "data")
	into(t, c, shelf, restore.Target{}, restore.Options{To: to})

	spoil(t, filepath.Join(two, pack))
	to = filepath.Join(backuptest.Dir(t, "restored"), "data")
	_, err := tryRestore(t, c, shelf, restore.Options{To: to})
	var damage *backup.DamageError
	if !errors.As(err, &damage) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(to, "global", "pg_control")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a server would start")
	}
}

// spoil changes one byte in the middle of a file.
func spoil(t *testing.T, file string) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(content)
	bad[len(bad)/2] ^= 0x20
	if err := os.WriteFile(file, bad, 0o600); err != nil {
		t.Fatal(err)
	}
}
