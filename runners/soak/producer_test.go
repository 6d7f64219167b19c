package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/skytools-go/skytools/sql/pg"
)

// A producer writes notes and changes tables, in transactions of all kinds. Each note
// stands in a ledger as well, so that it is known later which transactions committed.
type producer struct {
	dsn    string
	number int
	model  *model
	rand   *rand.Rand
}

var errRollback = errors.New("rolled back")

// run writes until ctx ends. A transaction that has begun then ends by itself.
func (p *producer) run(ctx context.Context) {
	var conn *pg.Conn
	defer func() { conn.Close() }()
	working := context.WithoutCancel(ctx)
	for i := 0; ctx.Err() == nil; i++ {
		if conn == nil || conn.Closed() {
			conn.Close()
			var err error
			if conn, err = pg.Dial(ctx, p.dsn, pg.Options{App: "producer"}); err != nil {
				conn = nil
				time.Sleep(50 * time.Millisecond)
				continue
			}
		}
		var events []string
		for k := range 1 + p.rand.IntN(6) {
			events = append(events, fmt.Sprintf("%d-%d-%d", p.number, i, k))
		}
		switch err := conn.Write(working, func(tx *pg.Tx) error { return p.write(working, tx, events) }); {
		case err == nil:
			p.model.note(p.model.committed, events)
		case errors.Is(err, errRollback):
			p.model.note(p.model.undone, events)
		default:
			p.model.note(p.model.unknown, events)
		}
		time.Sleep(time.Duration(10+p.rand.IntN(50)) * time.Millisecond)
	}
}

func (p *producer) write(ctx context.Context, tx *pg.Tx, events []string) error {
	if _, err := tx.Exec(ctx, "insert into ledger select unnest($1::text[])", events); err != nil {
		return err
	}
	if p.rand.IntN(2) == 0 {
		if _, err := tx.Exec(ctx, "select pgq.insert_events('q', array_fill('note'::text, array[cardinality($1::text[])]), $1)", events); err != nil {
			return err
		}
	} else {
		for _, e := range events {
			if _, err := tx.Exec(ctx, "select pgq.insert_event('q', 'note', $1)", e); err != nil {
				return err
			}
			if p.rand.IntN(20) == 0 {
				time.Sleep(time.Duration(p.rand.IntN(200)) * time.Millisecond)
			}
		}
	}
	if p.rand.IntN(2) == 0 {
		if err := p.change(ctx, tx, events[0]); err != nil {
			return err
		}
	}
	if p.rand.IntN(5) == 0 {
		return errRollback
	}
	return nil
}

// change changes some rows of a table whose changes are captured.
func (p *producer) change(ctx context.Context, tx *pg.Tx, value string) error {
	table := []string{"by_row", "by_statement"}[p.rand.IntN(2)]
	low := p.rand.IntN(60)
	high := low + p.rand.IntN(8)
	var err error
	switch n := p.rand.IntN(100); {
	case n < 50:
		_, err = tx.Exec(ctx, "insert into "+table+" select i, $3 from generate_series($1::int4, $2::int4) i on conflict (id) do update set v = excluded.v", low, high, value)
	case n < 75:
		_, err = tx.Exec(ctx, "update "+table+" set v = v || $3 where id between $1 and $2", low, high, "+")
	case n < 98:
		_, err = tx.Exec(ctx, "delete from "+table+" where id between $1 and $2", low, high)
	default:
		_, err = tx.Exec(ctx, "truncate "+table)
	}
	return err
}
