package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"github.com/skytools-go/skytools/runners/cascade"
	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/runners/tick"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgq"
	"github.com/skytools-go/skytools/sql/pgqcoop"
	"github.com/skytools-go/skytools/sql/pgqnode"
	"github.com/skytools-go/skytools/sql/sandbox"
)

// copyFigures say how long the first copy of ten tables takes, from registration
// until all are in sync, two tables at a time as everybody's default is. The tables
// have 1 GB together; BENCH_COPY is another number of MB.
var copyFigures = []figure{
	{name: "copy-vs-native", unit: "s", target: 1, run: copying(func(c copyTimes) (float64, float64) { return c.ours, c.native }, "logical replication's initial sync")},
	{name: "copy-vs-pglogical", unit: "s", target: 1, run: copyingBeside("pglogical's initial sync")},
	{name: "copy-vs-pipes-text", unit: "s", target: 0.9, run: copying(func(c copyTimes) (float64, float64) { return c.ours, c.text }, "psql COPY | psql COPY, two at a time")},
	{name: "copy-vs-pipes-binary", unit: "s", target: 0.9, run: copying(func(c copyTimes) (float64, float64) { return c.ours, c.binary }, "psql COPY | psql COPY in binary format")},
	{name: "copy-overhead", unit: "s", target: 1, run: copying(func(c copyTimes) (float64, float64) { return c.overhead, 3 }, "budget: ten tables of one row, until in sync")},
}

type copyTimes struct{ ours, native, text, binary, overhead, pglogical float64 }

// copyingBeside is [copying] for pglogical, which need not be there.
func copyingBeside(what string) func(context.Context) (float64, float64, string, error) {
	return func(ctx context.Context) (float64, float64, string, error) {
		times, err := theCopies(ctx)
		if err == nil && times.pglogical == 0 {
			err = errNoPglogical
		}
		return times.ours, times.pglogical, what, err
	}
}

func copying(pick func(copyTimes) (float64, float64), what string) func(context.Context) (float64, float64, string, error) {
	return func(ctx context.Context) (float64, float64, string, error) {
		times, err := theCopies(ctx)
		ours, peer := pick(times)
		return ours, peer, what, err
	}
}

var theCopies = shared(measureCopies)

const (
	copyTables   = 10
	copyRounds   = 3
	copyAtOnce   = 2
	copyRowBytes = 150
	copyQueue    = "copies"
)

// A copyBench is a provider and, on another server, a database for each way to copy.
type copyBench struct {
	up, down              *sandbox.Server
	source                *pg.Conn
	ours, native, streams *pg.Conn
	logical               *pg.Conn // nil: there is no pglogical
}

func measureCopies(ctx context.Context) (c copyTimes, err error) {
	megabytes := 1000
	if text := os.Getenv("BENCH_COPY"); text != "" {
		if megabytes, err = strconv.Atoi(text); err != nil || megabytes < 1 {
			return c, fmt.Errorf("BENCH_COPY: %q is no number of MB", text)
		}
	}
	b, err := newCopyBench(ctx, megabytes<<20/copyTables/copyRowBytes)
	if err != nil {
		return c, err
	}
	var all [6][]float64
	for round := range copyRounds + 1 { // the first warms up
		for i, f := range []func(context.Context) (float64, error){b.byUs, b.byServer, b.byPipes(""), b.byPipes(" (format binary)"), b.overhead, b.byPglogical} {
			took, err := f(ctx)
			if err != nil {
				return c, err
			}
			if round > 0 {
				all[i] = append(all[i], took)
			}
		}
	}
	return copyTimes{median(all[0]), median(all[1]), median(all[2]), median(all[3]), median(all[4]), median(all[5])}, nil
}

