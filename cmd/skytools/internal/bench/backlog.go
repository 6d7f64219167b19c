package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/skytools-go/skytools/runners/cascade"
	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgq"
	"github.com/skytools-go/skytools/sql/pgqcoop"
	"github.com/skytools-go/skytools/sql/pgqnode"
	"github.com/skytools-go/skytools/sql/sandbox"
)

// A backlog is a root whose table has changed while no subscriber looked, once as each
// system keeps changes: events of our capture, events as Londiste's own trigger writes
// them, and the log from a replication slot on. It can be replayed any number of
// times, always into a copy of the table as it was before.
type backlog struct {
	server *sandbox.Server
	name   string // of the root's database, and in front of all others
	root   *pg.Conn
	plain  *pg.Conn // the root of native replication, which has no triggers: its log has these changes alone
	plugin string   // of the plain root's slot: pgoutput, or [pglogicalPlugin]
	leaves int      // that were made, where they stay
	begin  int64    // tick at which it begins, of both queues
	began  atomic.Int64
}

// The queues that have the same changes.
const (
	jsonQueue = "shop"     // as our captures write them
	urlQueue  = "londiste" // as Londiste's default trigger writes them
)

// changes is how many a backlog has, in tens; the table has twice as many rows before.
var changes = count("BENCH_CHANGES", 500_000)

// count is a number from the environment.
func count(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return otherwise
}

const marker = -1 // id of the row that comes last

const replayed = "create table public.t (id int8 primary key, n int4, txt text, num numeric, ts timestamptz, flag bool)"

// mixed is half inserts, two fifths updates and a tenth deletes, ten rows in a
// transaction.
const mixed = `
	create procedure play(total int) language plpgsql as $$
	declare last int := 2 * total;
	begin
	    for i in 1 .. total / 10 loop
	        insert into t select last + j, j, 'text ' || j || repeat('y', 30), j / 7.0, now(), true from generate_series(1, 5) j;
	        update t set n = n + 1, txt = 'changed ' || i where id in (select total / 5 + (i * 4 + j) % (2 * total - total / 5) from generate_series(1, 4) j);
	        delete from t where id = i;
	        last := last + 5;
	        commit;
	        if i % 500 = 0 then perform pgq.ticker('shop'), pgq.ticker('londiste'); commit; end if;
	    end loop;
	end $$`

// hot updates 4,000 keys five times in any 20,000 changes.
const hot = `
	create procedure play(total int) language plpgsql as $$
	begin
	    for i in 0 .. total / 10 - 1 loop
	        update t set n = n + 1, txt = 'changed ' || i where id in (select 1 + (i / 2000) * 4000 + (i * 10 + j) % 4000 from generate_series(0, 9) j);
	        commit;
	        if i % 500 = 499 then perform pgq.ticker('shop'), pgq.ticker('londiste'); commit; end if;
	    end loop;
	end $$`

// originals write events with triggers in C: with ours, which are as fast only where
// apply has generated them, playing would take the longest.
const originals = "create extension pgq; create extension pgq_node; create extension londiste;\n"

// onReplica starts the server that all figures of replication share, the first time, and
// onPglogical the one for those that need pglogical.
var (
	onReplica   = shared(replica)
	onPglogical = shared(func(ctx context.Context) (*sandbox.Server, error) {
		s, err := replica(ctx)
		if err != nil {
			return nil, err
		}
		if there, err := withPglogical(ctx, s); err != nil || !there {
			return nil, cmp.Or(err, errNoPglogical)
		}
		return s, nil
	})
)

func replica(ctx context.Context) (*sandbox.Server, error) {
	s, err := sandbox.Start(ctx, sandbox.Options{Durable: true, Settings: map[string]string{
		"shared_buffers": "1GB", "max_wal_size": "8GB", "checkpoint_timeout": "1h", "jit": "off", "wal_level": "logical",
		"max_wal_senders": "20", "max_replication_slots": "40", "max_worker_processes": "20", "autovacuum": "off",
	}})
	if err == nil {
		atEnd(func() { s.Stop() })
	}
	return s, err
}

