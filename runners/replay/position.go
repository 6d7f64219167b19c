package replay

import (
	"context"
	"fmt"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgqnode"
)

// Call runs commands that answer with a ret_code in a transaction of their own.
func Call(ctx context.Context, conn *pg.Conn, stmts ...sql.Stmt) error {
	return conn.Write(ctx, func(tx *pg.Tx) error {
		_, err := tx.Run(ctx, stmts...)
		return err
	})
}

// Complete stores the end of a batch in the transaction that applied it. It holds
// the consumer's row from here to the commit and fails unless it is where the
// batch began: of two workers for one node, one fails.
func Complete(ctx context.Context, tx *pg.Tx, queue, consumer, provider string, b *Batch) error {
	// An update that changes nothing else takes the lock, also without the right to
	// lock rows of the table.
	if _, err := tx.Run(ctx, pgqnode.SetConsumerError(queue, consumer, "")); err != nil {
		return err
	}
	type row struct {
		Tick     *int64
		Provider *string
	}
	r, err := pg.Struct[row](ctx, tx, "select completed_tick as tick, provider_node as provider from pgq_node.get_consumer_state($1, $2)", queue, consumer)
	if err != nil {
		return err
	}
	if r.Tick == nil || *r.Tick != b.Prev || r.Provider == nil || *r.Provider != provider {
		return fmt.Errorf("somebody else moved %s on queue %s while ticks %d to %d of %s were applied: nothing was committed", consumer, queue, b.Prev, b.Tick, provider)
	}
	_, err = tx.Run(ctx, pgqnode.SetConsumerCompleted(queue, consumer, b.Tick))
	return err
}
