// Package backuptest gives tests of backups a server that archives into a directory, a
// shelf, and a ledger that says what must be there after a restore.
package backuptest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/wal/backup"
	"github.com/skytools-go/skytools/runners/wal/store"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/sandbox"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// A Cluster is a server whose WAL goes to a directory.
type Cluster struct {
	*sandbox.Server
	WAL    string // the directory
	System string
	t      testing.TB
}

// Start starts a server that archives, with page checksums and segments of 1 MB.
func Start(t testing.TB) *Cluster {
	t.Helper()
	wal := Dir(t, "wal")
	s := sandboxtest.Private(t, sandbox.Options{
		Initdb: []string{"--data-checksums", "--wal-segsize=1"},
		Settings: map[string]string{
			"wal_level": "replica", "archive_mode": "on", "archive_timeout": "60", "autovacuum": "off", "full_page_writes": "on", "max_wal_size": "64MB", "min_wal_size": "8MB",
			"archive_command": fmt.Sprintf("test ! -f %[1]s/%%f && cp %%p %[1]s/.%%f && mv %[1]s/.%%f %[1]s/%%f", wal),
		},
	})
	c := &Cluster{Server: s, WAL: wal, t: t}
	c.System = One[string](c, "select system_identifier::text from pg_control_system()")
	return c
}

