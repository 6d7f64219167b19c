package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgq"
	"github.com/skytools-go/skytools/sql/pgqcoop"
	"github.com/skytools-go/skytools/sql/sandbox"
)

// A pair is one server with two databases that do the same work: ours with our SQL,
// theirs with the extension pgq, whose functions are C.
type pair struct {
	server       *sandbox.Server
	ours, theirs *pg.Conn
}

// onPair starts the server that all figures of queues share, the first time.
var onPair = shared(newPair)

func newPair(ctx context.Context) (*pair, error) {
	s, err := sandbox.Start(ctx, sandbox.Options{Durable: true, Settings: map[string]string{
		"shared_buffers": "512MB", "max_wal_size": "4GB", "checkpoint_timeout": "1h", "autovacuum": "off", "jit": "off",
	}})
	if err != nil {
		return nil, err
	}
	atEnd(func() { s.Stop() })
	p := &pair{server: s}
	if p.theirs, err = database(ctx, s, "theirs", "create extension pgq"); err != nil {
		return nil, fmt.Errorf("%w (the peer is Debian's postgresql-15-pgq3)", err)
	}
	p.ours, err = database(ctx, s, "ours", install(pgq.Schema, pgqcoop.Schema))
	return p, err
}

// install is a script that installs schemas with their roles.
func install(schemas ...sql.Schema) string {
	text := ""
	for _, s := range schemas {
		for _, r := range s.Roles {
			text += r.Create().Text + ";\n"
		}
		text += s.Script()
	}
	return text
}

// database makes a database, runs a script there and stays connected.
func database(ctx context.Context, s *sandbox.Server, name, script string) (*pg.Conn, error) {
	admin, err := pg.Dial(ctx, s.DSN("postgres"), pg.Options{})
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	if _, err := admin.Exec(ctx, "create database "+sql.Ident(name)); err != nil {
		return nil, err
	}
	conn, err := pg.Dial(ctx, s.DSN(name), pg.Options{App: "bench"})
	if err != nil {
		return nil, err
	}
	atEnd(conn.Close)
	return conn, conn.Script(ctx, script)
}

// both runs a script on both.
func (p *pair) both(ctx context.Context, script string) error {
	if err := p.ours.Script(ctx, script); err != nil {
		return fmt.Errorf("ours: %w", err)
	}
	if err := p.theirs.Script(ctx, script); err != nil {
		return fmt.Errorf("theirs: %w", err)
	}
	return nil
}

// cost is the processor time that a statement takes in the server process of a
// session: other work on the machine disturbs it less than it disturbs a clock.
// Where the system does not tell, it is the time that passes.
func cost(ctx context.Context, conn *pg.Conn, text string) (time.Duration, error) {
	before, known := processorTime(conn.PID())
	began := time.Now()
	if _, err := conn.Exec(ctx, text); err != nil {
		return 0, err
	}
	if after, _ := processorTime(conn.PID()); known {
		return after - before, nil
	}
	return time.Since(began), nil
}

// processorTime is what a process has used so far.
// Source: Linux documentation, Scheduler Statistics, /proc/<pid>/schedstat.
func processorTime[T ~int32 | ~uint32](pid T) (time.Duration, bool) {
	return schedstat(fmt.Sprintf("/proc/%d/schedstat", pid))
}

func schedstat(path string) (time.Duration, bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	nanoseconds, _, _ := strings.Cut(string(text), " ")
	n, err := strconv.ParseInt(nanoseconds, 10, 64)
	return time.Duration(n), err == nil && n > 0
}

const rounds = 5

// inTurn measures ours and the peer in turn, so that a change of the machine's speed
// hits both, and returns the medians. The first round warms up and does not count.
func inTurn(ours, peer func() (float64, error)) (float64, float64, error) {
	var all [2][]float64
	for round := range rounds + 1 {
		for i, f := range []func() (float64, error){ours, peer} {
			v, err := f()
			if err != nil {
				return 0, 0, err
			}
			if round > 0 {
				all[i] = append(all[i], v)
			}
		}
	}
	return median(all[0]), median(all[1]), nil
}

// tool is a program of the server's installation, such as pgbench.
func (p *pair) tool(name string) string {
	if path := filepath.Join(p.server.Install.Bin, name); fileExists(path) {
		return path
	}
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	return name
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// shared measures or makes what several figures share, the first time.
func shared[T any](f func(context.Context) (T, error)) func(context.Context) (T, error) {
	var first sync.Once
	var made T
	var err error
	return func(ctx context.Context) (T, error) {
		first.Do(func() { made, err = f(ctx) })
		return made, err
	}
}

var ends []func()

// atEnd calls f when all figures are measured, the last first.
func atEnd(f func()) { ends = append(ends, f) }

func end() {
	for i := len(ends) - 1; i >= 0; i-- {
		ends[i]()
	}
}
