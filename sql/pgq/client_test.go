package pgq_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/runners/tick"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgq"
	"github.com/skytools-go/skytools/sql/pgqcoop"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// The clients of the original, as Debian has them, on our schemas.

const (
	pgqd   = "/usr/bin/pgqd"
	python = "/usr/bin/python3" // another one would not find what Debian installs
)

// A client is a process of the original's: pgqd, or a consumer in Python.
type client struct {
	*exec.Cmd
	name string
	log  string
	done chan struct{}
}

// start runs a client with a configuration file of the section and lines given, and
// ends it with the test.
func start(t *testing.T, name, section string, lines []string, program string, args ...string) *client {
	t.Helper()
	dir := t.TempDir()
	c := &client{name: name, log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	ini := filepath.Join(dir, name+".ini")
	lines = append([]string{"[" + section + "]", "logfile = " + c.log, "pidfile = " + filepath.Join(dir, name+".pid")}, lines...)
	if err := os.WriteFile(ini, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	c.Cmd = exec.CommandContext(ctx, program, append(args, ini)...)
	c.Dir = dir
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	go func() { c.Wait(); close(c.done) }()
	t.Cleanup(func() {
		c.Process.Kill()
		<-c.done
		cancel()
		if t.Failed() {
			text, _ := os.ReadFile(c.log)
			lines := strings.Split(out.String()+string(text), "\n")
			t.Logf("%s: %s\n%s", name, c.ProcessState, strings.Join(lines[max(0, len(lines)-30):], "\n"))
		}
	})
	return c
}

// stop asks the client to end as its users do, with SIGINT, and requires that it does.
func (c *client) stop(t *testing.T) {
	t.Helper()
	c.Process.Signal(syscall.SIGINT)
	select {
	case <-c.done:
		if !c.ProcessState.Success() {
			t.Errorf("%s: %s", c.name, c.ProcessState)
		}
	case <-time.After(20 * time.Second):
		t.Errorf("%s does not stop", c.name)
	}
}

func needPgqd(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(pgqd); err != nil {
		t.Fatal("there is no pgqd here; install the package pgqd (Debian)")
	}
}

func needPython(t *testing.T) {
	t.Helper()
	if out, err := exec.Command(python, "-c", "import pgq").CombinedOutput(); err != nil {
		t.Fatalf("Python does not have the original's consumers; install the package python3-pgq (Debian): %v\n%s", err, out)
	}
}

// startPgqd ticks, maintains and retries the queues of the database every so many
// seconds. It knows databases by their names only.
func startPgqd(t *testing.T, db *sandboxtest.DB, tick, maint, retry string) *client {
	t.Helper()
	needPgqd(t)
	server, _, _ := strings.Cut(db.DSN, " dbname=")
	return start(t, "pgqd", "pgqd", []string{
		"base_connstr = " + server, "database_list = " + db.Name, "initial_database = " + db.Name, "syslog = 0",
		"check_period = 1", "ticker_period = " + tick, "maint_period = " + maint, "retry_period = " + retry,
	}, pgqd)
}

// consumer is the configuration of one in Python: its own lines after what all need.
func consumer(db *sandboxtest.DB, lines ...string) []string {
	return append([]string{"db = " + db.DSN, "queue_name = q", "loop_delay = 0.05", "exception_sleep = 1", "use_skylog = 0"}, lines...)
}

// withClients is a database with a busy queue and the table that consumers fill.
func withClients(t *testing.T) *sandboxtest.DB {
	t.Helper()
	db := sandboxtest.Database(t)
	db.Install(t, pgq.Schema, pgqcoop.Schema)
	db.Script(t, `select pgq.create_queue('q');
select pgq.set_queue_config('q', 'ticker_max_lag', '50 ms'), pgq.set_queue_config('q', 'ticker_idle_period', '200 ms');
create table delivered (who text, ev_id int8, retry int4, data text)`)
	return db
}

// produce writes events 1 to n from several sessions, in transactions that end in
// another order than they began in, for about as long as given. Some roll back, and
// write what they had again.
func produce(t *testing.T, db *sandboxtest.DB, n int, during time.Duration) {
	t.Helper()
	const producers = 4
	var all sync.WaitGroup
	for p := range producers {
		all.Go(func() {
			conn := db.Conn(t)
			pause := (during / time.Duration(n/producers)).Seconds()
			for i := p + 1; i <= n; i += producers {
				insert := fmt.Sprintf("begin; select pgq.insert_event('q', 't', '%d'); ", i)
				text := insert + fmt.Sprintf("select pg_sleep(random() * 2 * %f); commit", pause)
				if i%5 == 0 {
					text = insert + "rollback; " + text
				}
				if err := conn.Script(t.Context(), text); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// waitUntil asks until the query says true.
func waitUntil(t *testing.T, db *sandboxtest.DB, what, query string) {
	t.Helper()
	conn := db.Conn(t)
	for deadline := time.Now().Add(2 * time.Minute); !one[bool](t, conn, query); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come true: " + what)
		}
	}
}

// deliveries are what a consumer, or the members of one, got: data and retry, sorted.
func deliveries(t *testing.T, db *sandboxtest.DB, who string) []string {
	t.Helper()
	got, err := pg.Rows[string](t.Context(), db.Conn(t), "select data || ' ' || retry from delivered where who like $1", who)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	return got
}

// expected are events 1 to n once, and every seventh a second time if it is retried.
func expected(n int, retried bool) (all []string) {
	for i := 1; i <= n; i++ {
		all = append(all, fmt.Sprint(i, " 0"))
		if retried && i%7 == 0 {
			all = append(all, fmt.Sprint(i, " 1"))
		}
	}
	slices.Sort(all)
	return all
}

// pgqd ticks, rotates and retries our queues, and consumers of all kinds in Python get
// each event once, and those that they wanted again once more.
func TestOriginalClients(t *testing.T) {
	needPython(t)
	db := withClients(t)
	db.Script(t, "select pgq.set_queue_config('q', 'rotation_period', '1 s')")
	script, err := filepath.Abs("testdata/consumer.py")
	if err != nil {
		t.Fatal(err)
	}
	register := func(name, kind string, lines []string) {
		t.Helper()
		c := start(t, name, "consumer", lines, python, script, kind, "--register")
		if <-c.done; !c.ProcessState.Success() {
			t.Fatalf("register %s: %s", name, c.ProcessState)
		}
	}
	plain := consumer(db, "job_name = plain", "pgq_lazy_fetch = 2")
	eager := consumer(db, "job_name = eager", "pgq_lazy_fetch = 0")
	a := consumer(db, "job_name = team a", "consumer_name = team", "subconsumer_name = a")
	b := consumer(db, "job_name = team b", "consumer_name = team", "subconsumer_name = b")
	local := consumer(db, "job_name = local", "local_tracking_file = "+filepath.Join(t.TempDir(), "local.tick"))
	register("plain", "plain", plain)
	register("eager", "plain", eager)
	register("a", "member", a)
	register("b", "member", b)

	daemon := startPgqd(t, db, "0.05", "0.3", "0.2")
	clients := []*client{
		start(t, "plain", "consumer", plain, python, script, "plain"),
		start(t, "eager", "consumer", eager, python, script, "plain"),
		start(t, "a", "consumer", a, python, script, "member"),
		start(t, "b", "consumer", b, python, script, "member"),
		start(t, "local", "consumer", local, python, script, "local"),
	}
	waitUntil(t, db, "the consumer with a file registers itself", "select count(*) = 1 from pgq.get_consumer_info('q', 'local')")
	switched := one[time.Time](t, db.Conn(t), "select queue_switch_time from pgq.queue")
	const events = 400
	produce(t, db, events, 5*time.Second)
	again := events / 7
	waitUntil(t, db, "all is delivered", fmt.Sprintf("select count(*) >= %d from delivered", 3*(events+again)+events))
	waitUntil(t, db, "nothing waits", "select count(*) = 0 from pgq.retry_queue")
	waitUntil(t, db, "the queue rotates", "select queue_switch_time > '"+switched.Format(time.RFC3339Nano)+"'::timestamptz + interval '3 s' from pgq.queue")
	for _, c := range append(clients, daemon) {
		c.stop(t)
	}
	for who, want := range map[string][]string{
		"plain": expected(events, true), "eager": expected(events, true), "team%": expected(events, true), "local": expected(events, false),
	} {
		if diff := cmp.Diff(want, deliveries(t, db, who)); diff != "" {
			t.Errorf("%s (-expected +delivered):\n%s", who, diff)
		}
	}
	if n := one[int64](t, db.Conn(t), "select count(distinct who) from delivered where who like 'team%'"); n != 2 {
		t.Errorf("%d members of team got something; want 2", n)
	}
}

// Our ticker and pgqd on one queue at once: every tick sees all that the one before it
// saw, so that no batches overlap, and a consumer gets each event once. Both tick when
// there is something new, and seldom for nothing: no consumer would keep up.
func TestTwoTickers(t *testing.T) {
	needPython(t)
	db := withClients(t)
	db.Script(t, "select pgq.set_queue_config('q', 'ticker_max_lag', '0'), pgq.set_queue_config('q', 'ticker_idle_period', '1 s'), pgq.register_consumer('q', 'plain')")
	script, err := filepath.Abs("testdata/consumer.py")
	if err != nil {
		t.Fatal(err)
	}
	daemon := startPgqd(t, db, "0.004", "60", "0.2")
	reader := start(t, "plain", "consumer", consumer(db, "job_name = plain"), python, script, "plain")
	waitUntil(t, db, "pgqd ticks", "select count(*) > 3 from pgq.tick")

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	stats := &tick.Stats{}
	ticker := tick.New(tick.Config{DSN: func(context.Context) (string, error) { return db.DSN, nil }, Every: 4 * time.Millisecond, Stats: stats})
	ended := make(chan error, 1)
	before := one[int64](t, db.Conn(t), "select count(*) from pgq.tick")
	go func() { ended <- ticker.Run(ctx) }()
	const events = 400
	produce(t, db, events, 4*time.Second)
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	ticks := one[int64](t, db.Conn(t), "select count(*) from pgq.tick") - before
	waitUntil(t, db, "all is delivered", fmt.Sprintf("select count(*) >= %d from delivered", events+events/7))
	reader.stop(t)
	daemon.stop(t)

	if ours := stats.Ticks.Load(); ours < 20 || ticks-ours < 20 {
		t.Errorf("of %d ticks %d are ours: too little happened", ticks, ours)
	}
	const overlaps = `
select count(*)
  from (select tick_snapshot as cur, lag(tick_snapshot) over (order by tick_id) as last from pgq.tick) t
 where txid_snapshot_xmax(cur) < txid_snapshot_xmax(last)
    or exists (select 1 from txid_snapshot_xip(cur) x where txid_visible_in_snapshot(x, last))`
	if n := one[int64](t, db.Conn(t), overlaps); n != 0 {
		t.Errorf("%d ticks do not see what the tick before them saw", n)
	}
	if diff := cmp.Diff(expected(events, true), deliveries(t, db, "plain")); diff != "" {
		t.Errorf("(-expected +delivered):\n%s", diff)
	}
}
