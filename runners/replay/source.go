package replay

import (
	"context"
	"fmt"
	"strconv"

	"github.com/skytools-go/skytools/sql/pg"
)

// A Source reads one consumer's batches on a provider. The session is its own.
type Source struct {
	Conn            *pg.Conn
	Queue, Consumer string
	Only            string    // SQL condition over the columns of events; empty: all events
	Prefetch        *Prefetch // of the next batch; nil: none
	Weight          *Weight   // of earlier events; nil: not known
}

// A Batch is what lies between two ticks.
type Batch struct {
	ID         int64
	Prev, Tick int64
	Time       string // of Tick
	Seq        int64  // of events, at Tick
	Events     int64  // by the sequence: a hint, which may be too high
}

// A LostPosition says that the provider would go on at another place than we must.
type LostPosition struct {
	Queue, Consumer string
	Prev, Tick      int64 // of the batch that the provider offers
	Completed       int64 // here
}

func (e *LostPosition) Error() string {
	return fmt.Sprintf("lost position: %s on queue %s: the provider goes on with ticks %d to %d, but here tick %d is completed, which the provider does not have"+
		"; wait if the provider is behind, choose another provider, or copy the tables again", e.Consumer, e.Queue, e.Prev, e.Tick, e.Completed)
}

// Open opens the consumer's next batch after the tick that is completed here, which
// is the truth: where the provider has registered another position it is corrected,
// if the provider has that tick. That is what an interrupted round or a change of
// provider leaves behind.
//
// It returns nil when there is no batch. With done, the batch has been applied
// already and only needs to be finished. It has one tick, or those of a span.
//
// Source: contract/pgq.md section 6.7, steps 5 and 6.
func (s *Source) Open(ctx context.Context, completed int64, span Span) (b *Batch, done bool, err error) {
	for try := range 2 {
		if b, err = s.next(ctx, s.Conn, span); err != nil || b == nil {
			return nil, false, err
		}
		switch completed {
		case b.Prev:
			return b, false, nil
		case b.Tick:
			return b, true, nil
		}
		if try > 0 {
			break
		}
		moved, err := s.MoveTo(ctx, completed)
		if err != nil {
			return nil, false, err
		}
		if !moved {
			break
		}
	}
	return nil, false, &LostPosition{s.Queue, s.Consumer, b.Prev, b.Tick, completed}
}

// Next opens the consumer's next batch of one tick, wherever the provider has it; nil
// when there is none.
func (s *Source) Next(ctx context.Context) (*Batch, error) { return s.next(ctx, s.Conn, OneTick) }

func (s *Source) next(ctx context.Context, q pg.Queryer, span Span) (*Batch, error) {
	type row struct {
		ID               *int64
		Prev, Tick, Time *string
		Seq, Before      *int64
	}
	r, err := pg.Struct[row](ctx, q, `
		select batch_id as id, prev_tick_id::text as prev, cur_tick_id::text as tick,
		       cur_tick_time::text as time, cur_tick_event_seq as seq, prev_tick_event_seq as before
		  from pgq.next_batch_custom($1, $2, null, $3, null)`, s.Queue, s.Consumer, span.count())
	if err != nil {
		return nil, fmt.Errorf("open a batch of %s on queue %s: %w", s.Consumer, s.Queue, err)
	}
	if r.ID == nil {
		return nil, nil
	}
	b := &Batch{ID: *r.ID, Time: *r.Time}
	b.Prev, _ = strconv.ParseInt(*r.Prev, 10, 64)
	b.Tick, _ = strconv.ParseInt(*r.Tick, 10, 64)
	if r.Seq != nil {
		b.Seq = *r.Seq
		if r.Before != nil {
			b.Events = b.Seq - *r.Before
		}
	}
	return b, nil
}

// MoveTo registers the consumer at a tick, without its open batch. It reports
// false when the provider does not have that tick.
func (s *Source) MoveTo(ctx context.Context, tick int64) (bool, error) {
	found, err := pg.One[bool](ctx, s.Conn, `
		select exists (select 1 from pgq.tick t join pgq.queue q on q.queue_id = t.tick_queue
		                where q.queue_name = $1 and t.tick_id = $2)`, s.Queue, tick)
	if err != nil || !found {
		return false, err
	}
	_, err = s.Conn.Exec(ctx, "select pgq.register_consumer_at($1, $2, $3)", s.Queue, s.Consumer, tick)
	if err != nil {
		return false, fmt.Errorf("register %s on queue %s at tick %d: %w", s.Consumer, s.Queue, tick, err)
	}
	return true, nil
}

// Finish closes a batch on the provider.
func (s *Source) Finish(ctx context.Context, b *Batch) error {
	if _, err := s.Conn.Exec(ctx, "select pgq.finish_batch($1)", b.ID); err != nil {
		return fmt.Errorf("finish batch %d of %s on queue %s: %w", b.ID, s.Consumer, s.Queue, err)
	}
	return nil
}
