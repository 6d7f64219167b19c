package consume_test

import (
	"context"
	"fmt"
	"time"

	"github.com/skytools-go/skytools/runners/consume"
	"github.com/skytools-go/skytools/runners/group"
	"github.com/skytools-go/skytools/sql/pg"
)

func shop(context.Context) (string, error)   { return "dbname=shop", nil }
func report(context.Context) (string, error) { return "dbname=report", nil }

// A function for each event, in the queue's own database.
func ExampleRun() {
	err := consume.Run(context.Background(), consume.Config{Queue: "orders", Consumer: "totals", DSN: shop},
		consume.Each(func(ctx context.Context, tx *pg.Tx, e *consume.Event) error {
			var order struct {
				Customer string
				Amount   string // numeric
			}
			if err := e.Into(&order); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, "update customers set spent = spent + $2::text::numeric where name = $1", order.Customer, order.Amount)
			return err
		}))
	fmt.Println(err)
}

// A statement for many events, in another database.
func ExampleBatch_Pieces() {
	c := consume.New(consume.Config{Queue: "orders", Consumer: "archive", DSN: shop, Target: report, Fetch: 5000},
		func(ctx context.Context, tx *pg.Tx, b *consume.Batch) error {
			for piece, err := range b.Pieces(ctx) {
				if err != nil {
					return err
				}
				var ids []int64
				var data []string
				for _, e := range piece {
					ids, data = append(ids, e.ID), append(data, e.Data)
				}
				if _, err := tx.Exec(ctx, "insert into archive select * from unnest($1::int8[], $2::text[])", ids, data); err != nil {
					return err
				}
			}
			return nil
		})
	defer c.Close()
	worked, err := c.RunOnce(context.Background())
	fmt.Println(worked, err)
}

// An event that cannot be done yet is put aside, and given up after ten times.
func ExampleRetryAfter() {
	consume.Each(func(ctx context.Context, tx *pg.Tx, e *consume.Event) error {
		n, err := tx.Exec(ctx, "update stock set amount = amount - 1 where item = $1 and amount > 0", e.Data)
		if err == nil && n == 0 && e.Retry < 10 {
			return consume.RetryAfter(time.Minute)
		}
		return err
	})
}

// Two members that share the batches of one consumer, repeated after errors.
func ExampleLoop() {
	handler := func(ctx context.Context, tx *pg.Tx, b *consume.Batch) error { return nil }
	var loops []group.Loop
	for _, member := range []string{"w1", "w2"} {
		loops = append(loops, consume.Loop(consume.Config{
			Queue: "orders", Consumer: "indexer", Member: member, DSN: shop, DeadAfter: 10 * time.Minute,
		}, handler))
	}
	(&group.Group{App: "indexer"}).Run(context.Background(), loops...)
}
