package pg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/skytools-go/skytools/sql"
)

// A Tx is a transaction. It is valid inside the function it was given to.
type Tx struct {
	conn *Conn
	raw  pgx.Tx
}

// Pgx is the transaction itself, for pgx and all that is built on it. It must not be
// committed or rolled back there: that is done when the function the Tx was given to
// returns. The fault hook of tests does not see statements that go this way.
func (t *Tx) Pgx() pgx.Tx { return t.raw }

// Read calls f in one read-only snapshot with an empty search_path, so that
// nothing can be written, not even by SECURITY DEFINER functions, and every
// definition the server prints is fully qualified. It works behind a transaction
// pooler, too.
func (c *Conn) Read(ctx context.Context, f func(*Tx) error) error {
	return c.transact(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx *Tx) error {
		if _, err := tx.Exec(ctx, "set local search_path = ''"); err != nil {
			return err
		}
		return f(tx)
	})
}

// Write calls f in a transaction, which commits when f returns nil.
func (c *Conn) Write(ctx context.Context, f func(*Tx) error) error {
	return c.transact(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}, f)
}

// Snapshot calls f in a read-only REPEATABLE READ transaction whose session
// settings are left as they are: for COPY, which must see one moment.
func (c *Conn) Snapshot(ctx context.Context, f func(*Tx) error) error {
	return c.transact(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, f)
}

func (c *Conn) transact(ctx context.Context, o pgx.TxOptions, f func(*Tx) error) error {
	tx := &Tx{conn: c}
	err := guarded(ctx, c, "begin", func() (err error) { tx.raw, err = c.raw.BeginTx(ctx, o); return err })
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		// The context may be what ended f: the rollback must go out all the same.
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if back := tx.raw.Rollback(end); back != nil && !errors.Is(back, pgx.ErrTxClosed) && !c.raw.IsClosed() {
			return errors.Join(err, fmt.Errorf("roll back: %w", back))
		}
		return err
	}
	return guarded(ctx, c, "commit", func() error { return tx.raw.Commit(ctx) })
}

// Exec runs one statement and returns the number of rows it affected.
func (t *Tx) Exec(ctx context.Context, text string, args ...any) (n int64, err error) {
	err = guarded(ctx, t.conn, text, func() error {
		tag, err := t.raw.Exec(ctx, text, slices.Concat(t.conn.mode, args)...)
		n = tag.RowsAffected()
		return err
	})
	return n, err
}

// Script runs a text of any number of statements inside the transaction.
func (t *Tx) Script(ctx context.Context, text string) error {
	return guarded(ctx, t.conn, text, func() error {
		done, err := t.raw.Conn().PgConn().Exec(ctx, text).ReadAll()
		return inScript(text, len(done), err)
	})
}

// Attempt calls f so that its failure does not end the transaction: what f did is
// undone, and the transaction goes on.
func (t *Tx) Attempt(ctx context.Context, f func() error) error {
	if _, err := t.Exec(ctx, "savepoint attempt"); err != nil {
		return err
	}
	err := f()
	if err == nil || Code(err) == "" { // without a code the session itself is gone
		if err == nil {
			_, err = t.Exec(ctx, "release savepoint attempt")
		}
		return err
	}
	if _, back := t.Exec(ctx, "rollback to savepoint attempt"); back != nil {
		return errors.Join(err, back)
	}
	return err
}

// Catalog runs q and returns its rows as they came.
func (t *Tx) Catalog(ctx context.Context, q sql.Catalog) ([]json.RawMessage, error) {
	return Rows[json.RawMessage](ctx, t, q.Text)
}

// A Reply is what a PgQ or Londiste function answered that is neither an error
// nor worth no word: its codes 300 to 399.
type Reply struct {
	Code int
	Note string
}

// Run executes the statements in order. A statement whose answer has the columns
// ret_code and ret_note fails with a [ReplyError] at 400 and above; answers of
// the 300 class are returned as warnings. Text without parameters may hold
// several statements. A statement with a condition runs where that is true.
func (t *Tx) Run(ctx context.Context, stmts ...sql.Stmt) (warnings []Reply, err error) {
	for _, s := range stmts {
		found, err := t.run(ctx, s)
		if err != nil {
			return warnings, err
		}
		warnings = append(warnings, found...)
	}
	return warnings, nil
}