// Dir makes a directory for the server's user, which is removed after the test.
func Dir(t testing.TB, name string) string {
	t.Helper()
	above, err := os.MkdirTemp("", "skytools-"+name+"-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(above) })
	if err := sandbox.Give(above); err != nil {
		t.Fatal(err)
	}
	return above
}

// Damage turns a bit over in the middle of a file.
func Damage(t testing.TB, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 1
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Exec runs SQL as the superuser.
func (c *Cluster) Exec(text string) {
	c.t.Helper()
	conn, err := pg.Dial(c.t.Context(), c.DSN("postgres"), pg.Options{})
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Script(c.t.Context(), text); err != nil {
		c.t.Fatalf("%s: %v", text, err)
	}
}

// One runs a query for a single value.
func One[T any](c *Cluster, text string, args ...any) T {
	c.t.Helper()
	return sandboxtest.One[T](c.t, &sandboxtest.DB{DSN: c.DSN("postgres")}, text, args...)
}

// Fill makes a table of about so many megabytes.
func (c *Cluster) Fill(table string, megabytes int) {
	c.t.Helper()
	c.Exec(fmt.Sprintf("create table %s as select n, repeat(md5(n::text), 4) as text from generate_series(1, %d) n", sql.Ident(table), megabytes*6200))
}

// Shelf is a shelf over directories, the first of which is required.
func (c *Cluster) Shelf(dirs ...string) *backup.Shelf {
	c.t.Helper()
	shelf := &backup.Shelf{System: c.System}
	for i, dir := range dirs {
		s, err := store.Open(c.t.Context(), store.Config{URL: "file://" + dir})
		if err != nil {
			c.t.Fatal(err)
		}
		shelf.Stores = append(shelf.Stores, backup.Store{Store: s, Required: i == 0})
	}
	return shelf
}

// Options are those of a backup of the cluster.
func (c *Cluster) Options() backup.Options {
	return backup.Options{DSN: c.DSN("postgres"), App: "backup", WAL: Archived{c.WAL, 1 << 20}, Patience: time.Minute}
}

// Take takes a backup.
func (c *Cluster) Take(shelf *backup.Shelf, o backup.Options) *backup.Manifest {
	c.t.Helper()
	m, err := backup.Take(c.t.Context(), shelf, o)
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

// Archived is WAL in a directory.
type Archived struct {
	Dir         string
	SegmentSize uint64
}

// Name is the file of a segment.
func (a Archived) Name(timeline uint32, at sql.LSN) string {
	n, perLog := uint64(at)/a.SegmentSize, (uint64(1)<<32)/a.SegmentSize
	return fmt.Sprintf("%08X%08X%08X", timeline, n/perLog, n%perLog)
}

// Wait looks for the files of all segments until they are there.
func (a Archived) Wait(ctx context.Context, timeline uint32, from, to sql.LSN) error {
	for at := from &^ sql.LSN(a.SegmentSize-1); at < to; {
		if _, err := os.Stat(filepath.Join(a.Dir, a.Name(timeline, at))); err == nil {
			at += sql.LSN(a.SegmentSize)
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// A Ledger is a table in which every row carries the hash of the one before, and the
// number of the last row whose commit was acknowledged.
type Ledger struct {
	c     *Cluster
	mu    sync.Mutex
	acked int64
	stop  chan struct{}
	ended chan struct{}
}

// Keep begins to write a ledger, a row per transaction, until Stop.
func (c *Cluster) Keep() *Ledger {
	c.t.Helper()
	c.Exec("create table if not exists ledger (seq bigint primary key, hash text not null, at timestamptz not null default clock_timestamp())")
	l := &Ledger{c: c, stop: make(chan struct{}), ended: make(chan struct{})}
	l.acked = One[int64](c, "select coalesce(max(seq), 0) from ledger")
	hash := One[string](c, "select coalesce((select hash from ledger order by seq desc limit 1), '')")
	conn, err := pg.Dial(c.t.Context(), c.DSN("postgres"), pg.Options{})
	if err != nil {
		c.t.Fatal(err)
	}
	go func() {
		defer close(l.ended)
		defer conn.Close()
		for seq := l.acked + 1; ; seq++ {
			select {
			case <-l.stop:
				return
			case <-time.After(time.Millisecond):
			}
			hash = link(hash, seq)
			if _, err := conn.Exec(context.Background(), "insert into ledger values ($1, $2)", seq, hash); err != nil {
				return
			}
			l.mu.Lock()
			l.acked = seq
			l.mu.Unlock()
		}
	}()
	return l
}

func link(hash string, seq int64) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", hash, seq))
	return hex.EncodeToString(sum[:8])
}

// Acked is the last row that is known to be committed.
func (l *Ledger) Acked() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked
}

// Stop ends the writing and returns the last acknowledged row.
func (l *Ledger) Stop() int64 {
	close(l.stop)
	<-l.ended
	return l.Acked()
}

// Check reads the ledger of a restored server: every row up to the last follows from
// the one before. It returns the number of the last row.
func Check(t testing.TB, dsn string) int64 {
	t.Helper()
	conn, err := pg.Dial(t.Context(), dsn, pg.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	type row struct {
		Seq  int64
		Hash string
	}
	rows, err := pg.Structs[row](t.Context(), conn, "select seq, hash from ledger order by seq")
	if err != nil {
		t.Fatal(err)
	}
	hash := ""
	for i, r := range rows {
		if hash = link(hash, int64(i+1)); r.Seq != int64(i+1) || r.Hash != hash {
			t.Fatalf("row %d of the ledger is %+v; want the hash %s", i+1, r, hash)
		}
	}
	return int64(len(rows))
}

// At is another server of the same cluster, such as a restored one.
func (c *Cluster) At(s *sandbox.Server) *Cluster {
	return &Cluster{Server: s, WAL: c.WAL, System: c.System, t: c.t}
}

// For is the cluster as another test or process knows it.
func (c *Cluster) For(t testing.TB) *Cluster {
	return &Cluster{Server: c.Server, WAL: c.WAL, System: c.System, t: t}
}

// Recovered waits until the server has left recovery.
func (c *Cluster) Recovered() {
	c.t.Helper()
	for range 3000 {
		if !One[bool](c, "select pg_is_in_recovery()") {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	c.t.Fatalf("it does not come out of recovery:\n%s", c.Log())
}

// Archived waits until all complete segments have been archived.
func (c *Cluster) Archived() {
	c.t.Helper()
	last := One[string](c, "select pg_walfile_name(pg_current_wal_lsn() - 1)")
	for range 3000 {
		if _, err := os.Stat(filepath.Join(c.WAL, last)); err == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	c.t.Fatalf("%s does not arrive in the archive", last)
}
