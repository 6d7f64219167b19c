package replay

import (
	"context"
	"fmt"

	"github.com/skytools-go/skytools/sql/pg"
)

// A Way is what lies between two ticks of a queue. Events are counted by the ticks'
// sequence numbers: a hint, which may be too high.
type Way struct{ Ticks, Events int64 }

// Way measures what lies behind a tick, up to another; 0 is the newest. It is nothing
// where the provider does not have one of the ticks.
func (s *Source) Way(ctx context.Context, q pg.Queryer, from, to int64) (Way, error) {
	w, err := pg.Struct[Way](ctx, q, `
		select coalesce(x.tick_id - c.tick_id, 0) as ticks, coalesce(x.tick_event_seq - c.tick_event_seq, 0) as events
		  from pgq.queue q
		  left join pgq.tick c on c.tick_queue = q.queue_id and c.tick_id = $2
		  left join lateral (
		       select t.tick_id, t.tick_event_seq
		         from pgq.tick t
		        where t.tick_queue = q.queue_id and (t.tick_id = $3 or $3 = 0::int8)
		        order by t.tick_id desc
		        limit 1) x on true
		 where q.queue_name = $1`, s.Queue, from, to)
	if err != nil {
		return Way{}, fmt.Errorf("see how far tick %d of queue %s is from tick %d: %w", to, s.Queue, from, err)
	}
	return w, nil
}

// A Span is how many events a batch of several ticks should have. The provider ends it
// where it has that many; it takes all there are when these are not twice as many.
//
// Source: contract/pgq.md section 4.1.
type Span int32

// OneTick leads to every tick on the way.
const OneTick Span = -1

func (s Span) count() *int32 {
	if s < 0 {
		return nil
	}
	n := int32(s)
	return &n
}

// A Collect tells which span to take on a way: that of one tick for who is near, or else
// all, up to Most events. With one tick at a time a reader would never arrive where they
// come faster than it can apply them, however little they hold.
type Collect struct {
	Near Way   // one tick up to these
	Most int64 // zero: always one tick
}

// Span is the span of the next batch on a way.
func (c Collect) Span(w Way) Span {
	if c.Most == 0 || w.Events < 0 || w.Ticks <= c.Near.Ticks && w.Events <= c.Near.Events {
		return OneTick
	}
	return Span(min(w.Events, c.Most))
}

// Span is the span of the batch after a tick. The way is measured only where it matters.
func (s *Source) Span(ctx context.Context, q pg.Queryer, c Collect, after int64) (Span, error) {
	if c.Most == 0 {
		return OneTick, nil
	}
	way, err := s.Way(ctx, q, after, 0)
	return c.Span(way), err
}