func newCopyBench(ctx context.Context, rows int) (*copyBench, error) {
	b := &copyBench{}
	for _, s := range []**sandbox.Server{&b.up, &b.down} {
		var err error
		if *s, err = sandbox.Start(ctx, sandbox.Options{Durable: true, Settings: map[string]string{
			"shared_buffers": "256MB", "max_wal_size": "8GB", "checkpoint_timeout": "1h", "autovacuum": "off", "jit": "off", "wal_level": "logical",
			"max_worker_processes": "20",
		}}); err != nil {
			return nil, err
		}
		atEnd(func() { (*s).Stop() })
	}
	pglogical := true
	for _, s := range []*sandbox.Server{b.up, b.down} {
		there, err := withPglogical(ctx, s)
		if err != nil {
			return nil, err
		}
		pglogical = pglogical && there
	}
	schemas := install(pgq.Schema, pgqcoop.Schema, pgqnode.Schema, londiste.Schema)
	tables, fill := "", ""
	for i := range copyTables {
		for _, name := range []string{copyTable(i), tinyTable(i)} {
			tables += fmt.Sprintf("create table %s (id bigint primary key, customer text, amount numeric(12,2), at timestamptz, open bool, n int, note text);\n", name)
		}
		fill += fmt.Sprintf(`insert into %s select i, 'customer number ' || i %% 1000, i * 0.01, '2026-01-02'::timestamptz + i * interval '1 s', i %% 2 = 0, i, md5(i::text) || md5((i + 1)::text)
			from generate_series(1, %d) i; insert into %s values (1);`, copyTable(i), rows, tinyTable(i))
	}
	var err error
	if b.source, err = database(ctx, b.up, "source", schemas+tables+fill); err != nil {
		return nil, err
	}
	if err := b.source.Script(ctx, "vacuum analyze"); err != nil {
		return nil, err
	}
	if b.native, err = database(ctx, b.down, "native", tables); err != nil {
		return nil, err
	}
	if b.streams, err = database(ctx, b.down, "streams", tables); err != nil {
		return nil, err
	}
	if pglogical {
		if b.logical, err = database(ctx, b.down, "logical", tables); err != nil {
			return nil, err
		}
		var names []string
		for i := range copyTables {
			names = append(names, copyTable(i))
		}
		if err := publishes(ctx, b.source, b.up.DSN("source"), names...); err != nil {
			return nil, err
		}
	}
	if b.ours, err = database(ctx, b.down, "ours", schemas+tables); err != nil {
		return nil, err
	}
	return b, b.start(ctx)
}

func copyTable(i int) string { return fmt.Sprintf("public.t%d", i) }
func tinyTable(i int) string { return fmt.Sprintf("public.tiny%d", i) }

// start makes the cascade, and runs the ticker and the worker that skytools run runs.
func (b *copyBench) start(ctx context.Context) error {
	up, down := b.up.DSN("source"), b.down.DSN("ours")
	root := []sql.Stmt{
		pgqnode.RegisterLocation(copyQueue, "root", up, false), pgqnode.CreateRoot(copyQueue, "root", "root_worker"),
		pgqnode.RegisterLocation(copyQueue, "leaf", down, false), pgqnode.RegisterSubscriber(copyQueue, "leaf", "leaf_worker", 0),
	}
	for i := range copyTables {
		for _, name := range []string{copyTable(i), tinyTable(i)} {
			root = append(root, londiste.LocalAddTable(copyQueue, name, londiste.AddTable{}))
		}
	}
	if err := replay.Call(ctx, b.source, root...); err != nil {
		return err
	}
	at, err := pg.One[int64](ctx, b.source, "select last_tick from pgq.get_consumer_info($1, 'leaf_worker')", copyQueue)
	if err != nil {
		return err
	}
	leaf := []sql.Stmt{
		pgqnode.RegisterLocation(copyQueue, "leaf", down, false), pgqnode.RegisterLocation(copyQueue, "root", up, false),
		pgqnode.CreateLeaf(copyQueue, "leaf", "leaf_worker", "root", at, ""),
	}
	for i := range copyTables {
		for _, name := range []string{copyTable(i), tinyTable(i)} {
			leaf = append(leaf, londiste.GlobalAddTable(copyQueue, name), londiste.LocalAddTable(copyQueue, name, londiste.AddTable{Args: []string{"expect_sync"}}))
		}
	}
	if err := replay.Call(ctx, b.ours, leaf...); err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	reach := func(dsn string) func(context.Context) (string, error) {
		return func(context.Context) (string, error) { return dsn, nil }
	}
	ticker := tick.New(tick.Config{DSN: reach(up)})
	worker := cascade.New(cascade.Config{Queue: copyQueue, DSN: reach(down), Copies: copyAtOnce})
	all.Go(func() { ticker.Run(running) })
	all.Go(func() { worker.Run(running) })
	atEnd(func() { stop(); all.Wait() })
	return nil
}

