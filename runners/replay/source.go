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
	Only            string // SQL condition over the columns of events; empty: all events
}

// A Batch is what lies between two ticks.
type Batch struct {
	ID         int64
	Prev, Tick int64
	Time       string // of Tick
	Seq        int64  // of events, at Tick
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
// already and only needs to be finished. With minCount a batch spans several ticks
// when the consumer is that many events or ten minutes behind.
//
// Source: contract/pgq.md section 6.7, steps 5 and 6.
func (s *Source) Open(ctx context.Context, completed int64, minCount int) (b *Batch, done bool, err error) {
	for try := range 2 {
		if b, err = s.next(ctx, minCount); err != nil || b == nil {
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

func (s *Source) next(ctx context.Context, minCount int) (*Batch, error) {
	var count any
	if minCount > 0 {
		count = int32(minCount)
	}
	type row struct {
		ID               *int64
		Prev, Tick, Time *string
		Seq              *int64
	}
	r, err := pg.Struct[row](ctx, s.Conn, `
		select batch_id as id, prev_tick_id::text as prev, cur_tick_id::text as tick,
		       cur_tick_time::text as time, cur_tick_event_seq as seq
		  from pgq.next_batch_custom($1, $2, null, $3, case when $3::int4 is not null then interval '10 minutes' end)`,
		s.Queue, s.Consumer, count)
	if err != nil {
		return nil, fmt.Errorf("open a batch of %s on queue %s: %w", s.Consumer, s.Queue, err)
	}
	if r.ID == nil {
		if minCount > 0 {
			return s.next(ctx, 0)
		}
		return nil, nil
	}
	b := &Batch{ID: *r.ID, Time: *r.Time}
	b.Prev, _ = strconv.ParseInt(*r.Prev, 10, 64)
	b.Tick, _ = strconv.ParseInt(*r.Tick, 10, 64)
	if r.Seq != nil {
		b.Seq = *r.Seq
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

const (
	firstRows = 300
	moreRows  = 5000
)

// Each calls f with every event of a batch, in the order of their ids. The events
// stay as they are. It holds a bounded part of the batch.
func (s *Source) Each(ctx context.Context, b *Batch, f func(*Event) error) error {
	return s.Conn.Write(ctx, func(tx *pg.Tx) error {
		var only any
		if s.Only != "" {
			only = s.Only
		}
		rows := 0
		var failed error // of f, which says itself what it is about
		count := func(values [][]byte) error {
			rows++
			e, err := newEvent(values)
			if err == nil {
				failed = f(e)
				err = failed
			}
			return err
		}
		wrong := func(err error) error {
			if failed != nil {
				return err
			}
			return fmt.Errorf("read batch %d of queue %s: %w", b.ID, s.Queue, err)
		}
		const open = "select * from pgq.get_batch_cursor($1::int8, 'batch_walker', $2::int4, $3::text)"
		if err := pg.Each(ctx, tx, count, open, b.ID, firstRows, only); err != nil {
			return wrong(err)
		}
		for want := firstRows; rows == want; want = moreRows {
			rows = 0
			if err := pg.Each(ctx, tx, count, "fetch "+strconv.Itoa(moreRows)+" from batch_walker"); err != nil {
				return wrong(err)
			}
		}
		return nil
	})
}

// newEvent copies a row in the order of pgq.get_batch_events.
func newEvent(v [][]byte) (*Event, error) {
	if len(v) != 10 {
		return nil, fmt.Errorf("an event has %d columns, not 10", len(v))
	}
	id, err := strconv.ParseInt(string(v[0]), 10, 64)
	if err != nil {
		return nil, err
	}
	txid, err := strconv.ParseInt(string(v[2]), 10, 64)
	if err != nil {
		return nil, err
	}
	size := 0
	for i := range v {
		size += len(v[i])
	}
	room := make([]byte, 0, size)
	keep := func(text []byte) []byte {
		if text == nil {
			return nil
		}
		start := len(room)
		room = append(room, text...)
		return room[start:len(room):len(room)]
	}
	return &Event{
		ID: id, Txid: txid, Time: keep(v[1]), Retry: keep(v[3]), Type: keep(v[4]), Data: keep(v[5]),
		Extra: [4][]byte{keep(v[6]), keep(v[7]), keep(v[8]), keep(v[9])},
	}, nil
}
