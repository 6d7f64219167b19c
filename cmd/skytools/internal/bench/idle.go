package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/skytools-go/skytools/sql/pg"
)

// idleFigures say what it costs to tick 1,000 queues that nobody writes to: ours and
// pgqd at the same time, each on a database of its own, with their own defaults.
var idleFigures = []figure{
	{name: "tick-1000-idle-cpu", unit: "ms/s", target: 1, run: idle(func(u usage) (float64, float64) { return u.cpu[0], u.cpu[1] })},
	{name: "tick-1000-idle-statements", unit: "/s", target: 1, run: idle(func(u usage) (float64, float64) { return u.statements[0], u.statements[1] })},
}

// usage is ours and pgqd's: milliseconds of processor time a second of the program and
// its sessions, and transactions a second.
type usage struct{ cpu, statements [2]float64 }

func idle(pick func(usage) (float64, float64)) func(context.Context) (float64, float64, string, error) {
	return func(ctx context.Context) (float64, float64, string, error) {
		idleOnce.Do(func() { idleErr = theUsage.measure(ctx) })
		ours, peer := pick(theUsage)
		return ours, peer, "pgqd 3.5", idleErr
	}
}

var (
	idleOnce sync.Once
	theUsage usage
	idleErr  error
)

// idleTime is long enough for pgqd's maintenance to come around.
const idleTime = 130 * time.Second

func (u *usage) measure(ctx context.Context) error {
	p, err := onPair(ctx)
	if err != nil {
		return err
	}
	if err := p.withQueue(ctx); err != nil { // one that another figure has tuned would want more ticks
		return err
	}
	for part := range 20 { // each is a transaction, and a table a lock
		if err := p.both(ctx, fmt.Sprintf("select count(pgq.create_queue('idle_%d_' || i)) from generate_series(1, 50) i", part)); err != nil {
			return err
		}
	}
	if err := p.both(ctx, "vacuum analyze"); err != nil {
		return err
	}
	dir, program, err := built(ctx)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	yaml := filepath.Join(dir, "idle.yaml")
	if err := os.WriteFile(yaml, []byte("skytools: 1\ncluster: bench\ndatabases:\n  ours: {dsn: {env: BENCH_OURS}}\nqueues:\n  q: {on: ours}\n"), 0o644); err != nil {
		return err
	}
	ini := filepath.Join(dir, "pgqd.ini")
	if err := os.WriteFile(ini, fmt.Appendf(nil, "[pgqd]\nbase_connstr = host=%s port=%d user=postgres\ndatabase_list = theirs\nsyslog = 0\nlogfile = %s\n",
		p.server.Dir, p.server.Port, filepath.Join(dir, "log")), 0o644); err != nil {
		return err
	}
	daemons := []*exec.Cmd{exec.CommandContext(ctx, program, "run", yaml, "-q"), exec.CommandContext(ctx, "pgqd", "-q", ini)}
	daemons[0].Env = append(os.Environ(), "BENCH_OURS="+p.server.DSN("ours"))
	for _, d := range daemons {
		if err := d.Start(); err != nil {
			return err
		}
		defer func() { d.Process.Kill(); d.Wait() }()
	}
	time.Sleep(10 * time.Second) // the second ticks of new queues
	var before, after [2]sample
	for i, conn := range []*pg.Conn{p.ours, p.theirs} {
		if before[i], err = take(ctx, conn, daemons[i].Process.Pid); err != nil {
			return err
		}
	}
	time.Sleep(idleTime)
	for i, conn := range []*pg.Conn{p.ours, p.theirs} {
		if after[i], err = take(ctx, conn, daemons[i].Process.Pid); err != nil {
			return err
		}
		seconds := after[i].at.Sub(before[i].at).Seconds()
		u.cpu[i] = float64((after[i].cpu - before[i].cpu).Microseconds()) / 1000 / seconds
		u.statements[i] = float64(after[i].transactions-before[i].transactions) / seconds
	}
	return nil
}

// sample is what a daemon and its sessions have used so far.
type sample struct {
	at           time.Time
	cpu          time.Duration
	transactions int64
}

func take(ctx context.Context, conn *pg.Conn, daemon int) (s sample, err error) {
	pids, err := pg.Rows[int32](ctx, conn, "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
	if err != nil {
		return s, err
	}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", daemon))
	if err != nil {
		return s, err
	}
	for _, task := range tasks {
		used, _ := schedstat(filepath.Join(task, "schedstat"))
		s.cpu += used
	}
	for _, pid := range pids {
		used, _ := processorTime(pid)
		s.cpu += used
	}
	s.at = time.Now()
	s.transactions, err = pg.One[int64](ctx, conn, "select xact_commit + xact_rollback from pg_stat_database where datname = current_database()")
	return s, err
}