// timed begins on clean servers, with empty tables where the rows go.
func (b *copyBench) timed(ctx context.Context, to *pg.Conn, f func() error) (float64, error) {
	empty := "set session_replication_role = replica; "
	for i := range copyTables {
		empty += "truncate " + copyTable(i) + "; truncate " + tinyTable(i) + "; "
	}
	if err := to.Script(ctx, empty+"reset session_replication_role"); err != nil {
		return 0, err
	}
	for _, c := range []*pg.Conn{b.source, to} {
		if _, err := c.Exec(ctx, "checkpoint"); err != nil {
			return 0, err
		}
	}
	start := time.Now()
	err := f()
	return time.Since(start).Seconds(), err
}

func (b *copyBench) byUs(ctx context.Context) (float64, error) { return b.inSync(ctx, "public.t_") }

// overhead is what a copy takes that has next to no rows.
func (b *copyBench) overhead(ctx context.Context) (float64, error) {
	return b.inSync(ctx, "public.tiny_")
}

// inSync lets the worker copy the tables whose names are like one.
func (b *copyBench) inSync(ctx context.Context, like string) (float64, error) {
	return b.timed(ctx, b.ours, func() error {
		if _, err := b.ours.Exec(ctx, "update londiste.table_info set merge_state = null where table_name like $1", like); err != nil {
			return err
		}
		return until(ctx, b.ours, "select not exists (select from londiste.table_info where merge_state is distinct from 'ok')")
	})
}

func (b *copyBench) byServer(ctx context.Context) (float64, error) {
	list := ""
	for i := range copyTables {
		list += ", " + copyTable(i)
	}
	if err := b.source.Script(ctx, "drop publication if exists all_rows; create publication all_rows for table "+list[2:]); err != nil {
		return 0, err
	}
	took, err := b.timed(ctx, b.native, func() error {
		_, err := b.native.Exec(ctx, "create subscription s connection "+sql.Literal(b.up.DSN("source"))+" publication all_rows")
		if err != nil {
			return err
		}
		return until(ctx, b.native, "select not exists (select from pg_subscription_rel where srsubstate <> 'r')")
	})
	if err != nil {
		return 0, err
	}
	_, err = b.native.Exec(ctx, "drop subscription s")
	return took, err
}

// until waits for the answer yes, for a few minutes.
func until(ctx context.Context, conn *pg.Conn, question string) error {
	for start := time.Now(); time.Since(start) < 10*time.Minute; {
		yes, err := pg.One[bool](ctx, conn, question)
		if err != nil || yes {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("there is no end of it: %s", question)
}

// byPipes copies by a program for each end of each table.
func (b *copyBench) byPipes(options string) func(context.Context) (float64, error) {
	return func(ctx context.Context) (float64, error) {
		return b.timed(ctx, b.streams, func() error {
			todo := make(chan int, copyTables)
			for i := range copyTables {
				todo <- i
			}
			close(todo)
			failed := make(chan error, copyAtOnce)
			for range copyAtOnce {
				go func() {
					for i := range todo {
						out := fmt.Sprintf("copy %s to stdout%s", copyTable(i), options)
						in := fmt.Sprintf("copy %s from stdin%s", copyTable(i), options)
						cmd := exec.CommandContext(ctx, "sh", "-c", `psql -qXd "$1" -c "$2" | psql -qXd "$3" -v ON_ERROR_STOP=1 -c "$4"`, "sh",
							b.up.DSN("source"), out, b.down.DSN("streams"), in)
						if text, err := cmd.CombinedOutput(); err != nil {
							failed <- fmt.Errorf("psql: %w: %s", err, text)
							return
						}
					}
					failed <- nil
				}()
			}
			var first error
			for range copyAtOnce {
				if err := <-failed; err != nil && first == nil {
					first = err
				}
			}
			return first
		})
	}
}
