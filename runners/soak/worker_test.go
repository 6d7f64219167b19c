package soak

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/consume"
	"github.com/skytools-go/skytools/runners/forward"
	"github.com/skytools-go/skytools/runners/maint"
	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/runners/tick"
	"github.com/skytools-go/skytools/sql/pg"
)

// The test binary is also the program that is killed: with SOAK_ROLE it does that
// role's work until it ends.
func TestMain(m *testing.M) {
	if role := os.Getenv("SOAK_ROLE"); role != "" {
		go func() { // whoever started us holds the other end
			io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		}()
		work(role)
	}
	os.Exit(m.Run())
}

// roles are the processes. Each does one thing, or what belongs together; one of them
// runs twice by mistake.
var roles = map[string]func(context.Context) error{
	"keeper of hub":    keep("SOAK_HUB"),
	"keeper of report": keep("SOAK_REPORT"),
	"plain":            handle(consume.Config{Queue: "q", Consumer: "plain", Types: notes}, ""),
	"team.a":           handle(consume.Config{Queue: "q", Consumer: "team", Member: "a", Types: notes}, ""),
	"team.b":           handle(consume.Config{Queue: "q", Consumer: "team", Member: "b", Types: notes}, ""),
	"far":              handle(consume.Config{Queue: "q", Consumer: "far"}, "SOAK_REPORT"),
	"far by mistake":   handle(consume.Config{Queue: "q", Consumer: "far"}, "SOAK_REPORT"),
	"crew.a":           handle(consume.Config{Queue: "q", Consumer: "crew", Member: "a", Types: notes}, "SOAK_REPORT"),
	"crew.b":           handle(consume.Config{Queue: "q", Consumer: "crew", Member: "b", Types: notes}, "SOAK_REPORT"),
	"forward":          copyOn,
	"echo":             echo,
}

var notes = []string{"note"}

// work does a role again and again: what fails is the world, which is being killed.
func work(role string) {
	for {
		err := roles[role](context.Background())
		var lost *consume.PositionError
		if errors.As(err, &lost) {
			err = broken("%w", err)
		}
		fmt.Fprintf(os.Stderr, "%s %s: %v\n", time.Now().UTC().Format("15:04:05.000"), role, err)
		time.Sleep(50 * time.Millisecond)
	}
}

// isBroken begins what must never happen; the test looks for it in the logs.
const isBroken = "BROKEN: "

func broken(format string, args ...any) error { return fmt.Errorf(isBroken+format, args...) }

func reach(env string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return os.Getenv(env), nil }
}

// keep ticks and maintains one database.
func keep(env string) func(context.Context) error {
	return func(ctx context.Context) (err error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		var all sync.WaitGroup
		for _, run := range []func(context.Context) error{
			tick.New(tick.Config{DSN: reach(env)}).Run,
			maint.New(maint.Config{DSN: reach(env), MaintEvery: 500 * time.Millisecond, RetryEvery: 200 * time.Millisecond}).Run,
		} {
			all.Go(func() {
				defer cancel()
				if failed := run(ctx); failed != nil {
					fmt.Fprintln(os.Stderr, failed)
				}
			})
		}
		all.Wait()
		return errors.New("the keeper has ended")
	}
}

// handle runs a consumer of the hub's queue, which works there or in another database.
func handle(c consume.Config, target string) func(context.Context) error {
	return func(ctx context.Context) error {
		c.DSN = reach("SOAK_HUB")
		if target != "" {
			c.Target = reach(target)
		}
		return consumer(c).Run(ctx)
	}
}

// copyOn forwards the hub's queue into one of report; echo consumes that.
func copyOn(ctx context.Context) error {
	return forward.New(forward.Config{Queue: "q", Consumer: "forward", DSN: reach("SOAK_HUB"), Target: reach("SOAK_REPORT"), To: "copy", Fetch: 20}).Run(ctx)
}

func echo(ctx context.Context) error {
	return consumer(consume.Config{Queue: "copy", Consumer: "echo", DSN: reach("SOAK_REPORT")}).Run(ctx)
}

func consumer(c consume.Config) *consume.Consumer {
	c.Fetch, c.Poll = 1+rand.N(50), 200*time.Millisecond
	c.MinInterval = 300 * time.Millisecond // who dies often must be able to follow
	if c.Member != "" {
		c.DeadAfter = time.Second // shorter than a process may be stopped
	}
	return consume.New(c, func(ctx context.Context, tx *pg.Tx, b *consume.Batch) error {
		for piece, err := range b.Pieces(ctx) {
			if err != nil {
				return err
			}
			if err := done(ctx, tx, b, piece); err != nil {
				return err
			}
		}
		return nil
	})
}

// done remembers notes, puts aside those that are to come again, and replays tables.
func done(ctx context.Context, tx *pg.Tx, b *consume.Batch, piece []consume.Event) error {
	var data []string
	var retries []int32
	for i := range piece {
		e := &piece[i]
		if e.Type != "note" {
			if err := mirror(ctx, tx, b.Consumer, e); err != nil {
				return err
			}
			continue
		}
		data, retries = append(data, e.Data), append(retries, int32(e.Retry))
		if e.Retry < wanted(e.Data) {
			if err := b.Retry(ctx, e, time.Duration(rand.N(300))*time.Millisecond); err != nil {
				return err
			}
		}
	}
	_, err := tx.Exec(ctx, "insert into done select $1, d.data, d.retry from unnest($2::text[], $3::int4[]) d (data, retry)", b.Consumer, data, retries)
	return err
}

// mirror does to the consumer's copy of a table what was done to the table.
func mirror(ctx context.Context, tx *pg.Tx, consumer string, e *consume.Event) error {
	r, err := e.Row()
	if err != nil {
		return broken("%w", err)
	}
	table, id, v := consumer+"."+r.Table, r.Values["id"], r.Values["v"]
	if r.Op == "TRUNCATE" {
		_, err := tx.Exec(ctx, "truncate "+table)
		return err
	}
	n := int64(0)
	switch r.Op {
	case "INSERT":
		n, err = tx.Exec(ctx, "insert into "+table+" values ($1::text::int4, $2::text) on conflict do nothing", id, v)
	case "UPDATE":
		n, err = tx.Exec(ctx, "update "+table+" set v = $2::text where id = $1::text::int4", id, v)
	case "DELETE":
		n, err = tx.Exec(ctx, "delete from "+table+" where id = $1::text::int4", id)
	}
	if err == nil && n != 1 {
		return broken("%s: event %d: %s of %s %s has met %d rows", consumer, e.ID, r.Op, r.Table, said(r), n)
	}
	return err
}

func said(r *replay.Row) string {
	var all []string
	for name, v := range r.Values {
		if v != nil {
			all = append(all, name+"="+*v)
		}
	}
	return strings.Join(all, " ")
}
