package consume

import (
	"context"
	"errors"

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
// too large; while nobody takes it, the server waits with the rest.
//
// It runs the query of the batch itself. A cursor would copy every event once more
// in the server, and the server is what takes the time.
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
	if c.where != "" {
		query = "select * from (" + query + ") e where " + c.where + " order by 1"
	}
	p := &packer{events: make([]Event, 0, c.Fetch)}
	err = c.source.Stream(ctx, pg.Binary, query, func(values [][]byte) error {
		if err := p.add(values); err != nil || len(p.events) < c.Fetch && p.text.Len() < pieceSize {
			return err
		}
		if !take(p.events) {
			return errEnough
		}
		p = p.next(c.Fetch)
		return nil
	})
	switch {
	case errors.Is(err, errEnough):
		c.source.Close()
		c.source = nil
		return nil
	case err == nil && len(p.events) > 0:
		take(p.events)
	}
	return err
}

var errEnough = errors.New("nobody wants more events")
