package pg_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/sandbox"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

func TestReadCannotWrite(t *testing.T) {
	db := sandboxtest.Database(t)
	db.Script(t, "create table t (a int); create function sneak() returns void language sql security definer as 'insert into public.t values (1)'")
	conn := db.Conn(t)
	err := conn.Read(t.Context(), func(tx *pg.Tx) error {
		_, err := tx.Exec(t.Context(), "select public.sneak()")
		return err
	})
	if pg.Code(err) != "25006" {
		t.Errorf("got %v; want a read-only transaction", err)
	}
}

func TestRunTurnsRepliesIntoErrors(t *testing.T) {
	db := sandboxtest.Database(t)
	conn := db.Conn(t)
	reply := func(code int) sql.Stmt {
		return sql.Exec("select $1::int4 as ret_code, 'a note' as ret_note", code)
	}
	err := conn.Write(t.Context(), func(tx *pg.Tx) error {
		warnings, err := tx.Run(t.Context(), reply(200), reply(301))
		if len(warnings) != 1 || warnings[0].Code != 301 {
			t.Errorf("warnings: %+v", warnings)
		}
		if err != nil {
			return err
		}
		_, err = tx.Run(t.Context(), reply(404))
		return err
	})
	var refused *pg.ReplyError
	if !errors.As(err, &refused) || refused.Code != 404 || refused.Note != "a note" {
		t.Errorf("got %v", err)
	}
}

// TestAttempt: what fails inside leaves the rest of the transaction alone.
func TestAttempt(t *testing.T) {
	db := sandboxtest.Database(t)
	conn := db.Conn(t)
	err := conn.Write(t.Context(), func(tx *pg.Tx) error {
		if err := tx.Attempt(t.Context(), func() error { _, err := tx.Exec(t.Context(), "select 1/0"); return err }); pg.Code(err) != "22012" {
			t.Errorf("got %v", err)
		}
		_, err := tx.Exec(t.Context(), "create table kept (a int)")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	sandboxtest.One[int64](t, db, "select count(*) from kept")
}

func TestFaults(t *testing.T) {
	db := sandboxtest.Database(t)
	db.Script(t, "create table t (a int)")
	for _, after := range []bool{false, true} {
		conn := db.Conn(t)
		f := &pg.Fault{Match: "insert", Nth: 2, After: after}
		ctx := pg.WithFault(t.Context(), f)
		for n := range 2 {
			_, err := conn.Exec(ctx, "insert into t values (1)")
			if (err != nil) != (n == 1) {
				t.Fatalf("insert %d: %v", n+1, err)
			}
			if err != nil && !pg.Lost(err) {
				t.Errorf("%v is not taken for a lost connection", err)
			}
		}
		if f.Hit() == "" || f.Seen() != 2 {
			t.Errorf("hit %q, seen %d", f.Hit(), f.Seen())
		}
	}
	// One insert each before the fault, and one that ran before its answer was lost.
	if n := sandboxtest.One[int64](t, db, "select count(*) from t"); n != 3 {
		t.Errorf("%d rows; want 3", n)
	}
}

func TestLease(t *testing.T) {
	db := sandboxtest.Database(t)
	l, err := pg.Acquire(t.Context(), db.DSN, "first", 42)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pg.Acquire(t.Context(), db.DSN, "second", 42); !errors.Is(err, pg.ErrHeld) {
		t.Errorf("a second holder: %v", err)
	}
	db.Script(t, "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted")
	select {
	case <-l.Context().Done():
		if !errors.Is(context.Cause(l.Context()), pg.ErrLeaseLost) {
			t.Errorf("the cause is %v", context.Cause(l.Context()))
		}
	case <-time.After(15 * time.Second):
		t.Error("the loss of the lock was not noticed")
	}
	l.Release()
	again, err := pg.Await(t.Context(), db.DSN, "third", 42, 10*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	again.Release()
	if again.Context().Err() == nil {
		t.Error("a released lease goes on")
	}
}

// TestReleaseWhileAsking: a lease that is given back while it asks the server whether it is
// still there is free when that is done, and not when the server notices some day.
func TestReleaseWhileAsking(t *testing.T) {
	t.Parallel()
	db := sandboxtest.Database(t)
	l, err := pg.Acquire(t.Context(), db.DSN, "first", 43)
	if err != nil {
		t.Fatal(err)
	}
	pid := int(sandboxtest.One[int32](t, db, "select pid from pg_locks where locktype = 'advisory' and granted and objid = 43"))
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	goOn := sync.OnceFunc(func() { syscall.Kill(pid, syscall.SIGCONT) })
	defer goOn()
	time.Sleep(5500 * time.Millisecond) // it asks every five seconds
	time.AfterFunc(time.Second, goOn)
	l.Release()
	again, err := pg.Acquire(t.Context(), db.DSN, "second", 43)
	if err != nil {
		t.Fatal(err)
	}
	again.Release()
}

// TestConnectErrors: each says where, and what to try, and no password.
func TestConnectErrors(t *testing.T) {
	s := sandboxtest.Private(t, sandbox.Options{TCP: true, HBA: "local all all trust\nhost all postgres 127.0.0.1/32 scram-sha-256\n"})
	for _, c := range []struct{ dsn, want, hint string }{
		{"host=/nowhere dbname=x user=x", "no such file", "socket"},
		{"host=127.0.0.1 port=1 dbname=x user=x", "refused", "nothing listens"},
		{s.DSN("nonesuch"), "3D000", "createdb nonesuch"},
		{strings.Replace(s.DSN("postgres"), "host='"+s.Dir+"'", "host=127.0.0.1", 1) + " password=swordfish", "28P01", "password is wrong"},
		{strings.Replace(strings.Replace(s.DSN("postgres"), "host='"+s.Dir+"'", "host=127.0.0.1", 1), "user=postgres", "user=other", 1), "28000", "pg_hba.conf"},
	} {
		_, err := pg.Dial(t.Context(), c.dsn, pg.Options{})
		var connect *pg.ConnectError
		if !errors.As(err, &connect) || !strings.Contains(err.Error(), c.want) || !strings.Contains(connect.Hint(), c.hint) {
			t.Errorf("%s: got %v, hint %q", c.dsn, err, connect.Hint())
		}
		if strings.Contains(err.Error(), "swordfish") {
			t.Error("the error holds the password")
		}
	}
	if err := pg.Check("host=x port=many"); err == nil {
		t.Error("a wrong conninfo is accepted")
	}
	if got := pg.Location("host='a b' dbname=x user=u password=p"); got != "host='a b' port=5432 dbname=x" {
		t.Errorf("location %q", got)
	}
}
