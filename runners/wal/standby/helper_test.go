package standby_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/wal"
	"github.com/skytools-go/skytools/runners/wal/archive"
	"github.com/skytools-go/skytools/runners/wal/archive/archivetest"
	"github.com/skytools-go/skytools/runners/wal/backup/backuptest"
	"github.com/skytools-go/skytools/runners/wal/standby"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/sandbox"
)

// A world is a primary that archives, its archive, and standbys beside it.
type world struct {
	testing.TB
	*backuptest.Cluster
	archive *archive.Archive
}

func newWorld(t *testing.T) *world {
	c := backuptest.Start(t)
	c.Exec("create table t (n int primary key); insert into t select generate_series(1, 1000)")
	return &world{t, c, archivetest.Open(t, c, nil, backuptest.Dir(t, "store"))}
}

// standby describes a standby of the world's primary.
func (w *world) standby(name string) *standby.Standby {
	w.Helper()
	sockets := backuptest.Dir(w, "sockets")
	s := &standby.Standby{
		Name: name, Data: filepath.Join(backuptest.Dir(w, "standby"), "data"), Follow: standby.Both, Primary: w.DSN("postgres"),
		DSN:     fmt.Sprintf("host=%s port=%d user=%s dbname=postgres", sockets, w.Port, sandbox.User),
		Command: "cp " + w.WAL + "/%f %p", Archive: &standby.Stored{Shelf: w.archive.Shelf(), WAL: w.archive},
		Settings: map[string]string{"unix_socket_directories": sockets, "wal_retrieve_retry_interval": "200ms"}, Bin: w.Install.Bin, Patience: time.Minute,
	}
	w.Cleanup(func() { w.halt(s) })
	return s
}

// of is the same standby with another primary.
func of(s *standby.Standby, primary *standby.Standby) *standby.Standby {
	other := *s
	other.Primary = primary.DSN
	return &other
}

// halt stops a server at once, as a crash would.
func (w *world) halt(s *standby.Standby) { w.signal(s.Data, syscall.SIGQUIT) }

// shut stops a server in order.
func (w *world) shut(s *standby.Standby) { w.signal(s.Data, syscall.SIGINT) }

func (w *world) signal(data string, with syscall.Signal) {
	w.Helper()
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	w.ok(err)
	syscall.Kill(pid, with)
	w.until("the server has ended", func() bool {
		running, err := wal.DataDir(data).Running()
		return err == nil && !running
	})
}

// take backs the primary up.
func (w *world) take() {
	w.Helper()
	o := w.Options()
	o.WAL = w.archive
	w.Take(w.archive.Shelf(), o)
}

// insert writes a row to a server.
func (w *world) insert(dsn string, n int) {
	w.Helper()
	w.exec(dsn, fmt.Sprintf("insert into t values (%d)", n))
}

func (w *world) exec(dsn, text string) {
	w.Helper()
	conn, err := pg.Dial(w.Context(), dsn, pg.Options{})
	if err != nil {
		w.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Script(w.Context(), text); err != nil {
		w.Fatalf("%s: %v", text, err)
	}
}

// names changes whom commits of the primary wait for.
func (w *world) names(text string) {
	w.Helper()
	const now = "select setting || coalesce(sourceline, 0) from pg_settings where name = 'synchronous_standby_names'"
	before := one[string](w, w.DSN("postgres"), now)
	w.Exec(text)
	w.Exec("select pg_reload_conf()")
	w.until("the names have changed", func() bool { return one[string](w, w.DSN("postgres"), now) != before })
}

// has waits until a server has a row.
func (w *world) has(dsn string, n int) {
	w.Helper()
	w.until(fmt.Sprintf("row %d arrives", n), func() bool {
		return one[bool](w, dsn, "select exists (select from t where n = $1)", n)
	})
}

func (w *world) until(what string, done func() bool) {
	w.Helper()
	for range 1500 {
		if done() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	w.Fatalf("not so after 30 s: %s", what)
}

func one[T any](w *world, dsn, text string, args ...any) T {
	w.Helper()
	conn, err := pg.Dial(w.Context(), dsn, pg.Options{})
	if err != nil {
		w.Fatal(err)
	}
	defer conn.Close()
	v, err := pg.One[T](w.Context(), conn, text, args...)
	if err != nil {
		w.Fatalf("%s: %v", text, err)
	}
	return v
}

func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}