// newBacklog makes the root and templates of subscribers, and plays changes.
func newBacklog(ctx context.Context, s *sandbox.Server, name, play, plugin string) (b *backlog, err error) {
	b = &backlog{server: s, name: name, plugin: plugin}
	if b.root, err = database(ctx, s, name, originals+b.rootScript()+";\n"+play); err != nil {
		return nil, fmt.Errorf("%w (the root has the original extensions, of Debian's postgresql-15-londiste-sql)", err)
	}
	for _, queue := range []string{jsonQueue, urlQueue} {
		if err := b.subscribe(ctx, queue); err != nil {
			return nil, err
		}
	}
	if b.begin, err = pg.One[int64](ctx, b.root, "select max(last_tick) from pgq.get_consumer_info() where consumer_name = 'leaf'"); err != nil {
		return nil, err
	}
	for _, text := range []string{fmt.Sprintf("call play(%d)", changes), fmt.Sprintf("insert into t values (%d)", marker), "select pgq.force_tick('shop'), pgq.force_tick('londiste')", "select pgq.ticker()"} {
		if _, err := b.root.Exec(ctx, text); err != nil {
			return nil, err
		}
	}
	return b, b.playPlain(ctx, strings.NewReplacer("perform pgq.ticker('shop'), pgq.ticker('londiste'); commit;", "null;").Replace(play))
}

func (b *backlog) rootScript() string {
	text := replayed + filled()
	for _, queue := range []string{jsonQueue, urlQueue} {
		text += fmt.Sprintf(`;
			select pgq_node.register_location('%[1]s', 'root', %[2]s, false), pgq_node.register_location('%[1]s', 'leaf', %[3]s, false),
			       pgq_node.create_node('%[1]s', 'root', 'root', 'root', null, null, null)`, queue, sql.Literal(b.server.DSN(b.name)), sql.Literal(b.server.DSN(b.name+"_leaf")))
	}
	return text + `;
		update pgq.queue set queue_ticker_max_lag = '0', queue_ticker_idle_period = '1 hour';
		select londiste.local_add_table('shop', 'public.t', array['tgflags=J']), londiste.local_add_table('londiste', 'public.t', array['tgflags=L'])`
}

// subscribe registers the leaf of a queue and keeps its database as a template, with
// the table as it is now.
func (b *backlog) subscribe(ctx context.Context, queue string) error {
	if _, err := b.root.Exec(ctx, "select pgq.force_tick($1)", queue); err != nil {
		return err
	}
	if _, err := b.root.Exec(ctx, "select pgq.ticker($1)", queue); err != nil {
		return err
	}
	if _, err := b.root.Exec(ctx, "select pgq_node.register_subscriber($1, 'leaf', 'leaf', null)", queue); err != nil {
		return err
	}
	tick, err := pg.One[int64](ctx, b.root, "select last_tick from pgq.get_consumer_info($1, 'leaf')", queue)
	if err != nil {
		return err
	}
	conn, err := database(ctx, b.server, b.template(queue), install(pgq.Schema, pgqcoop.Schema, pgqnode.Schema, londiste.Schema)+fmt.Sprintf(`;
		%[1]s;
		select pgq_node.register_location('%[2]s', 'root', %[3]s, false), pgq_node.register_location('%[2]s', 'leaf', %[4]s, false),
		       pgq_node.create_node('%[2]s', 'leaf', 'leaf', 'leaf', 'root', %[5]d, null);
		select londiste.global_add_table('%[2]s', 'public.t');
		select londiste.local_add_table('%[2]s', 'public.t', array['expect_sync'])`,
		replayed, queue, sql.Literal(b.server.DSN(b.name)), sql.Literal(b.server.DSN(b.name+"_leaf")), tick))
	if err != nil {
		return err
	}
	defer conn.Close()
	return fill(ctx, b.root, conn)
}

