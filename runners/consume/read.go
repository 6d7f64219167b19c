package consume

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/skytools-go/skytools/sql/pg"
)

// pieceSize is how many bytes of text end a piece.
const pieceSize = 8 << 20

// read hands out the batch piece by piece until take has enough. With Prefetch
// another goroutine reads ahead; it has ended when read returns.
func (b *Batch) read(ctx context.Context, take func([]Event) bool) error {
	if b.consumer.Prefetch < 0 {
		return b.fetch(ctx, take)
	}
	pieces := make(chan []Event, b.consumer.Prefetch-1)
	enough := make(chan struct{})
	var err error
	go func() {
		defer close(pieces)
		err = b.fetch(ctx, func(piece []Event) bool {
			select {
			case pieces <- piece:
				return true
			case <-enough:
				return false
			}
		})
	}()
	defer func() { // also when take panics; a piece on its way is waited for
		close(enough)
		for range pieces {
		}
	}()
	for piece := range pieces {
		if !take(piece) {
			return nil
		}
	}
	return err
}

// fetch reads the batch. It needs the session for itself, and ends it when somebody
// has enough before the end. A piece ends after Fetch events or where it has become
// too large.
//
// It runs the query of the batch itself: a cursor would copy every event once more
// in the server, and the server is what takes the time. A batch that is small is put in
// order here, which takes the sort from the server, too; of a large one the server
// sends the events in order, and waits with the rest while nobody takes them.
//
// Source: contract/pgq.md section 4.3.
func (b *Batch) fetch(ctx context.Context, take func([]Event) bool) error {
	c := b.consumer
	if err := c.connect(ctx); err != nil {
		return err
	}
	query, err := pg.One[string](ctx, c.source, "select pgq.batch_event_sql($1)", b.ID)
	if err != nil {
		return err
	}
	query = strings.TrimSuffix(query, byID)
	if c.where != "" {
		query = "select * from (" + query + ") e where " + c.where
	}
	if b.size <= smallSize && b.size*c.perEvent <= smallText {
		pieces, err := b.whole(ctx, query)
		if err == nil {
			handOut(inOrder(pieces, c.Fetch), take)
		}
		if !errors.Is(err, errLarge) {
			return err
		}
		if err := c.connect(ctx); err != nil {
			return err
		}
	}
	return b.stream(ctx, query+byID, take)
}

// byID is the end of a batch's query.
const byID = " order by 1"

// A batch is small with so many events and bytes of text: then it is read whole.
const (
	smallSize = 100_000
	smallText = 32 << 20
)

// whole reads all events, in the order in which the server finds them.
func (b *Batch) whole(ctx context.Context, query string) (pieces [][]Event, err error) {
	text := 0
	err = b.stream(ctx, query, func(piece []Event) bool {
		for i := range piece {
			text += piece[i].size()
		}
		pieces = append(pieces, piece)
		return text <= smallText
	})
	if text > smallText {
		err = errLarge
	}
	return pieces, err
}

// inOrder sorts events by their ids, unless they are: producers that do not overlap
// leave them so.
func inOrder(pieces [][]Event, most int) [][]Event {
	last, sorted := int64(0), true
	for _, piece := range pieces {
		for i := range piece {
			sorted = sorted && piece[i].ID >= last
			last = piece[i].ID
		}
	}
	if sorted {
		return pieces
	}
	all := slices.Concat(pieces...)
	slices.SortFunc(all, func(a, b Event) int { return cmp.Compare(a.ID, b.ID) })
	return cut(all, most)
}

// cut makes pieces, which end after most events or where they have become too large.
func cut(events []Event, most int) (pieces [][]Event) {
	begin, size := 0, 0
	for i := range events {
		size += events[i].size()
		if i+1 == len(events) || i+1-begin == most || size >= pieceSize {
			pieces = append(pieces, events[begin:i+1:i+1])
			begin, size = i+1, 0
		}
	}
	return pieces
}

func handOut(pieces [][]Event, take func([]Event) bool) {
	for _, piece := range pieces {
		if !take(piece) {
			return
		}
	}
}

// stream reads the events in order, as many at a time as somebody takes.
func (b *Batch) stream(ctx context.Context, query string, take func([]Event) bool) error {
	c := b.consumer
	p := &packer{events: make([]Event, 0, c.Fetch)}
	seen, text := int64(0), int64(0)
	send := func() bool {
		seen, text = seen+int64(len(p.events)), text+int64(p.text.Len())
		c.perEvent = text / seen
		return take(p.events)
	}
	err := c.source.Stream(ctx, pg.Binary, query, func(values [][]byte) error {
		if err := p.add(values); err != nil || len(p.events) < c.Fetch && p.text.Len() < pieceSize {
			return err
		}
		if !send() {
			return errEnough
		}
		p = p.next(c.Fetch)
		return nil
	})
	switch {
	case errors.Is(err, errEnough): // the session has more to say
		c.source.Close()
		c.source = nil
		return nil
	case err == nil && len(p.events) > 0:
		send()
	}
	return err
}

var (
	errEnough = errors.New("nobody wants more events")
	errLarge  = errors.New("the batch is larger than it seemed")
)
