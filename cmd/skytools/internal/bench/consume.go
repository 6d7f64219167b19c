package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/skytools-go/skytools/runners/consume"
	"github.com/skytools-go/skytools/sql/pg"
)

// consumeFigures compare consumers of one queue, in batches of 50,000 events.
var consumeFigures = []figure{
	{name: "consume-vs-python", unit: "ev/s", target: 2, more: true, run: consumers(pythonConsumer, "python3-pgq")},
	{name: "consume-vs-cursor", unit: "ev/s", target: 0.8, more: true, run: consumers(cursor, "FETCH 10000 from a cursor, in Go")},
}

const (
	batches   = 4
	batchSize = 50_000
)

// consumers measures runners/consume and a peer on the same batches of our queue.
func consumers(peer func(context.Context, *pair) (float64, error), what string) func(context.Context) (float64, float64, string, error) {
	return func(ctx context.Context) (float64, float64, string, error) {
		p, err := onPair(ctx)
		if err == nil {
			err = p.fill(ctx)
		}
		if err != nil {
			return 0, 0, "", err
		}
		ours, theirs, err := inTurn(
			func() (float64, error) { return consumed(ctx, p) },
			func() (float64, error) { return peer(ctx, p) })
		return ours, theirs, what, err
	}
}

// fill makes the batches, and registers nobody.
func (p *pair) fill(ctx context.Context) error {
	if err := p.withQueue(ctx); err != nil {
		return err
	}
	for range 1 + batches {
		if err := p.ours.Script(ctx, fmt.Sprintf(`
			select count(*) from pgq.insert_events('q', array_fill('{"op":"INSERT","table":["public","orders"],"pkey":["id"]}'::text, array[%d]),
				array(select '{"id":' || i || ',"customer":"customer number ' || i %% 1000 || '","amount":"' || i * 0.01 || '","at":"2026-01-02T03:04:05.678901+00:00","note":null}'
				        from generate_series(1, %[1]d) i), array_fill('public.orders'::text, array[%[1]d]));
			select pgq.force_tick('q')`, batchSize)); err != nil {
			return err
		}
		if _, err := p.ours.Exec(ctx, "select pgq.ticker('q')"); err != nil {
			return err
		}
	}
	return p.ours.Script(ctx, "analyze")
}

// rewind makes a consumer see all batches again.
func (p *pair) rewind(ctx context.Context, consumer string) error {
	return p.ours.Script(ctx, "select pgq.register_consumer_at('q', '"+consumer+"', (select min(tick_id) from pgq.tick where tick_queue = (select queue_id from pgq.queue where queue_name = 'q')))")
}

func consumed(ctx context.Context, p *pair) (float64, error) {
	if err := p.rewind(ctx, "ours"); err != nil {
		return 0, err
	}
	seen, size := 0, 0
	c := consume.New(consume.Config{
		Queue: "q", Consumer: "ours", DSN: func(context.Context) (string, error) { return p.server.DSN("ours"), nil },
	}, consume.Each(func(_ context.Context, _ *pg.Tx, e *consume.Event) error {
		seen++
		size += len(e.Data)
		return nil
	}))
	defer c.Close()
	return sinceTheSecond(&seen, func() error {
		_, err := c.RunOnce(ctx)
		return err
	})
}

// sinceTheSecond is how many events a second the batches after the first bring: a
// consumer lives for days, and its sessions are opened once.
func sinceTheSecond(seen *int, batch func() error) (float64, error) {
	var began time.Time
	for *seen < (1+batches)*batchSize {
		if err := batch(); err != nil {
			return 0, err
		}
		if *seen > 0 && began.IsZero() {
			began = time.Now()
		}
	}
	return batches * batchSize / time.Since(began).Seconds(), nil
}

// cursor reads the same batches as little as one can, and takes every row apart.
func cursor(ctx context.Context, p *pair) (float64, error) {
	if err := p.rewind(ctx, "cursor"); err != nil {
		return 0, err
	}
	conn, err := pg.Dial(ctx, p.server.DSN("ours"), pg.Options{})
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	seen, size := 0, 0
	return sinceTheSecond(&seen, func() error {
		return conn.Write(ctx, func(tx *pg.Tx) error {
			batch, err := pg.One[int64](ctx, tx, "select coalesce(pgq.next_batch('q', 'cursor'), 0)")
			if err != nil || batch == 0 {
				return err
			}
			if _, err := tx.Exec(ctx, "select * from pgq.get_batch_cursor($1, 'c', 0)", batch); err != nil {
				return err
			}
			for more := true; more; {
				more = false
				if err := pg.Each(ctx, tx, func(v [][]byte) error {
					more = true
					seen++
					var e consume.Event
					if e.ID, err = strconv.ParseInt(string(v[0]), 10, 64); err != nil {
						return err
					}
					e.Type, e.Data, e.Extra1 = string(v[4]), string(v[5]), string(v[6])
					size += len(e.Data)
					return nil
				}, "fetch 10000 from c"); err != nil {
					return err
				}
			}
			_, err = tx.Exec(ctx, "select pgq.finish_batch($1)", batch)
			return err
		})
	})
}

//go:embed consumer.py
var consumerPy []byte

func pythonConsumer(ctx context.Context, p *pair) (float64, error) {
	if err := p.rewind(ctx, "counter"); err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "skytools-bench-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	program, ini := filepath.Join(dir, "consumer.py"), filepath.Join(dir, "consumer.ini")
	config := "[counter]\njob_name = counter\nqueue_name = q\nconsumer_name = counter\ndb = " + p.server.DSN("ours") + "\nlogfile = " + filepath.Join(dir, "log") + "\npidfile = " + filepath.Join(dir, "pid") + "\n"
	if err := os.WriteFile(program, consumerPy, 0o644); err != nil {
		return 0, err
	}
	if err := os.WriteFile(ini, []byte(config), 0o644); err != nil {
		return 0, err
	}
	out, err := exec.CommandContext(ctx, "/usr/bin/python3", program, ini, strconv.Itoa((1+batches)*batchSize)).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("python3-pgq: %w\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strconv.ParseFloat(lines[len(lines)-1], 64)
}