func filled() string {
	return fmt.Sprintf("; insert into t select i, i, repeat('x', 40), i / 3.0, '2026-01-01', true from generate_series(1, %d) i", 2*changes)
}

// playPlain makes the root and the template of native replication, with a slot that
// begins before the changes.
func (b *backlog) playPlain(ctx context.Context, play string) (err error) {
	if b.plain, err = database(ctx, b.server, b.name+"_plain", replayed+filled()+"; create publication native for table t;\n"+play); err != nil {
		return err
	}
	leaf, err := database(ctx, b.server, b.template("native"), replayed)
	if err != nil {
		return err
	}
	defer leaf.Close()
	if err := fill(ctx, b.plain, leaf); err != nil {
		return err
	}
	if b.plugin == pglogicalPlugin {
		if err := publishes(ctx, b.plain, b.server.DSN(b.name+"_plain"), "t"); err != nil {
			return err
		}
	}
	for _, text := range []string{
		"select pg_create_logical_replication_slot(" + sql.Literal(b.name+"_begin") + ", " + sql.Literal(b.plugin) + ")",
		fmt.Sprintf("call play(%d)", changes), fmt.Sprintf("insert into t values (%d)", marker),
	} {
		if _, err := b.plain.Exec(ctx, text); err != nil {
			return err
		}
	}
	return nil
}

// fill copies the table.
func fill(ctx context.Context, from, to *pg.Conn) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() {
		err := from.Write(ctx, func(tx *pg.Tx) error {
			_, err := tx.CopyOut(ctx, w, "copy t to stdout")
			return err
		})
		w.Close()
		sent <- err
	}()
	err = to.Write(ctx, func(tx *pg.Tx) error {
		if _, err := tx.Exec(ctx, "set local session_replication_role = replica"); err != nil {
			return err
		}
		_, err := tx.CopyIn(ctx, r, "copy t from stdin")
		return err
	})
	r.Close()
	if failed := <-sent; failed != nil {
		return failed
	}
	if err == nil {
		err = to.Script(ctx, "vacuum analyze t")
	}
	return err
}

func (b *backlog) template(of string) string { return b.name + "_template_" + of }

// leafName is that of the subscriber's database in hand.
func (b *backlog) leafName() string {
	if b.leaves > 0 {
		return fmt.Sprintf("%s_leaf%d", b.name, b.leaves)
	}
	return b.name + "_leaf"
}

// leaf makes the subscriber's database as it was at the beginning.
func (b *backlog) leaf(ctx context.Context, of string) (*pg.Conn, error) {
	admin, err := pg.Dial(ctx, b.server.DSN("postgres"), pg.Options{})
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	drop := "drop database if exists " + sql.Ident(b.leafName()) + " with (force)"
	if b.plugin == pglogicalPlugin { // its supervisor never lets go of a database that is dropped
		drop = "select"
		b.leaves++
	}
	name := sql.Ident(b.leafName())
	for _, text := range []string{drop, "create database " + name + " template " + sql.Ident(b.template(of)), "checkpoint"} {
		if _, err := admin.Exec(ctx, text); err != nil {
			return nil, err
		}
	}
	return pg.Dial(ctx, b.server.DSN(b.leafName()), pg.Options{App: "bench"})
}

