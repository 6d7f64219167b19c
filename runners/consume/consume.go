// Package consume is for programs that read a PgQ queue: it hands every batch of a
// consumer to a function, together with a transaction, exactly once.
//
//	err := consume.Run(ctx, consume.Config{Queue: "orders", Consumer: "totals", DSN: dsn},
//		consume.Each(func(ctx context.Context, tx *pg.Tx, e *consume.Event) error {
//			_, err := tx.Exec(ctx, "insert into seen values ($1)", e.ID)
//			return err
//		}))
//
// It knows batches, events and where they are done. It does not tick: without a
// ticker ("skytools run", or pgqd) no batch ends. It does not know YAML, and it
// registers the consumer only when it is told to.
//
// # Exactly once in the queue's own database
//
// The transaction that the handler gets also finishes the batch. It commits once:
// what the handler wrote, the events it put aside with [Batch.Retry] and the end of
// the batch are there together or not at all, wherever the program or a connection
// dies. A batch that somebody else has finished meanwhile rolls back ([ErrGone]), so
// two processes that run the same consumer by mistake do everything once, too, and so
// does a member that was slow and not dead when another took its batch over.
//
// What the handler does elsewhere (mail, files, other servers) is repeated when the
// transaction does not commit.
//
// # Exactly once in another database
//
// With [Config.Target] the transaction is in the target, whose schema pgq_ext
// remembers what is done; its row commits with the handler's work. The queue's
// database learns of it afterwards:
//
//	queue:   next_batch, committed
//	target:    begin, lock, already done? - no -> handler, mark ; commit
//	                                      \ yes ----------------/
//	queue:   events put aside + finish_batch, one transaction
//	target:    forget marks that only a crash would have needed
//
// A crash before the target's commit leaves no trace, and the batch is offered again.
// A crash after it leaves the mark, and the batch is only finished. Three choices
// make that hold:
//
// Opening is committed first. The server gives a batch that is rolled back another
// id, and perhaps another end; work must not begin on what may not be there.
//
// A plain consumer is recorded by tick, under its name (pgq_ext.set_last_tick). Ticks
// stay what they are when a batch is opened anew after register_consumer_at, where its
// id does not; and they are a chain: a batch that does not begin at the tick recorded
// is a gap or a repetition, which is refused as a [PositionError]. That finds queues
// restored from a backup, and positions moved by hand.
//
// The members of a cooperative consumer have no chain: each sees some of the batches.
// Nor is a mark for each member enough (pgq_ext.is_batch_done, as the original clients
// use it): when a member dies between the two commits, another takes the batch over
// under its own name and would not find the mark. So a batch has a mark of its own,
// named by its id and last tick, which goes when the batch is finished.
//
// The lock is an advisory one in the target, on the consumer or, between members, on the
// batch. Under it the mark is looked for, and then the queue is asked whether the batch is
// still ours. Whoever comes later waits until the mark is there, or finds the batch
// finished; so a member that is slow and not dead cannot do a batch twice either.
//
// Events put aside are remembered in the target as well until the queue has them.
//
// pgq_ext knows a consumer by one name only. It is Config.As, by default queue/consumer
// as skytools writes addresses: two queues may have consumers of one name. Consumers
// of equal queues in different databases (shards) need different names there.
//
// # Life of a batch
//
//	       none: wait for pgq_tick, or Poll
//	         |
//	open ----+--> handler --nil--> finished
//	 ^               |
//	 `-- new sessions --error, lost connection, stop at once
//
// [Consumer.Run] returns the first error, as every loop of package runners does. Who
// wants it repeated gives [Loop] to package runners/group, which also lets only one of
// several processes run it.
//
// # Rights
//
// The role of DSN needs pgq_reader, that of Target pgq_writer, and what the handler does.
//
// Source: contract/pgq.md sections 2.4, 3, 4 and 11.1.
package consume

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
)

// A Handler does one batch. What it writes through tx commits together with the end
// of the batch when it returns nil, whether it has looked at all events or not; after
// an error nothing has happened and the batch comes again. A batch may be empty. ctx
// outlives the request to stop and ends when there is no more time; see [runners.Work].
type Handler func(ctx context.Context, tx *pg.Tx, b *Batch) error

// Each is a handler that calls f with every event, in the order of their ids. The
// first error ends the batch, unless it is that of [RetryAfter].
func Each(f func(ctx context.Context, tx *pg.Tx, e *Event) error) Handler {
	return func(ctx context.Context, tx *pg.Tx, b *Batch) error {
		for e, err := range b.Events(ctx) {
			if err != nil {
				return err
			}
			err := f(ctx, tx, e)
			var later *laterError
			switch {
			case errors.As(err, &later):
				if err := b.Retry(ctx, e, later.after); err != nil {
					return err
				}
			case err != nil:
				return fmt.Errorf("event %d: %w", e.ID, err)
			}
		}
		return nil
	}
}

// RetryAfter is what a function of [Each] returns to put its event aside, as
// [Batch.Retry] does. What the function has written stays: it writes nothing before, or
// undoes it with [pg.Tx.Attempt].
func RetryAfter(after time.Duration) error { return &laterError{after} }

type laterError struct{ after time.Duration }

func (e *laterError) Error() string { return fmt.Sprintf("retry after %s", e.after) }

// Run is New(c, h).Run(ctx).
func Run(ctx context.Context, c Config, h Handler) error { return New(c, h).Run(ctx) }

// ErrGone says that a batch in hand was finished by somebody else, taken over by
// another member, or lost because the consumer was moved. Nothing of it was committed.
var ErrGone = errors.New("the batch is not ours any more")

// A FormerError says that the first batch is done already, by the consumer in whose place
// this one comes, or by another one of that name: nobody else can tell.
type FormerError struct {
	Formerly    string
	Batch, Tick int64
}

func (e *FormerError) Error() string {
	return fmt.Sprintf("its first batch, %d, ends at tick %d, and in the target that tick is done for a consumer %s already", e.Batch, e.Tick, e.Formerly)
}

// Hint is what a person can try.
func (e *FormerError) Hint() string {
	return fmt.Sprintf("if that is the program which has read this queue so far, finish the batch for it: select pgq.finish_batch(%d); if it reads another queue, give this consumer another name", e.Batch)
}

// A PositionError says that the batch offered by the queue does not begin where the
// target is.
type PositionError struct {
	As         string
	Prev, Tick int64 // of the batch
	Done       int64 // the tick that the target has recorded
}

func (e *PositionError) Error() string {
	return fmt.Sprintf("lost position: the queue goes on with ticks %d to %d, but in the target tick %d is done for %s", e.Prev, e.Tick, e.Done, e.As)
}

// Hint is what a person can try.
func (e *PositionError) Hint() string {
	return fmt.Sprintf("if the consumer was moved on purpose, let the target forget its position: select pgq_ext.set_last_tick(%s, '', null)", sql.Literal(e.As))
}
