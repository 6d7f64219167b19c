package tablecopy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
)

// A Turn waits until the rows of one more large table may be copied. The copy calls
// end when they are there, or will not come. It is called when everything else is
// ready, so that rows of another table follow at once, and not for a table that is
// [Small]. It is safe for concurrent use.
type Turn func(ctx context.Context) (end func(), err error)

// lockPatience is how long a copy that has its turn waits for a lock on its table here.
// After that others may go on, while it waits without.
const lockPatience = time.Second

// turnPatience is how long a copy that has such a lock keeps readers out to have its turn
// again.
const turnPatience = 100 * time.Millisecond

// errNoTurn says that the copy has its table and not its turn any more.
var errNoTurn = errors.New("it waited for a lock, and others have their turn now")

// takeTurn waits for the copy's turn, unless the table is small.
func (t *Copy) takeTurn(ctx context.Context, from sql.Name) error {
	if t.Turn == nil {
		return nil
	}
	small, err := pg.One[bool](ctx, t.above, `
		select exists (
		    select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
		     where n.nspname = $1 and c.relname = $2 and c.relkind = 'r' and pg_catalog.pg_table_size(c.oid) <= $3)`,
		from.Schema, from.Rel, Small)
	if err != nil || small {
		return err
	}
	t.endTurn, err = t.Turn(ctx)
	return err
}

func (t *Copy) giveTurn() {
	if t.endTurn != nil {
		t.endTurn()
		t.endTurn = nil
	}
}

// lock keeps everybody else away from the table. A second copy of it has waited for
// the lock, and finds the state changed.
func (t *Copy) lock(ctx context.Context, tx *pg.Tx, dest sql.Name) error {
	if err := t.lockIn(ctx, tx, dest, "access exclusive"); err != nil {
		return err
	}
	r, err := replay.Lookup(ctx, tx, t.Queue, t.Table)
	if err == nil && (r == nil || !r.Local || r.State != InCopy) {
		err = errChanged
	}
	return err
}

// lockIn takes a lock on the table. Where that takes long, it gives its turn up and waits
// on: in its place of the queue for the lock, so that readers who come later do not go
// before it again and again. If the turn is not free by then, the transaction has to end,
// with the lock, and the copy begins again with waiting for its turn.
func (t *Copy) lockIn(ctx context.Context, tx *pg.Tx, dest sql.Name, mode string) error {
	take := func() error {
		if _, err := tx.Exec(ctx, "lock table "+dest.Ident()+" in "+mode+" mode"); err != nil {
			return fmt.Errorf("lock %s: %w", dest, err)
		}
		return nil
	}
	if t.endTurn == nil {
		return take()
	}
	limit, err := pg.One[string](ctx, tx, "select current_setting('lock_timeout')")
	if err != nil {
		return err
	}
	setLimit := func(limit string) error {
		_, err := tx.Exec(ctx, "select set_config('lock_timeout', $1, true)", limit)
		return err
	}
	err = tx.Attempt(ctx, func() error {
		if err := setLimit(fmt.Sprint(lockPatience.Milliseconds())); err != nil {
			return err
		}
		return take()
	})
	if err == nil {
		return setLimit(limit)
	}
	if pg.Code(err) != "55P03" {
		return err
	}
	t.Log.Info("copy waits for a lock, and others may go before it", "queue", t.Queue, "table", t.Table)
	t.giveTurn()
	t.Locked(true)
	defer t.Locked(false)
	if err := take(); err != nil {
		return err
	}
	again, cancel := context.WithTimeout(ctx, turnPatience)
	defer cancel()
	if t.endTurn, err = t.Turn(again); err != nil {
		t.endTurn = nil
		if ctx.Err() == nil {
			err = errNoTurn
		}
	}
	return err
}
