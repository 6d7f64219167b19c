package pgq_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgq"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// installed is a database with pgq in it.
func installed(t *testing.T) *sandboxtest.DB {
	t.Helper()
	db := sandboxtest.Database(t)
	db.Install(t, pgq.Schema)
	return db
}

// A step is one query and its answer: the rows as PostgreSQL writes them, one a
// line, or ERROR and the message. No answer means that it is not looked at.
type step struct{ query, want string }

const whatever = "(whatever)"

func run(t *testing.T, conn *pg.Conn, steps []step) {
	t.Helper()
	for _, s := range steps {
		if got := answer(t.Context(), conn, s.query); s.want != whatever && got != s.want {
			t.Fatalf("%s:\n%s", s.query, cmp.Diff(s.want, got))
		}
	}
}

// answer runs a query, or a command that has no rows.
func answer(ctx context.Context, conn *pg.Conn, query string) string {
	if query[0] == '!' {
		return message(conn.Script(ctx, query[1:]))
	}
	got, err := pg.One[string](ctx, conn, fmt.Sprintf("select coalesce(string_agg(q::text, E'\\n'), '') from (%s) q", query))
	if err != nil {
		return message(err)
	}
	return got
}

func message(err error) string {
	var pgErr *pgconn.PgError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &pgErr):
		return "ERROR " + pgErr.Message
	}
	return err.Error()
}

func script(t *testing.T, conn *pg.Conn, text string) {
	t.Helper()
	if err := conn.Script(t.Context(), text); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

func one[T comparable](t *testing.T, conn *pg.Conn, query string, args ...any) T {
	t.Helper()
	v, err := pg.One[T](t.Context(), conn, query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}
