// Package sandboxtest gives tests real PostgreSQL databases.
//
// One server serves all tests of a package; each test gets a database of its own.
// A test never reaches a server that it did not start: PGHOST and its relatives
// are cleared. The server ends with the test process, however that ends.
package sandboxtest

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/sandbox"
)

func init() {
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "PG") && name != "PG_BIN" {
			os.Unsetenv(name)
		}
	}
}

var shared = sync.OnceValues(func() (*sandbox.Server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return sandbox.Start(ctx, sandbox.Options{})
})

// Server returns the server that all tests of the process share. Tests must not
// kill it: that is what [Private] is for.
func Server(t testing.TB) *sandbox.Server {
	t.Helper()
	s, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Private starts a server for this test alone and stops it at the end.
func Private(t testing.TB, o sandbox.Options) *sandbox.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := sandbox.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// A DB is a database made for one test.
type DB struct {
	Name   string
	DSN    string
	Server *sandbox.Server
}

var serial atomic.Int64

// Database makes an empty database on the shared server. It is dropped when the
// test has passed; after a failure it stays for the rest of the run, and the log
// says how to reach it.
func Database(t testing.TB) *DB {
	t.Helper()
	return DatabaseOn(t, Server(t), "template1")
}

// DatabaseOn makes a database on s as a copy of template.
func DatabaseOn(t testing.TB, s *sandbox.Server, template string) *DB {
	t.Helper()
	db := &DB{Name: fmt.Sprintf("test%d", serial.Add(1)), Server: s}
	db.DSN = s.DSN(db.Name)
	admin(t, s, "create database "+sql.Ident(db.Name)+" template "+sql.Ident(template))
	t.Cleanup(func() {
		switch {
		case t.Failed():
			t.Logf("the database is kept until the tests end: psql %q", db.DSN)
		case s.Running():
			admin(t, s, "drop database "+sql.Ident(db.Name)+" with (force)")
		}
	})
	return db
}

func admin(t testing.TB, s *sandbox.Server, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pg.Dial(ctx, s.DSN("postgres"), pg.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Exec(ctx, text); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

// Conn connects to the database until the end of the test.
func (db *DB) Conn(t testing.TB) *pg.Conn {
	t.Helper()
	conn, err := pg.Dial(t.Context(), db.DSN, pg.Options{App: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// Script runs SQL, any number of statements, as the superuser.
func (db *DB) Script(t testing.TB, text string) {
	t.Helper()
	conn, err := pg.Dial(t.Context(), db.DSN, pg.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Script(t.Context(), text); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

// Install installs schemas, in the order given, with the roles that they need.
func (db *DB) Install(t testing.TB, schemas ...sql.Schema) {
	t.Helper()
	for _, s := range schemas {
		for _, r := range s.Roles {
			db.Script(t, r.Create().Text)
		}
		db.Script(t, s.Script())
	}
}

// One runs a query for a single value.
func One[T any](t testing.TB, db *DB, text string, args ...any) T {
	t.Helper()
	conn, err := pg.Dial(t.Context(), db.DSN, pg.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	v, err := pg.One[T](t.Context(), conn, text, args...)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}
