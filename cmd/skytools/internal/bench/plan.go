package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/sandbox"
)

var planFigures = []figure{
	{name: "plan-10k-tables-time", unit: "s", target: 1, run: func(ctx context.Context) (float64, float64, string, error) {
		p, err := planned(ctx)
		return p.seconds, 5, "budget", err
	}},
	{name: "plan-10k-tables-memory", unit: "MB", target: 1, run: func(ctx context.Context) (float64, float64, string, error) {
		p, err := planned(ctx)
		return p.megabytes, 300, "budget", err
	}},
	{name: "plan-10k-tables-vs-dump", unit: "s", target: 1, run: func(ctx context.Context) (float64, float64, string, error) {
		p, err := planned(ctx)
		if err == nil && p.dump == 0 {
			err = errors.New("pg_dump is not installed")
		}
		return p.seconds, p.dump, "pg_dump --schema-only of the same databases", err
	}},
}

// tenThousand is a plan over 10,000 tables on three nodes: median of five runs.
type tenThousand struct{ seconds, megabytes, dump float64 }

var (
	once      sync.Once
	figure10k tenThousand
	err10k    error
)

func planned(ctx context.Context) (tenThousand, error) {
	once.Do(func() { figure10k, err10k = planTenThousand(ctx) })
	return figure10k, err10k
}

const topology = `skytools: 1
cluster: bench
databases:
  hub: {dsn: {env: BENCH_HUB}}
  edge: {dsn: {env: BENCH_EDGE}}
  report: {dsn: {env: BENCH_REPORT}}
queues:
  bench:
    nodes: {hub: {type: root}, edge: {type: branch, provider: hub}, report: {type: leaf, provider: edge}}
    tables: {"public.t_*": {copy: no}}
`

// built is a new folder with the program in it.
func built(ctx context.Context) (dir, program string, err error) {
	if dir, err = os.MkdirTemp("", "skytools-bench-"); err != nil {
		return "", "", err
	}
	program = filepath.Join(dir, "skytools")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "./cmd/skytools").CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		return "", "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return dir, program, nil
}

func planTenThousand(ctx context.Context) (t tenThousand, err error) {
	dir, program, err := built(ctx)
	if err != nil {
		return t, err
	}
	defer os.RemoveAll(dir)
	yaml := filepath.Join(dir, "bench.yaml")
	if err := os.WriteFile(yaml, []byte(topology), 0o644); err != nil {
		return t, err
	}
	env := os.Environ()
	var dsns []string
	for _, name := range []string{"HUB", "EDGE", "REPORT"} {
		s, err := sandbox.Start(ctx, sandbox.Options{})
		if err != nil {
			return t, err
		}
		defer s.Stop()
		if err := tables(ctx, s.DSN("postgres")); err != nil {
			return t, err
		}
		env, dsns = append(env, "BENCH_"+name+"="+s.DSN("postgres")), append(dsns, s.DSN("postgres"))
	}
	var seconds, memory, dumps []float64
	for range 5 { // ours and the peer in turn, so that a change of the machine's speed hits both
		cmd := exec.CommandContext(ctx, program, "plan", yaml, "-q")
		cmd.Env = env
		began := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			return t, fmt.Errorf("plan: %w\n%s", err, out)
		}
		seconds = append(seconds, time.Since(began).Seconds())
		memory = append(memory, float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)/1024)
		if took, ok := dump(ctx, dsns); ok {
			dumps = append(dumps, took)
		}
	}
	return tenThousand{median(seconds), median(memory), median(dumps)}, nil
}

func tables(ctx context.Context, dsn string) error {
	conn, err := pg.Dial(ctx, dsn, pg.Options{})
	if err != nil {
		return err
	}
	defer conn.Close()
	for part := range 20 { // each statement is a transaction, and each table a lock
		if _, err := conn.Exec(ctx, fmt.Sprintf(`do $$ begin for i in 1..500 loop
execute format('create table t_%d_%%s (id bigint primary key, a int not null, b text, c numeric default 0, d timestamptz, e text)', i);
end loop; end $$`, part)); err != nil {
			return err
		}
	}
	_, err = conn.Exec(ctx, "analyze pg_catalog.pg_class, pg_catalog.pg_attribute, pg_catalog.pg_constraint, pg_catalog.pg_index, pg_catalog.pg_attrdef, pg_catalog.pg_depend")
	return err
}

// dump reads the same structure with pg_dump, all databases at once.
func dump(ctx context.Context, dsns []string) (float64, bool) {
	began := time.Now()
	var all sync.WaitGroup
	ok := true
	for _, dsn := range dsns {
		cmd := exec.CommandContext(ctx, "pg_dump", "--schema-only", "-f", os.DevNull, dsn)
		if err := cmd.Start(); err != nil {
			return 0, false
		}
		all.Go(func() { ok = cmd.Wait() == nil && ok })
	}
	all.Wait()
	return time.Since(began).Seconds(), ok
}
