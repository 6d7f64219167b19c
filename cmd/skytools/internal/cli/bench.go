package cli

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
)

// benchTables are pgbench's. Its history has no primary key, without which a table
// cannot be replicated, so it gets one.
var benchTables = []string{"pgbench_accounts", "pgbench_branches", "pgbench_tellers", "pgbench_history"}

// fillBench makes pgbench's tables with their rows, and tells how far it is.
// Source: PostgreSQL documentation, pgbench.
func fillBench(ctx context.Context, dsn string, scale int, progress func(share float64)) error {
	if err := scriptOn(ctx, dsn, fmt.Sprintf(`
create table pgbench_branches (bid int primary key, bbalance int, filler char(88)) with (fillfactor = 100);
create table pgbench_tellers (tid int primary key, bid int, tbalance int, filler char(84)) with (fillfactor = 100);
create table pgbench_accounts (aid int primary key, bid int, abalance int, filler char(84)) with (fillfactor = 100);
create table pgbench_history (id bigserial primary key, tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
insert into pgbench_branches select b, 0 from generate_series(1, %[1]d) b;
insert into pgbench_tellers select t, (t - 1) / 10 + 1, 0 from generate_series(1, %[1]d * 10) t;
`, scale)); err != nil {
		return err
	}
	const part = 50_000
	for from := 1; from <= scale*100_000; from += part {
		if err := scriptOn(ctx, dsn, fmt.Sprintf(
			"insert into pgbench_accounts select a, (a - 1) / 100000 + 1, 0, '' from generate_series(%d, %d) a", from, from+part-1)); err != nil {
			return err
		}
		progress(float64(from+part-1) / float64(scale*100_000))
	}
	return scriptOn(ctx, dsn, "analyze pgbench_branches, pgbench_tellers, pgbench_accounts, pgbench_history")
}

func scriptOn(ctx context.Context, dsn, text string) error {
	conn, err := pg.Dial(ctx, dsn, pg.Options{App: "skytools demo"})
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Script(ctx, text)
}

// sumBench is a count and a checksum of each table.
func sumBench(ctx context.Context, dsn string) (map[string]string, error) {
	conn, err := pg.Dial(ctx, dsn, pg.Options{App: "skytools demo"})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	sums := map[string]string{}
	for _, t := range benchTables {
		sums[t], err = pg.One[string](ctx, conn,
			"select count(*) || ' rows ' || lpad(to_hex(coalesce(sum(hashtext(t::text)), 0)::int8 & 4294967295), 8, '0') from "+sql.Ident("public", t)+" t")
		if err != nil {
			return nil, err
		}
	}
	return sums, nil
}

// load runs pgbench's transaction from several clients at a steady rate.
type load struct {
	done   atomic.Int64
	cancel context.CancelFunc
	all    sync.WaitGroup
	mu     sync.Mutex
	err    error
}

// startLoad begins the load; it runs until stop. The clients together make rate
// transactions a second, if the server can.
func startLoad(ctx context.Context, dsn string, scale, clients, rate int) (*load, error) {
	ctx, cancel := context.WithCancel(ctx)
	l := &load{cancel: cancel}
	for range clients {
		conn, err := pg.Dial(ctx, dsn, pg.Options{App: "skytools demo load"})
		if err != nil {
			l.stop()
			return nil, err
		}
		l.all.Go(func() {
			defer conn.Close()
			if err := l.client(ctx, conn, scale, time.Duration(clients)*time.Second/time.Duration(rate)); err != nil && ctx.Err() == nil {
				l.mu.Lock()
				l.err = errors.Join(l.err, err)
				l.mu.Unlock()
			}
		})
	}
	return l, nil
}

func (l *load) client(ctx context.Context, conn *pg.Conn, scale int, every time.Duration) error {
	for next := time.Now(); ctx.Err() == nil; next = next.Add(every) {
		if wait := time.Until(next); wait > 0 && !sleepContext(ctx, wait) {
			return nil
		}
		aid, bid, tid, delta := 1+rand.N(scale*100_000), 1+rand.N(scale), 1+rand.N(scale*10), rand.N(10_001)-5_000
		// One transaction in hand is finished: a statement cut off in the middle would
		// close the session for nothing.
		work, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		err := conn.Write(work, func(tx *pg.Tx) error {
			for _, s := range []sql.Stmt{
				sql.Exec("update pgbench_accounts set abalance = abalance + $1 where aid = $2", delta, aid),
				sql.Exec("select abalance from pgbench_accounts where aid = $1", aid),
				sql.Exec("update pgbench_tellers set tbalance = tbalance + $1 where tid = $2", delta, tid),
				sql.Exec("update pgbench_branches set bbalance = bbalance + $1 where bid = $2", delta, bid),
				sql.Exec("insert into pgbench_history (tid, bid, aid, delta, mtime) values ($1, $2, $3, $4, current_timestamp)", tid, bid, aid, delta),
			} {
				if _, err := tx.Exec(work, s.Text, s.Args...); err != nil {
					return err
				}
			}
			return nil
		})
		cancel()
		if err != nil {
			return err
		}
		l.done.Add(1)
	}
	return nil
}

// stop ends the load and returns its error. It may be called twice.
func (l *load) stop() error {
	l.cancel()
	l.all.Wait()
	return l.err
}
