// Package soak kills everything that can be killed while events are written and
// consumed, and then compares what came with a model of a queue.
//
//	hub      queue q, 3 s of rotation; tables by_row and by_statement are captured
//	           plain             a consumer that works in hub
//	           team              members a and b, in hub
//	           far               works in report, and replays the tables there; runs twice
//	           crew              members a and b, in report
//	           forward           copies q into queue copy of report
//	report   queue copy
//	           echo              replays the tables a second time
//
// Each of these, and what ticks and maintains each server, is a process of its own.
// Processes get SIGKILL, or are stopped for longer than a member may be silent; sessions
// are terminated; servers are killed and recover.
//
// SOAK says for how long. The test of a few seconds that CI runs is the same code.
package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgq"
	"github.com/skytools-go/skytools/sql/pgqcoop"
	"github.com/skytools-go/skytools/sql/pgqext"
	"github.com/skytools-go/skytools/sql/sandbox"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

const (
	producers = 4
	settle    = 2 * time.Minute // for what is left when nobody kills any more
)

// consumers are those that note what they did, and where.
var consumers = map[string]string{"plain": "hub", "team": "hub", "far": "report", "crew": "report", "echo": "report"}

// mirrors are those that replay the tables.
var mirrors = []string{"far", "echo"}

func TestSoak(t *testing.T) {
	length := 6 * time.Second
	if text := os.Getenv("SOAK"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("for %s, seed %d", length, seed)
	w := newWorld(t)
	w.prepare()
	for role := range roles {
		w.start(role)
	}
	ctx, stop := context.WithTimeout(t.Context(), length)
	defer stop()
	var writing, others sync.WaitGroup
	for n := range producers {
		p := &producer{dsn: w.servers["hub"].DSN("postgres"), number: n, model: w.model, rand: rand.New(rand.NewPCG(seed, uint64(n)+1))}
		writing.Go(func() { p.run(ctx) })
	}
	others.Go(func() { w.report(ctx, length) })
	k := &killer{world: w, rand: rand.New(rand.NewPCG(seed, 0))}
	k.run(ctx)
	writing.Wait()
	others.Wait()
	w.compare()
	w.look()
	t.Log(w.progress())
	if w.model.written() < 20 {
		t.Error("too little has happened")
	}
}

// A world is two servers and the processes that work there.
type world struct {
	*testing.T
	servers   map[string]*sandbox.Server
	processes map[string]*process
	model     *model
	kills     *tally
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, servers: map[string]*sandbox.Server{}, processes: map[string]*process{}, model: newModel(), kills: &tally{of: map[string]int{}}}
	for _, name := range []string{"hub", "report"} {
		w.servers[name] = sandboxtest.Private(t, sandbox.Options{})
	}
	return w
}

// prepare makes queues, consumers and tables.
func (w *world) prepare() {
	w.Helper()
	for name, s := range w.servers {
		db := &sandboxtest.DB{Name: "postgres", DSN: s.DSN("postgres"), Server: s}
		db.Install(w, pgq.Schema, pgqcoop.Schema, pgqext.Schema)
		db.Script(w, "create table done (consumer text, data text, retry int4); create index on done (consumer)")
		queue := map[string]string{"hub": "q", "report": "copy"}[name]
		db.Script(w, "select pgq.create_queue("+sql.Literal(queue)+")")
		db.Script(w, "update pgq.queue set queue_ticker_max_lag = '100 ms', queue_ticker_max_count = 40, queue_ticker_idle_period = '1 s', queue_rotation_period = '3 s'")
		const tables = "create table %[1]sby_row (id int4 primary key, v text); create table %[1]sby_statement (id int4 primary key, v text);"
		if name == "hub" {
			db.Script(w, "create table ledger (event text);"+fmt.Sprintf(tables, ""))
			db.Script(w, `select pgq.create_capture('q', 'public.by_row', 'cap', null), pgq.create_capture('q', 'public.by_statement', 'cap', '{statement}')`)
			db.Script(w, `select pgq.register_consumer('q', c) from unnest('{plain,far,forward}'::text[]) c`)
			db.Script(w, `select pgq_coop.register_subconsumer('q', c, m) from unnest('{team,crew}'::text[]) c, unnest('{a,b}'::text[]) m`)
			continue
		}
		for _, consumer := range mirrors {
			db.Script(w, "create schema "+consumer+";"+fmt.Sprintf(tables, consumer+"."))
		}
		db.Script(w, "select pgq.register_consumer('copy', 'echo')")
	}
}

// dial connects to a server, however often it takes.
func (w *world) dial(server string) *pg.Conn {
	for until := time.Now().Add(settle); ; time.Sleep(50 * time.Millisecond) {
		conn, err := pg.Dial(context.Background(), w.servers[server].DSN("postgres"), pg.Options{App: "soak"})
		if err == nil {
			return conn
		}
		if time.Now().After(until) {
			w.Errorf("%s does not come back: %v", server, err)
			return nil
		}
	}
}

