package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/skytools-go/skytools/sql/pg"
)

// insertFigures compare the ways to write events with the C function.
var insertFigures = []figure{
	{name: "insert-1-client", unit: "ev/s", target: 0.95, more: true, run: insertSingly(1)},
	{name: "insert-8-clients", unit: "ev/s", target: 0.95, more: true, run: insertSingly(8)},
	{name: "insert-1000-in-one", unit: "ev/s", target: 1, more: true, run: insertMany(thousandCalls)},
	{name: "insert-1000-as-array", unit: "ev/s", target: 3, more: true, run: insertMany(`
		select count(*) from pgq.insert_events('q', array_fill('t'::text, array[1000]), array_fill('` + eventData + `'::text, array[1000]),
		                                       array_fill('public.t'::text, array[1000]))`)},
}

const (
	eventData     = "some data for the event, about as long as this"
	oneCall       = "select pgq.insert_event('q', 't', '" + eventData + "', 'public.t', null, null, null)"
	thousandCalls = "select count(pgq.insert_event('q', 't', '" + eventData + "', 'public.t', null, null, null)) from generate_series(1, 1000)"
	cFunction     = "C insert_event of PgQ 3.5"
)

// withQueue gives both databases an empty queue, whose settings were analyzed as upkeep
// and autovacuum do: how a server looks them up depends on that.
func (p *pair) withQueue(ctx context.Context) error {
	return p.both(ctx, "select pgq.drop_queue(queue_name, true) from pgq.queue; select pgq.create_queue('q'); update pgq.queue set queue_rotation_period = '1 day'; analyze pgq.queue")
}

var tps = regexp.MustCompile(`tps = ([0-9.]+)`)

// insertSingly has clients that write one event in each transaction.
func insertSingly(clients int) func(context.Context) (float64, float64, string, error) {
	return func(ctx context.Context) (ours, peer float64, what string, err error) {
		p, err := onPair(ctx)
		if err != nil {
			return 0, 0, "", err
		}
		if err := p.withQueue(ctx); err != nil {
			return 0, 0, "", err
		}
		dir, err := os.MkdirTemp("", "skytools-bench-")
		if err != nil {
			return 0, 0, "", err
		}
		defer os.RemoveAll(dir)
		script := filepath.Join(dir, "insert.sql")
		if err := os.WriteFile(script, []byte(oneCall+";\n"), 0o644); err != nil {
			return 0, 0, "", err
		}
		rate := func(database string) func() (float64, error) {
			return func() (float64, error) {
				cmd := exec.CommandContext(ctx, p.tool("pgbench"), "-n", "-M", "prepared", "-T", "3", "-c", strconv.Itoa(clients), "-j", "2", "-f", script, p.server.DSN(database))
				out, err := cmd.CombinedOutput()
				if err != nil {
					return 0, fmt.Errorf("pgbench: %w\n%s", err, out)
				}
				m := tps.FindSubmatch(out)
				if m == nil {
					return 0, fmt.Errorf("pgbench says no rate:\n%s", out)
				}
				return strconv.ParseFloat(string(m[1]), 64)
			}
		}
		ours, peer, err = inTurn(rate("ours"), rate("theirs"))
		return ours, peer, cFunction, err
	}
}

// insertMany has one session that writes 1000 events in a statement; theirs calls the
// C function a thousand times. Events per second of the server's processor time.
func insertMany(text string) func(context.Context) (float64, float64, string, error) {
	return func(ctx context.Context) (ours, peer float64, what string, err error) {
		p, err := onPair(ctx)
		if err != nil {
			return 0, 0, "", err
		}
		if err := p.withQueue(ctx); err != nil {
			return 0, 0, "", err
		}
		const statements = 30
		rate := func(conn *pg.Conn, text string) func() (float64, error) {
			return func() (float64, error) {
				var all time.Duration
				for range statements {
					took, err := cost(ctx, conn, text)
					if err != nil {
						return 0, err
					}
					all += took
				}
				return statements * 1000 / all.Seconds(), nil
			}
		}
		ours, peer, err = inTurn(rate(p.ours, text), rate(p.theirs, thousandCalls))
		return ours, peer, cFunction, err
	}
}
