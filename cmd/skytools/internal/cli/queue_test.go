package cli

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/cmd/skytools/internal/term"
	"github.com/skytools-go/skytools/runners/tick"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgq"
	"github.com/skytools-go/skytools/sql/sandbox"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// eager makes a queue tick whenever it is asked to, and rotate as often.
const eager = `select pgq.create_queue('q');
update pgq.queue set queue_ticker_max_lag = '0', queue_ticker_idle_period = '0', queue_rotation_period = '0'`

// newQueue is a queue called q in a database of its own.
func newQueue(t *testing.T) *sandboxtest.DB {
	t.Helper()
	db := sandboxtest.Database(t)
	db.Install(t, pgq.Schema)
	db.Script(t, eager)
	return db
}

// quiet is an app that says nothing.
func quiet() *app {
	none := func(string) (string, bool) { return "", false }
	return &app{Stdio: term.Stdio{Out: &bytes.Buffer{}, Err: &bytes.Buffer{}, Env: none}, format: "text", timeout: time.Minute, quiet: true}
}

func openAt(t *testing.T, db *sandboxtest.DB) *openQueue {
	t.Helper()
	q, err := (&reach{app: quiet(), dsn: db.DSN}).open(t.Context(), "q")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.conn.Close() })
	return q
}

// A writer has at most one transaction open, with what it wrote in there.
type writer struct {
	conn    *pg.Conn
	open    bool
	pending []string
}

// Transactions end in another order than they began in, across ticks and rotations,
// pages are small and connections are cut. What a tailer shows must be what was
// committed, each event once. In every other run nobody keeps the queue from rotating:
// what is not shown then was said to be missed.
func TestTailAgainstModel(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			guarded := seed%2 == 0
			random := rand.New(rand.NewPCG(seed, 7))
			db := newQueue(t)
			admin := db.Conn(t)
			do := func(conn *pg.Conn, text string, args ...any) {
				t.Helper()
				if _, err := conn.Exec(t.Context(), text, args...); err != nil {
					t.Fatalf("%s: %v", text, err)
				}
			}
			if guarded {
				do(admin, "select pgq.register_consumer('q', 'guard')")
			}
			writers := make([]*writer, 5)
			for i := range writers {
				writers[i] = &writer{conn: db.Conn(t)}
			}
			var committed, shown []string
			said, cuts, rotations, serial := 0, 0, 0, 0
			tail := newTailer(openAt(t, db), tailFlags{})
			tail.page = 3
			tail.print = func(e pgq.Event) error { shown = append(shown, *e.Data); return nil }
			tail.say = func(format string, args ...any) {
				if strings.HasPrefix(format, "missed") {
					said++
				}
			}
			if _, err := tail.last(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			step := func() bool {
				ctx := t.Context()
				if random.IntN(4) == 0 {
					ctx = pg.WithFault(ctx, &pg.Fault{Nth: 1 + random.IntN(8), After: random.IntN(2) == 0})
				}
				more, err := tail.step(ctx)
				if pg.Lost(err) {
					cuts++
					if err := tail.dial(t.Context()); err != nil {
						t.Fatal(err)
					}
					return true
				}
				if err != nil {
					t.Fatal(err)
				}
				return more
			}
			end := func(w *writer, keep bool) {
				if keep {
					do(w.conn, "commit")
					committed = append(committed, w.pending...)
				} else {
					do(w.conn, "rollback")
				}
				w.open, w.pending = false, nil
			}
			for range 600 {
				w := writers[random.IntN(len(writers))]
				switch n := random.IntN(24); {
				case n < 5 && !w.open:
					w.open = true
					do(w.conn, "begin")
				case n < 11 && w.open:
					serial++
					do(w.conn, "select pgq.insert_event('q', 't', $1)", fmt.Sprint("e", serial))
					w.pending = append(w.pending, fmt.Sprint("e", serial))
				case n < 14 && w.open:
					end(w, random.IntN(4) > 0)
				case n < 17:
					do(admin, "select pgq.ticker('q')")
				case n < 21:
					step()
				case n < 23:
					if guarded {
						do(admin, "select pgq.register_consumer_at('q', 'guard', $1)", tail.at)
					}
					before := table(t, admin)
					do(admin, "select pgq.maint_rotate_tables_step1('q')")
					if table(t, admin) != before {
						rotations++
					}
				default:
					do(admin, "select pgq.maint_rotate_tables_step2()")
				}
			}
			for _, w := range writers {
				if w.open {
					end(w, true)
				}
			}
			do(admin, "select pgq.ticker('q')")
			for step() {
			}
			slices.Sort(committed)
			slices.Sort(shown)
			if twice := len(shown) - len(slices.Compact(slices.Clone(shown))); twice > 0 {
				t.Errorf("%d events were shown twice", twice)
			}
			diff := cmp.Diff(committed, shown)
			if diff != "" && (guarded || said == 0) {
				t.Errorf("guarded %t, missed was said %d times (-committed +shown):\n%s", guarded, said, diff)
			}
			for _, e := range shown {
				if _, there := slices.BinarySearch(committed, e); !there {
					t.Errorf("%s was shown and never committed", e)
				}
			}
			if len(committed) < 20 || cuts < 3 || rotations < 3 {
				t.Errorf("too little happened: %d events, %d cuts, %d rotations", len(committed), cuts, rotations)
			}
		})
	}
}

