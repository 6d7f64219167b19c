package consume

import (
	"context"
	"errors"
	"strconv"

	"github.com/skytools-go/skytools/sql/pg"
)

const (
	firstRows = 300     // come with the opening of the cursor
	pieceSize = 8 << 20 // bytes of text, which only the last event of a piece may exceed
)

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

// fetch reads the batch through a cursor. It needs the session for itself. A piece
// ends after Fetch events or where it has become too large; while nobody takes it,
// the server waits with the rest.
//
// Source: contract/pgq.md section 2.4, get_batch_cursor.
func (b *Batch) fetch(ctx context.Context, take func([]Event) bool) error {
	most := b.consumer.Fetch
	err := b.consumer.source.Write(ctx, func(tx *pg.Tx) error {
		want, rows := min(firstRows, most), 0
		p := &packer{}
		flush := func() error {
			if len(p.events) > 0 && !take(p.events) {
				return errEnough
			}
			p = p.next(most)
			return nil
		}
		row := func(values [][]byte) error {
			rows++
			if err := p.add(values); err != nil || p.text.Len() < pieceSize {
				return err
			}
			return flush()
		}
		err := pg.EachBinary(ctx, tx, row, "select * from pgq.get_batch_cursor($1::int8, 'batch_walker', $2::int4, $3::text)",
			b.ID, want, b.consumer.where)
		for err == nil {
			if err = flush(); err != nil || rows < want {
				break
			}
			want, rows = most, 0
			err = pg.EachBinary(ctx, tx, row, "fetch "+strconv.Itoa(want)+" from batch_walker")
		}
		return err
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

var errEnough = errors.New("nobody wants more events")