// read runs a query of one column; nil when the server is down just now.
func read[T any](w *world, server, text string, args ...any) []T {
	conn := w.dial(server)
	defer conn.Close()
	if conn == nil {
		return nil
	}
	rows, err := pg.Rows[T](context.Background(), conn, text, args...)
	if err != nil {
		return nil
	}
	return rows
}

// report says every ten seconds how it goes.
func (w *world) report(ctx context.Context, length time.Duration) {
	began := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(10 * time.Second):
			w.Logf("%s of %s: %s", time.Since(began).Round(time.Second), length, w.progress())
		}
	}
}

// progress is what was written, handled and killed.
func (w *world) progress() string {
	handled := int64(0)
	for _, server := range []string{"hub", "report"} {
		for _, n := range read[int64](w, server, "select count(*) from done") {
			handled += n
		}
	}
	return fmt.Sprintf("%d events written, %d handled by %d consumers; killed: %s", w.model.written(), handled, len(consumers), w.kills)
}

// compare waits until all is done, and requires that it was done as the model says.
func (w *world) compare() {
	w.Helper()
	for slices.Max(append(read[int64](w, "hub", "select count(*) from pg_stat_activity where application_name = 'producer'"), 0)) > 0 {
		time.Sleep(10 * time.Millisecond) // a transaction whose client has gone may still commit
	}
	want, wrong := w.model.want(read[string](w, "hub", "select event from ledger"))
	for _, text := range wrong {
		w.Error(text)
	}
	total := int64(0)
	for _, n := range want {
		total += int64(n)
	}
	if len(want) == 0 {
		w.Fatal("the ledger is empty")
	}
	began := time.Now()
	until := began.Add(settle)
	for _, consumer := range sorted(consumers) {
		behind := total - w.handled(consumer)
		for w.handled(consumer) < total && time.Now().Before(until) && w.healthy() {
			time.Sleep(50 * time.Millisecond)
		}
		w.Logf("%s was %d deliveries behind, and has all after %s", consumer, behind, time.Since(began).Round(100*time.Millisecond))
	}
	for _, consumer := range mirrors {
		for !w.same(consumer) && time.Now().Before(until) && w.healthy() {
			time.Sleep(50 * time.Millisecond)
		}
		if !w.same(consumer) {
			w.Errorf("the tables that %s has replayed differ", consumer)
		}
	}
	time.Sleep(2 * time.Second) // for what would come twice
	for _, consumer := range sorted(consumers) {
		w.compareDeliveries(consumer, want)
	}
}

func sorted(m map[string]string) []string {
	var all []string
	for name := range m {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

func (w *world) handled(consumer string) int64 {
	for _, n := range read[int64](w, consumers[consumer], "select count(*) from done where consumer = $1", consumer) {
		return n
	}
	return 0
}

// compareDeliveries requires that each event came with the retries 0, 1 and so on, once.
func (w *world) compareDeliveries(consumer string, want map[string]int) {
	w.Helper()
	expected, got := map[string]string{}, map[string]string{}
	for event, n := range want {
		for i := range n {
			expected[event] += fmt.Sprint(i, " ")
		}
	}
	for _, line := range read[string](w, consumers[consumer], "select data || ' ' || string_agg(retry || ' ', '' order by retry) from done where consumer = $1 group by data", consumer) {
		event, times, _ := strings.Cut(line, " ")
		got[event] = times
	}
	if diff := cmp.Diff(expected, got); diff != "" {
		lines := strings.Split(diff, "\n")
		w.Errorf("%s (-asked for +came):\n%s", consumer, strings.Join(lines[:min(len(lines), 40)], "\n"))
	}
}

// same reports whether what a consumer has replayed equals the tables.
func (w *world) same(consumer string) bool {
	const content = "select coalesce(string_agg(id || '=' || v, ',' order by id), '') from "
	for _, table := range []string{"by_row", "by_statement"} {
		if !slices.Equal(read[string](w, "hub", content+table), read[string](w, "report", content+consumer+"."+table)) {
			return false
		}
	}
	return true
}

// healthy reports that no process has seen what must never happen.
func (w *world) healthy() bool {
	for _, p := range w.processes {
		if strings.Contains(p.text(), isBroken) {
			return false
		}
	}
	return true
}

// look says what processes have seen that must never happen, and how they ended
// when something else is wrong.
func (w *world) look() {
	for role, p := range w.processes {
		lines := strings.Split(p.text(), "\n")
		if i := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, isBroken) }); i >= 0 {
			w.Errorf("%s: %s", role, lines[i])
		}
		if w.Failed() {
			w.Logf("the end of %s:\n%s", role, strings.Join(lines[max(0, len(lines)-6):], "\n"))
		}
	}
}
