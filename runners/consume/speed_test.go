package consume_test

import (
	"context"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/consume"
	"github.com/skytools-go/skytools/sql/pg"
)

// BenchmarkConsume reads batches of 50,000 events as jsontriga writes them.
func BenchmarkConsume(b *testing.B) {
	const batches, events = 4, 50_000
	w := newWorld(b, false)
	w.fill(batches, events)
	for b.Loop() {
		w.exec("select pgq.register_consumer_at('q', 'c', 1)")
		seen, size := 0, 0
		c := w.consumer(w.config(), consume.Each(func(_ context.Context, _ *pg.Tx, e *consume.Event) error {
			seen++
			size += len(e.Data)
			return nil
		}))
		start := time.Now()
		if n := drain(b, c); n != batches || seen != batches*events || size == 0 {
			b.Fatalf("%d batches, %d events", n, seen)
		}
		b.ReportMetric(float64(seen)/time.Since(start).Seconds(), "events/s")
		c.Close()
	}
}

// fill writes whole batches.
func (w *world) fill(batches, events int) {
	w.Helper()
	for range batches {
		w.exec(`select count(pgq.insert_event('q', '{"op":"INSERT","table":["public","orders"],"pkey":["id"]}',
			'{"id":' || i || ',"customer":"customer number ' || i % 1000 || '","amount":"' || i * 0.01 || '","at":"2026-01-02T03:04:05.678901+00:00","note":null}',
			'public.orders', null, null, null)) from generate_series(1, $1::int) i`, events)
		w.tick()
	}
	w.exec("analyze")
}