func (t *Tx) run(ctx context.Context, s sql.Stmt) (warnings []Reply, err error) {
	if s.If != "" {
		met, err := One[*bool](ctx, t, s.If)
		if err != nil {
			return nil, err
		}
		if met == nil {
			return nil, errors.New("some of its conditions are met here and some are not: nobody can say whether to run it")
		}
		if !*met {
			return nil, nil
		}
	}
	if len(s.Args) == 0 && strings.Contains(strings.TrimRight(strings.TrimSpace(s.Text), ";"), ";") {
		return nil, t.Script(ctx, s.Text)
	}
	err = guarded(ctx, t.conn, s.Text, func() error {
		rows, err := t.raw.Query(ctx, s.Text, slices.Concat(t.conn.mode, s.Args)...)
		if err != nil {
			return err
		}
		code, note := column(rows, "ret_code"), column(rows, "ret_note")
		for rows.Next() {
			if code < 0 || note < 0 {
				continue
			}
			values, err := rows.Values()
			if err != nil {
				return err
			}
			number, _ := values[code].(int32)
			text, _ := values[note].(string)
			switch {
			case number >= 400:
				rows.Close()
				return &ReplyError{s.Text, int(number), text}
			case number >= 300:
				warnings = append(warnings, Reply{int(number), text})
			}
		}
		return rows.Err()
	})
	return warnings, err
}

func column(rows pgx.Rows, name string) int {
	for i, f := range rows.FieldDescriptions() {
		if f.Name == name {
			return i
		}
	}
	return -1
}

var functionName = regexp.MustCompile(`\b\w+\.\w+`)

// FunctionOf is the first schema-qualified name in a statement, or its first words.
func FunctionOf(text string) string {
	if name := functionName.FindString(text); name != "" {
		return name
	}
	return text[:min(len(text), 40)]
}

// Queryer is a [Conn] or a [Tx].
type Queryer interface {
	query(ctx context.Context, text string, args []any) (pgx.Rows, error)
	session() *Conn
}

func (c *Conn) query(ctx context.Context, text string, args []any) (pgx.Rows, error) {
	return c.raw.Query(ctx, text, slices.Concat(c.mode, args)...)
}
func (c *Conn) session() *Conn { return c }
func (t *Tx) query(ctx context.Context, text string, args []any) (pgx.Rows, error) {
	return t.raw.Query(ctx, text, slices.Concat(t.conn.mode, args)...)
}
func (t *Tx) session() *Conn { return t.conn }

// Rows runs a query of one column and returns it.
func Rows[T any](ctx context.Context, q Queryer, text string, args ...any) ([]T, error) {
	return collect(ctx, q, text, args, pgx.RowTo[T])
}

// Structs runs a query whose columns are named like the fields of T (or their db
// tags) and returns its rows.
func Structs[T any](ctx context.Context, q Queryer, text string, args ...any) ([]T, error) {
	return collect(ctx, q, text, args, pgx.RowToStructByName[T])
}

func collect[T any](ctx context.Context, q Queryer, text string, args []any, to pgx.RowToFunc[T]) (all []T, err error) {
	err = guarded(ctx, q.session(), text, func() error {
		rows, err := q.query(ctx, text, args)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, to)
		return err
	})
	return all, err
}

// ErrNoRows is what [One] and [Struct] answer when there is no row.
var ErrNoRows = pgx.ErrNoRows

// One runs a query for a single value.
func One[T any](ctx context.Context, q Queryer, text string, args ...any) (T, error) {
	return first(Rows[T](ctx, q, text, args...))
}

// Struct runs a query for a single row.
func Struct[T any](ctx context.Context, q Queryer, text string, args ...any) (T, error) {
	return first(Structs[T](ctx, q, text, args...))
}

func first[T any](all []T, err error) (T, error) {
	var none T
	switch {
	case err != nil:
		return none, err
	case len(all) == 0:
		return none, ErrNoRows
	}
	return all[0], nil
}

// Each calls f with every row's columns as raw text, without keeping rows; nil is
// NULL. The slices are valid until f returns. It serves the replay loop, which
// reads large batches.
func Each(ctx context.Context, q Queryer, f func(values [][]byte) error, text string, args ...any) error {
	return guarded(ctx, q.session(), text, func() error {
		rows, err := q.query(ctx, text, append([]any{pgx.QueryResultFormats{pgx.TextFormatCode}}, args...))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := f(rows.RawValues()); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}

// A Format is how the server writes values.
type Format int16

// The formats of values.
const (
	Text   Format = pgx.TextFormatCode
	Binary Format = pgx.BinaryFormatCode
)

// Stream runs a query that has no parameters and is not worth remembering, and calls
// f with every row's columns in a format; nil is NULL. The slices are valid until f
// returns. Rows come as f takes them: while it does not, the server
// waits. An error of f ends the session, which is the only way not to read the rest.
func (c *Conn) Stream(ctx context.Context, format Format, text string, f func(values [][]byte) error) error {
	return guarded(ctx, c, text, func() error {
		rows := c.raw.PgConn().ExecParams(ctx, text, nil, nil, nil, []int16{int16(format)})
		for rows.NextRow() {
			if err := f(rows.Values()); err != nil {
				c.Cut()
				rows.Close()
				return err
			}
		}
		_, err := rows.Close()
		return err
	})
}