// table is the one that takes events.
func table(t *testing.T, conn *pg.Conn) int32 {
	t.Helper()
	n, err := pg.One[int32](t.Context(), conn, "select queue_cur_table from pgq.queue")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A tail that follows shows what several producers write while the queue is ticked, and
// goes on after its session was ended.
func TestTailFollows(t *testing.T) {
	db := newQueue(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var mu sync.Mutex
	shown := map[string]int{}
	tail := newTailer(openAt(t, db), tailFlags{})
	tail.print = func(e pgq.Event) error { mu.Lock(); defer mu.Unlock(); shown[*e.Data]++; return nil }
	tail.say = t.Logf
	if err := tail.dial(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := tail.last(ctx, 0); err != nil {
		t.Fatal(err)
	}
	followed, ticked := make(chan error, 1), make(chan error, 1)
	go func() { followed <- tail.goOn(ctx) }()
	k := tick.New(tick.Config{DSN: func(context.Context) (string, error) { return db.DSN, nil }, Every: 5 * time.Millisecond})
	go func() { ticked <- k.Run(ctx) }()

	const producers, each = 4, 60
	var all sync.WaitGroup
	for p := range producers {
		all.Go(func() {
			conn := db.Conn(t)
			for i := range each {
				if _, err := conn.Exec(ctx, "select pgq.insert_event('q', 't', $1), pg_sleep(random() * 0.01)", fmt.Sprint(p, " ", i)); err != nil {
					t.Error(err)
				}
				if p == 0 && i == each/2 {
					db.Script(t, "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'skytools queue tail'")
				}
			}
		})
	}
	all.Wait()
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(shown) }
	for deadline := time.Now().Add(2 * time.Minute); count() < producers*each && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	stop()
	if err := <-followed; err != context.Canceled {
		t.Errorf("it ended with %v", err)
	}
	if err := <-ticked; err != nil {
		t.Error(err)
	}
	if len(shown) != producers*each {
		t.Errorf("%d of %d events were shown", len(shown), producers*each)
	}
	for data, n := range shown {
		if n != 1 {
			t.Errorf("%s was shown %d times", data, n)
		}
	}
	if n := sandboxtest.One[int64](t, db, "select count(*) from pgq.subscription"); n != 0 {
		t.Errorf("it has registered %d consumers", n)
	}
}

// awkward are values that formats like to lose.
var awkward = []string{"", " ", "x", `\N`, `\\N`, `\`, `"`, `""`, ",", "a,b", "a\"b\"c", "\n", "\r\n", "\r", "\t", "a\tb", "line\nline", "\x1b[31m", "é", "日本", "\U0001f980", "\u2028", "<&>", "null", "{}", "\ufeffx", "'", "$1", ":events", "\\."}

// What is exported, as JSON and as CSV, is read again as it was; so is what PostgreSQL
// itself writes as CSV and as text.
func TestExportRoundTrip(t *testing.T) {
	db := newQueue(t)
	random := rand.New(rand.NewPCG(3, 3))
	value := func() *string {
		switch n := random.IntN(10); {
		case n == 0:
			return nil
		case n < 6:
			return &awkward[random.IntN(len(awkward))]
		}
		both := awkward[random.IntN(len(awkward))] + awkward[random.IntN(len(awkward))]
		return &both
	}
	var events []pgq.NewEvent
	for range 500 {
		events = append(events, pgq.NewEvent{Type: value(), Data: value(), Extra1: value(), Extra2: value(), Extra3: value(), Extra4: value()})
	}
	q := openAt(t, db)
	insert := pgq.InsertEvents("q", events)
	if _, err := q.conn.Exec(t.Context(), insert.Text, insert.Args...); err != nil {
		t.Fatal(err)
	}
	read := func(name string, from []byte, form string) {
		t.Helper()
		in, err := newEventReader(bytes.NewReader(from), form)
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := in.chunk(len(events) + 1)
		if diff := cmp.Diff(events, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-inserted +read):\n%s", name, err, diff)
		}
	}
	for _, format := range []string{"json", "csv"} {
		a := quiet()
		a.format = format
		var out bytes.Buffer
		if n, err := (&exporter{app: a, queue: q}).write(t.Context(), &out); err != nil || int(n) != len(events) {
			t.Fatalf("%s: %d events, %v", format, n, err)
		}
		read(format, out.Bytes(), "auto")
	}
	const events6 = "select ev_type as type, ev_data as data, ev_extra1 as extra1, ev_extra2 as extra2, ev_extra3 as extra3, ev_extra4 as extra4 from pgq.event_template order by ev_id"
	for form, options := range map[string]string{"csv": "format csv, header", "tsv": "format text"} {
		var out bytes.Buffer
		err := q.conn.Read(t.Context(), func(tx *pg.Tx) error {
			_, err := tx.CopyOut(t.Context(), &out, "copy ("+events6+") to stdout ("+options+")")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		read("COPY "+form, out.Bytes(), form)
	}
}

// Whatever the input, the reader ends with events or an error.
func FuzzEventReader(f *testing.F) {
	for _, text := range []string{"{\"type\":\"t\"}\n", "type,data\na,\"b\"\"\n\"\n", "a\tb\\n\t\\N\n", "\xef\xbb\xbftype\n\r", "{", "type\n\"", "\\"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		in, err := newEventReader(bytes.NewReader(text), "auto")
		if err != nil {
			return
		}
		events, lines, err := in.chunk(len(text) + 1)
		if err == nil && (len(events) != len(lines) || len(events) > bytes.Count(text, []byte("\n"))+1) {
			t.Errorf("%d events on %d lines", len(events), len(lines))
		}
	})
}

// command runs a command line in this process.
func command(args ...string) (code int, out, talk string) {
	var stdout, stderr bytes.Buffer
	code = Main(args, term.Stdio{In: strings.NewReader(""), Out: &stdout, Err: &stderr, Env: func(string) (string, bool) { return "", false }})
	return code, stdout.String(), stderr.String()
}

// All of it works on the original extension, for roles with no more rights than needed.
func TestQueueOnOriginal(t *testing.T) {
	var original sandbox.Install
	for _, i := range sandbox.Installs() {
		if _, err := os.Stat(filepath.Join("/usr/share/postgresql", fmt.Sprint(i.Major()), "extension/pgq.control")); err == nil {
			original = i
		}
	}
	if original.Bin == "" {
		t.Fatal("no server here has the extension pgq (Debian: postgresql-15-pgq3)")
	}
	db := sandboxtest.DatabaseOn(t, sandboxtest.Private(t, sandbox.Options{Install: original}), "template1")
	db.Script(t, "create extension pgq; "+eager+`; select pgq.register_consumer('q', 'c');
create role reader login in role pgq_reader; create role writer login in role pgq_writer; create role keeper login in role pgq_admin;
create table orders (id int primary key); create trigger cap after insert on orders for each row execute function pgq.jsontriga('q')`)
	as := func(role string) string { return strings.Replace(db.DSN, "user=postgres", "user="+role, 1) }
	for _, c := range []struct{ role, args, want string }{
		{"writer", "insert q kind data", "1\n"},
		{"", "select pgq.ticker('q')", ""},
		{"", "insert into orders values (1)", ""},
		{"", "select pgq.ticker('q')", ""},
		{"reader", "list", "q@"},
		{"reader", "show q", "public.orders  trigger cap  jsontriga"},
		{"reader", "tail q -n 1", "INSERT public.orders"},
		{"reader", "export q --to 2", `"data":"data"`},
		{"", "select pgq.next_batch('q', 'c')", ""},
		{"reader", "retry q c --batch --delay 30s", "1 event put aside"},
		{"keeper", "retry q c --list", "kind"},
		{"keeper", "retry q c --now", "1 event due now"},
		{"keeper", "retry q c --drop 1 --yes", "1 event discarded"},
		{"reader", "skip q c --to now --yes", "Consumer c is at tick 3."},
		{"reader", "skip q c --to 1 --yes", "reads again 2 events"},
	} {
		if c.role == "" {
			db.Script(t, c.args)
			continue
		}
		code, out, talk := command(append([]string{"queue", "--dsn", as(c.role)}, strings.Fields(c.args)...)...)
		if code != 0 || !strings.Contains(out, c.want) {
			t.Errorf("%s as %s: exit %d, want %q:\n%s%s", c.args, c.role, code, c.want, out, talk)
		}
	}
}

// Names and data that look like SQL, or like commands to a terminal, are neither.
func TestHostileQueue(t *testing.T) {
	db := sandboxtest.Database(t)
	db.Install(t, pgq.Schema)
	const queue, reader, data = "a'b\"c\\d@e;-- $1 :events\x1b[31m 日本", "c'o\"n\x1b[2J", "'); drop schema pgq; --\x1b[2J"
	conn := db.Conn(t)
	for _, text := range []string{"select pgq.create_queue($1)", "select pgq.register_consumer($1, $2)"} {
		args := []any{queue, reader}[:strings.Count(text, "$")]
		if _, err := conn.Exec(t.Context(), text, args...); err != nil {
			t.Fatal(err)
		}
	}
	db.Script(t, "update pgq.queue set queue_ticker_max_lag = '0', queue_ticker_idle_period = '0'")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"insert", queue, data, data, "--extra1", data}, "1\n"},
		{nil, "select pgq.ticker(queue_name) from pgq.queue"},
		{[]string{"list"}, `c'o"n\x1b[2J`},
		{[]string{"show", queue}, `a'b"c\d@e;-- $1 :events\x1b[31m 日本@`},
		{[]string{"tail", queue, "--type", data, "--table", "x." + data, "--table", data, "-n", "0"}, ""},
		{[]string{"tail", queue, "--type", data}, `'); drop schema pgq; --\x1b[2J`},
		{[]string{"export", queue}, `"data":"'); drop schema pgq; --\u001b[2J"`},
		{nil, "select pgq.next_batch(queue_name, co_name) from pgq.queue, pgq.consumer"},
		{[]string{"retry", queue, reader, "--batch"}, "1 event put aside"},
		{[]string{"retry", queue, reader, "--list"}, `'); drop schema pgq; --\x1b[2J`},
		{[]string{"retry", queue, reader, "--drop", "1", "--yes"}, "1 event discarded"},
		{[]string{"skip", queue, reader, "--to", "now", "--yes"}, "is at tick 2."},
	} {
		if c.args == nil {
			db.Script(t, c.want)
			continue
		}
		code, out, talk := command(append([]string{"queue", "--dsn", db.DSN}, c.args...)...)
		if code != 0 || !strings.Contains(out, c.want) || strings.Contains(out+talk, "\x1b") {
			t.Errorf("%q: exit %d, want %q:\n%q\n%s", c.args, code, c.want, out, talk)
		}
	}
}

