package consume

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/skytools-go/skytools/sql/pg"
)

// A Batch is what lies between two ticks of a queue. It is valid while its handler
// runs, and used by one goroutine.
type Batch struct {
	ID       int64
	Queue    string
	Consumer string
	Member   string // of a cooperative consumer
	PrevTick int64
	Tick     int64
	Time     time.Time // of Tick: all events were committed before

	consumer *Consumer
	size     int64 // about how many events there are, before a filter
	reading  bool
	failed   error // the reading, which the handler may not have noticed
	retried  int
	retry    func(context.Context, retry) error
}

type retry struct {
	event int64
	after time.Duration
}

// Events are the events of the batch that meet the filter, in the order of their ids.
// Events of one transaction, and of transactions that ran side by side, stand
// between those of others. An error is the last that comes; a handler that overlooks
// it does not finish the batch. To stop early in a large batch costs a new session, as
// nothing else keeps the server from sending the rest. The events may be kept: they are never overwritten,
// but one of them keeps all of its piece in memory. A second call reads them anew.
func (b *Batch) Events(ctx context.Context) iter.Seq2[*Event, error] {
	return func(yield func(*Event, error) bool) {
		for piece, err := range b.Pieces(ctx) {
			if err != nil {
				yield(nil, err)
				return
			}
			for i := range piece {
				if !yield(&piece[i], nil) {
					return
				}
			}
		}
	}
}

// Pieces are the same events, many at a time as they come from the server
// ([Config.Fetch]), for handlers that write many rows with one statement.
func (b *Batch) Pieces(ctx context.Context) iter.Seq2[[]Event, error] {
	return func(yield func([]Event, error) bool) {
		switch {
		case b.retry == nil:
			yield(nil, errors.New("read events: the handler of their batch has ended"))
			return
		case b.reading:
			b.failed = errors.New("read events: they are being read already")
			yield(nil, b.failed)
			return
		}
		b.reading = true
		defer func() { b.reading = false }()
		wants := true
		err := b.read(ctx, func(piece []Event) bool {
			b.consumer.Stats.Events.Add(int64(len(piece)))
			wants = yield(piece, nil)
			return wants
		})
		if err != nil {
			b.failed = fmt.Errorf("read events: %w", err)
			if wants {
				yield(nil, b.failed)
			}
		}
	}
}

// Retry puts an event aside: it comes again, to this consumer alone, in a batch after
// that time, and with its Retry one higher. What puts it back is the maintenance of
// "skytools run", or pgqd. It takes effect when the batch is finished; to give up after
// so many times is for the handler to decide.
//
// Source: contract/pgq.md section 4.9.
func (b *Batch) Retry(ctx context.Context, e *Event, after time.Duration) error {
	if b.retry == nil {
		return fmt.Errorf("retry event %d: the handler of its batch has ended", e.ID)
	}
	if err := b.retry(ctx, retry{e.ID, max(after, 0)}); err != nil {
		return fmt.Errorf("retry event %d: %w", e.ID, err)
	}
	b.retried++
	return nil
}

// putAside moves an event into the retry queue. That it is there already is as good.
func (b *Batch) putAside(ctx context.Context, tx *pg.Tx, r retry) error {
	_, err := tx.Exec(ctx, "select pgq.event_retry($1::int8, $2::int8, clock_timestamp() + $3::interval)", b.ID, r.event, r.after)
	return err
}
