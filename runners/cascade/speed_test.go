package cascade_test

import (
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/cascade"
	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pgqnode"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// BenchmarkReplay replays 500,000 changes: 50 % inserts, 40 % updates, 10 % deletes,
// ten in a transaction, events as jsontriga writes them, with a tick every 5,000.
func BenchmarkReplay(b *testing.B) {
	const changes = 500_000
	s := sandboxtest.Server(b)
	root := newRoot(b, s, "root")
	leaf := root.add(s, root, "leaf", pgqnode.Leaf)
	const table = "create table public.t (id int8 primary key, n int, txt text, num numeric, ts timestamptz, js jsonb)"
	for _, n := range []*node{root, leaf} {
		n.run(table)
		n.run(`insert into t select i, i, repeat('x', 40), i / 3.0, '2026-01-01', '{"a": 1}' from generate_series(1, 200000) i`)
	}
	root.addTable("public.t", londiste.AddTable{})
	root.tick()
	w := cascade.New(leaf.config())
	for {
		if worked, err := w.RunOnce(b.Context()); err != nil {
			b.Fatal(err)
		} else if !worked {
			break
		}
	}
	w.Close()
	leaf.addTable("public.t", londiste.AddTable{Args: []string{"expect_sync"}})
	root.run(`create procedure play(total int) language plpgsql as $$
		declare next int := 200000; gone int := 0;
		begin
			for i in 1 .. total / 10 loop
				insert into t select next + j, j, 'text ' || j || repeat('y', 30), j / 7.0, now(), '{"b": [1, 2]}' from generate_series(1, 5) j;
				update t set n = n + 1, txt = 'changed ' || i where id in (select 100001 + (i * 4 + j) % 100000 from generate_series(0, 3) j);
				gone := gone + 1;
				delete from t where id = gone;
				next := next + 5;
				commit;
				if i % 500 = 0 then perform pgq.ticker('shop'); commit; end if;
			end loop;
		end $$`)
	root.run("call play(500000)")
	root.tick()
	stats := &replay.Stats{}
	c := leaf.config()
	c.Stats = stats
	b.ResetTimer()
	start := time.Now()
	w = cascade.New(c)
	defer w.Close()
	for {
		if worked, err := w.RunOnce(b.Context()); err != nil {
			b.Fatal(err)
		} else if !worked {
			break
		}
	}
	b.ReportMetric(changes/time.Since(start).Seconds(), "rows/s")
	b.ReportMetric(float64(stats.Batches.Load()), "batches")
	b.ReportMetric(float64(stats.Fallbacks.Load()), "fallbacks")
	sum := "select md5(string_agg(t::text, '|' order by id)) from t"
	if x, y := root.text(sum), leaf.text(sum); x != y {
		b.Error("tables differ")
	}
}