// run times how long a subscriber needs from its start to the last row, in thousands
// of changes a second. work ends when its context does.
func (b *backlog) run(ctx context.Context, of string, prepare func(*pg.Conn) error, work func(context.Context) error) (float64, error) {
	conn, err := b.leaf(ctx, of)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if of != "native" {
		if _, err := b.root.Exec(ctx, "select pgq.register_consumer_at($1, 'leaf', $2)", of, b.begin); err != nil {
			return 0, err
		}
	}
	if prepare != nil {
		if err := prepare(conn); err != nil {
			return 0, err
		}
	}
	ctx, stop := context.WithTimeout(ctx, 5*time.Minute)
	defer stop()
	ended := make(chan error, 1)
	b.start()
	go func() { ended <- work(ctx) }()
	for {
		done, err := pg.One[bool](ctx, conn, "select exists (select from t where id = $1)", int64(marker))
		took := time.Since(time.UnixMicro(b.began.Load()))
		if err != nil {
			return 0, err
		}
		if done {
			stop()
			return float64(changes) / took.Seconds() / 1000, <-ended
		}
		select {
		case err := <-ended:
			return 0, fmt.Errorf("the worker ended before its work: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// start is when the clock starts. Work may start it anew.
func (b *backlog) start() { b.began.Store(time.Now().UnixMicro()) }

// ours replays with our worker.
func (b *backlog) ours(ctx context.Context) (float64, error) {
	var stats replay.Stats
	return b.run(ctx, jsonQueue, nil, func(ctx context.Context) error {
		return cascade.New(cascade.Config{
			Queue: jsonQueue, Stats: &stats, DSN: func(context.Context) (string, error) { return b.server.DSN(b.leafName()), nil },
		}).Run(ctx)
	})
}

// londiste replays with Debian's python3-londiste; handler is one of its own, or empty.
func (b *backlog) londiste(ctx context.Context, handler string) (float64, error) {
	dir, err := os.MkdirTemp("", "skytools-bench-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	ini := filepath.Join(dir, "londiste.ini")
	text := strings.Join([]string{
		"[londiste]", "job_name = leaf", "queue_name = " + urlQueue, "db = " + b.server.DSN(b.leafName()), "loop_delay = 0.1", "handler_modules = londiste.handlers.bulk",
		"logfile = " + filepath.Join(dir, "log"), "pidfile = " + filepath.Join(dir, "pid"), "",
	}, "\n")
	if err := os.WriteFile(ini, []byte(text), 0o644); err != nil {
		return 0, err
	}
	choose := func(conn *pg.Conn) error {
		if handler == "" {
			return nil
		}
		_, err := conn.Exec(ctx, "update londiste.table_info set table_attrs = 'handler=' || $1", handler)
		return err
	}
	return b.run(ctx, urlQueue, choose, func(ctx context.Context) error {
		cmd := exec.Command("londiste", "-q", ini, "worker")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("%w (the peer is Debian's package python3-londiste)", err)
		}
		go func() {
			<-ctx.Done()
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		}()
		if err := cmd.Wait(); ctx.Err() == nil {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			return fmt.Errorf("londiste: %v: %s", err, log)
		}
		return nil
	})
}

// native replays with the server's own logical replication.
func (b *backlog) native(ctx context.Context) (float64, error) {
	slot := b.name + "_run"
	if _, err := b.plain.Exec(ctx, "select pg_copy_logical_replication_slot($1, $2)", b.name+"_begin", slot); err != nil {
		return 0, err
	}
	prepare := func(conn *pg.Conn) error {
		return conn.Script(ctx, fmt.Sprintf("create subscription native connection %s publication native with (slot_name = %s, create_slot = false, copy_data = false, enabled = false)",
			sql.Literal(b.server.DSN(b.name+"_plain")), sql.Literal(slot)))
	}
	return b.run(ctx, "native", prepare, func(during context.Context) error {
		admin, err := pg.Dial(ctx, b.server.DSN(b.leafName()), pg.Options{})
		if err != nil {
			return err
		}
		defer admin.Close()
		if err := admin.Script(ctx, "alter subscription native enable"); err != nil {
			return err
		}
		// Its launcher may let seconds pass before it starts the worker, which is not replay.
		for there := false; !there && during.Err() == nil; time.Sleep(2 * time.Millisecond) {
			if there, err = pg.One[bool](during, b.plain, "select exists (select from pg_stat_replication where application_name = 'native')"); err != nil {
				return err
			}
		}
		b.start()
		<-during.Done()
		for _, text := range []string{"alter subscription native disable", "alter subscription native set (slot_name = none)", "drop subscription native"} {
			if err := admin.Script(ctx, text); err != nil {
				return err
			}
		}
		return dropSlot(ctx, b.plain, slot)
	})
}
