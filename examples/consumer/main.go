// Command consumer keeps a table of what each customer has ordered, in another
// database than the orders, and counts every order exactly once.
//
// Try it with two databases:
//
//	export HUB_DSN="dbname=hub" REPORT_DSN="dbname=report"
//	psql "$HUB_DSN" -f examples/consumer/tables.sql
//	skytools apply examples/consumer   # queue, consumer, trigger; pgq_ext in report
//	skytools run examples/consumer &   # ticks
//	go run ./examples/consumer
//
// Insert orders in hub and look at the table totals in report. Kill the program while
// it works, as often as you like: the totals stay right.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/hashicorp/go-hclog"

	"github.com/skytools-go/skytools/runners/consume"
	"github.com/skytools-go/skytools/runners/group"
	"github.com/skytools-go/skytools/sql/pg"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "consumer:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	report := env("REPORT_DSN")
	if err := prepare(ctx, report); err != nil {
		return err
	}
	log := hclog.New(&hclog.LoggerOptions{Name: "totals"})
	loop := consume.Loop(consume.Config{
		Queue: "orders", Consumer: "totals", DSN: env("HUB_DSN"), Target: report,
		Tables: []string{"public.orders"}, Log: log,
	}, consume.Each(count))
	g := &group.Group{App: "totals", Log: log} // one process at a time, again after errors
	g.Run(ctx, loop)
	return nil
}

// prepare makes the table that the totals are kept in.
func prepare(ctx context.Context, dsn func(context.Context) (string, error)) error {
	place, err := dsn(ctx)
	if err != nil {
		return err
	}
	conn, err := pg.Dial(ctx, place, pg.Options{App: "totals"})
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Script(ctx, "create table if not exists totals (customer text primary key, orders bigint not null, amount numeric not null)")
}

// count adds a new order to its customer's totals. The transaction also records that
// the batch is done, so no order is counted twice.
func count(ctx context.Context, tx *pg.Tx, e *consume.Event) error {
	row, err := e.Row()
	if err != nil {
		return err
	}
	if row.Op != "INSERT" {
		return nil
	}
	_, err = tx.Exec(ctx, `
		insert into totals as t (customer, orders, amount) values ($1, 1, $2::text::numeric)
		on conflict (customer) do update set orders = t.orders + 1, amount = t.amount + excluded.amount`,
		row.Values["customer"], row.Values["amount"])
	return err
}

func env(name string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		if value := os.Getenv(name); value != "" {
			return value, nil
		}
		return "", fmt.Errorf("%s is not set", name)
	}
}