// A consumer that has moved since a person looked at it is left alone.
func TestSkipLooksAgain(t *testing.T) {
	db := newQueue(t)
	db.Script(t, "select pgq.register_consumer('q', 'c')")
	for range 3 {
		db.Script(t, "select pgq.ticker('q')")
	}
	q, other := openAt(t, db), db.Conn(t)
	seen, err := quiet().planMove(t.Context(), q, "c", goal{text: "now"})
	if err != nil {
		t.Fatal(err)
	}
	stale := func(when string, err error) {
		t.Helper()
		if code := exitCode(moved(err, "it")); code != exitStale {
			t.Errorf("moved %s: exit %d, %v; want %d", when, code, err, exitStale)
		}
	}
	db.Script(t, "select pgq.register_consumer_at('q', 'c', 2)")
	stale("before", seen.carryOut(t.Context(), q))
	db.Script(t, "select pgq.register_consumer_at('q', 'c', 1)")

	if err := other.Script(t.Context(), "begin; select pgq.next_batch('q', 'c')"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- seen.carryOut(t.Context(), q) }()
	const blocked = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
	for deadline := time.Now().Add(2 * time.Minute); sandboxtest.One[int64](t, db, blocked) == 0; {
		if time.Now().After(deadline) {
			t.Fatal("nobody waits for the lock")
		}
	}
	if err := other.Script(t.Context(), "commit"); err != nil {
		t.Fatal(err)
	}
	stale("meanwhile", <-done)
	if at := sandboxtest.One[int64](t, db, "select sub_last_tick from pgq.subscription where sub_batch is not null"); at != 1 {
		t.Errorf("it is at tick %d; want 1", at)
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		want  string
	}{
		{"short", 0, "short"}, {"short", 5, "short"}, {"longer", 5, "lo..."}, {"日本語日本語", 9, "日本語..."},
		{"日本語日本語", 12, "日本語日本語"}, {"é" + strings.Repeat("x", 10), 6, "éxx..."}, {"", 3, ""},
	} {
		if got := cut(c.text, c.width); got != c.want {
			t.Errorf("cut(%q, %d) = %q, want %q", c.text, c.width, got, c.want)
		}
	}
}
