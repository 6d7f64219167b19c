package replay

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync/atomic"
)

// byID is the end of a batch's query.
const byID = " order by 1"

// A batch is small with so many events and bytes of text. A small one is read whole, as
// the server finds it, and put in order here: the server is what takes the time, and
// mostly the events are in order. Of a large one the server sends the events in order,
// and waits with the rest while nobody takes them.
const (
	smallEvents = 200_000
	smallText   = 64 << 20
)

// A Weight remembers how much text an event has, so that it is not found out anew with
// each batch that a batch is large. The zero value is ready. It is safe for concurrent use.
type Weight struct{ perEvent atomic.Int64 }

// of is how much text so many events may have.
func (w *Weight) of(events int64) int64 {
	if w == nil {
		return 0
	}
	return events * w.perEvent.Load()
}

func (w *Weight) learn(text, events int64) {
	if w != nil && events > 0 {
		w.perEvent.Store(text / events)
	}
}

// read sends the events of a batch in the order of their ids, until there are no more
// or ctx ends.
func (s *Source) read(ctx context.Context, b *Batch, query string, pages chan<- *page) error {
	send := func(p *page) error {
		select {
		case pages <- p:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	plain, ordered := strings.CutSuffix(query, byID)
	if ordered && b.Events <= smallEvents && s.Weight.of(b.Events) <= smallText {
		all, whole, err := s.whole(ctx, plain)
		if err != nil {
			return err
		}
		if whole {
			for _, p := range inOrder(all) {
				if err := send(p); err != nil {
					return err
				}
			}
			return nil
		}
	}
	return s.each(ctx, query, send)
}

// whole reads all events of a query, if they are as few as it seemed. If they are not,
// the rest is passed over: to break off would cost the session, and its open batch.
func (s *Source) whole(ctx context.Context, query string) (all []*page, whole bool, err error) {
	var events, text int64
	whole = true
	err = s.each(ctx, query, func(p *page) error {
		events, text = events+int64(len(p.events)), text+int64(len(p.text))
		if events > smallEvents || text > smallText {
			all, whole = nil, false
		} else {
			all = append(all, p)
		}
		return ctx.Err()
	})
	s.Weight.learn(text, events)
	return all, whole, err
}

// inOrder sorts events by their ids, unless they are: producers that do not overlap
// leave them so.
func inOrder(pages []*page) []*page {
	last, sorted, n := int64(0), true, 0
	for _, p := range pages {
		for i := range p.events {
			sorted = sorted && p.events[i].ID >= last
			last = p.events[i].ID
		}
		n += len(p.events)
	}
	if sorted {
		return pages
	}
	all := make([]Event, 0, n)
	for _, p := range pages {
		all = append(all, p.events...)
	}
	slices.SortFunc(all, func(a, b Event) int { return cmp.Compare(a.ID, b.ID) })
	pages = pages[:0]
	for part := range slices.Chunk(all, pageEvents) {
		pages = append(pages, &page{events: part})
	}
	return pages
}
