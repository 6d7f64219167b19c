package cascade

import (
	"context"
	"fmt"

	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgq"
)

// execute runs a script, once on each node, inside the batch: what it does commits
// with the position. Its own changes of tables are not captured: every node makes
// them.
//
// Source: contract/londiste.md section 5.2.
func (w *Worker) execute(ctx context.Context, tx *pg.Tx, e *replay.Event, queue *relay) error {
	name := string(e.Extra[0])
	ran, err := w.executeScript(ctx, tx, name, string(e.Data), e.Extra[1])
	if err == nil && ran {
		err = queue.passScript(ctx, e)
	}
	if err != nil {
		return fmt.Errorf("script %s: %w", name, err)
	}
	return w.setRole(ctx, tx, "replica")
}

// executeScript reports false when the script has run in this database before.
func (w *Worker) executeScript(ctx context.Context, tx *pg.Tx, name, text string, attrs []byte) (ran bool, err error) {
	if err := w.setRole(ctx, tx, "local"); err != nil {
		return false, err
	}
	var given any
	if attrs != nil {
		given = string(attrs)
	}
	type row struct {
		Code int32
		Note string
	}
	r, err := pg.Struct[row](ctx, tx, `select ret_code as code, coalesce(ret_note, '') as note
		from londiste.execute_start($1, $2, $3, false, $4)`, w.Queue, name, text, given)
	if err != nil {
		return false, err
	}
	if r.Code >= 400 {
		return false, fmt.Errorf("%d %s", r.Code, r.Note)
	}
	if r.Code > 200 {
		w.Log.Info("script ran here already", "queue", w.Queue, "script", name)
		return false, nil
	}
	s := londiste.Script{Name: name, Text: text}
	if s.When, err = londiste.ParseDict(string(attrs)); err != nil {
		return false, err
	}
	if err := w.runScript(ctx, tx, s); err != nil {
		return false, err
	}
	return true, call(ctx, tx, sql.Exec("select * from londiste.execute_finish($1, $2)", w.Queue, name))
}

// runScript runs the text where the conditions are met, with the names that tables have
// here.
func (w *Worker) runScript(ctx context.Context, tx *pg.Tx, s londiste.Script) error {
	for _, one := range sql.Statements(s.Text) {
		if one.Ends() {
			return fmt.Errorf("line %d: %q: a script runs in the transaction of its batch, which it cannot begin or end", one.Line, one.Text)
		}
	}
	when, err := s.Condition(w.Queue)
	if err != nil {
		return err
	}
	dest := map[string]sql.Name{}
	for _, local := range s.Locals() {
		found, err := pg.Rows[string](ctx, tx, "select coalesce(dest_table, table_name) from londiste.table_info where queue_name = $1 and table_name = $2 and local",
			w.Queue, sql.ParseName(local).String())
		if err != nil {
			return err
		}
		if len(found) > 0 {
			dest[local] = sql.ParseName(found[0])
		}
	}
	if _, err = tx.Run(ctx, sql.Stmt{Text: s.Here(dest), If: when}); err != nil {
		return err
	}
	err = tx.Attempt(ctx, func() error {
		_, err := tx.Run(ctx, pgq.RenewCaptures())
		return err
	})
	if pg.Code(err) != "" { // they go on, slowly; drift shows them, and apply makes them anew
		w.Log.Warn("captures of altered tables are not renewed", "queue", w.Queue, "script", s.Name, "error", err)
		return nil
	}
	return err
}

// setRole changes the role until the end of the transaction. Where nobody may, the
// setting skytools.replaying keeps our own triggers quiet in both.
func (w *Worker) setRole(ctx context.Context, tx *pg.Tx, role string) error {
	if !w.replica {
		return nil
	}
	err := tx.Attempt(ctx, func() error {
		_, err := tx.Exec(ctx, "select set_config('session_replication_role', $1, true)", role)
		return err
	})
	if pg.Code(err) == "42501" {
		_, err = tx.Exec(ctx, "select londiste.set_session_replication_role($1, true)", role)
	}
	if err != nil {
		return fmt.Errorf("set session_replication_role to %s: %w", role, err)
	}
	return nil
}
