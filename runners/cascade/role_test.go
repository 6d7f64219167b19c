package cascade_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/cascade"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgqnode"
	"github.com/skytools-go/skytools/sql/sandbox"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// TestWithoutReplicaRole replays as a role that may not set
// session_replication_role, on a branch whose queue is closed and on a leaf whose
// tables refuse changes: parents and children keep their order.
func TestWithoutReplicaRole(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Private(t, sandbox.Options{})
	root := newRoot(t, s, "root")
	branch := root.add(s, root, "branch", pgqnode.Branch)
	leaf := branch.add(s, root, "leaf", pgqnode.Leaf)
	const tables = items + `; create table public.parts (id int primary key, item int not null references items)`
	for _, n := range []*node{root, branch, leaf} {
		n.run(`do $$ begin create role worker login; exception when duplicate_object then null; end $$; grant pgq_admin, londiste_writer to worker;`)
		n.run(tables + `; grant all on items, parts to worker; alter table items owner to worker; alter table parts owner to worker; grant create on schema public to worker`)
		// What the original installation needs a superuser for is out of reach here.
		n.run(`revoke execute on function londiste.set_session_replication_role from public, londiste_writer, pgq_admin, worker`)
	}
	root.addTable("public.items", londiste.AddTable{})
	root.addTable("public.parts", londiste.AddTable{})
	as := func(n *node) *cascade.Worker {
		c := n.config()
		c.DSN = func(context.Context) (string, error) {
			return strings.Replace(n.db.DSN, "user=postgres", "user=worker", 1), nil
		}
		w := cascade.New(c)
		t.Cleanup(w.Close)
		return w
	}
	wb, wl := as(branch), as(leaf)
	step := func() { t.Helper(); root.tick(); drain(t, wb); drain(t, wl) }
	step()
	for _, n := range []*node{branch, leaf} {
		for _, name := range []string{"public.items", "public.parts"} {
			n.addTable(name, londiste.AddTable{Args: []string{"expect_sync"}})
		}
	}
	root.run(`insert into items values (1, 'a', 1, 1), (2, 'b', 2, 2); insert into parts values (1, 1), (2, 2); delete from parts where id = 2;
		delete from items where id = 2; insert into items values (2, 'c', 1, 1); insert into parts values (2, 2), (3, 1); update parts set item = 2 where id = 3`)
	step()
	for _, n := range []*node{branch, leaf} {
		sameTables(t, root, n, "public.items", "public.parts")
	}
	sameQueues(t, root, branch)
}

// TestTruncateNeverCascades: a table that is not replicated refers to one that is.
func TestTruncateNeverCascades(t *testing.T) {
	t.Parallel()
	root, branch, _ := chain(t)
	branch.run(`create table mine (item int references items); insert into mine values (1)`)
	root.run(`truncate items`)
	root.tick()
	w := cascade.New(branch.config())
	defer w.Close()
	_, err := w.RunOnce(t.Context())
	if err == nil || !strings.Contains(err.Error(), "foreign key of a table that is not replicated") {
		t.Errorf("got %v", err)
	}
	if got := branch.rows("mine"); got != "(1)" {
		t.Errorf("the other table holds %q", got)
	}
	branch.run(`drop table mine`)
	drain(t, w)
	sameTables(t, root, branch, "public.items")
	if got := branch.text("select coalesce(cur_error, '') from pgq_node.local_state"); got != "" {
		t.Errorf("an error is left: %s", got)
	}
}

// TestDivergence: what does not fit is an error that names it, and nothing of the
// batch is kept.
func TestDivergence(t *testing.T) {
	t.Parallel()
	root, branch, _ := chain(t)
	w := cascade.New(branch.config())
	defer w.Close()
	for _, c := range []struct{ here, there, want string }{
		{`delete from items where id = 3`, `update items set n = 7 where id = 3`, "update public.items: key (id=3): there is no such row here"},
		{`delete from items where id = 4`, `delete from items where id = 4`, "delete from public.items: key (id=4): there is no such row here"},
		{`insert into items values (70, 'mine', 1, 1)`, `insert into items values (70, 'x', 1, 1)`, "insert into public.items: key (id=70)"},
	} {
		branch.run(`create table kept as select * from items`)
		branch.run(`set session_replication_role = local; ` + c.here + `; reset session_replication_role`)
		root.run(`insert into seen select coalesce(max(round), 0) + 1 from seen; insert into items select max(id) + 100, 'ok', 1, 1 from items; ` + c.there)
		root.tick()
		_, err := w.RunOnce(t.Context())
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "event ") || !strings.Contains(err.Error(), "row {") {
			t.Errorf("got %v\nwant %s", err, c.want)
		}
		if got := branch.text("select cur_error from pgq_node.local_state"); !strings.Contains(got, c.want) {
			t.Errorf("cur_error is %q", got)
		}
		branch.run(`set session_replication_role = local; truncate items; insert into items select * from kept; drop table kept; reset session_replication_role`)
		drain(t, w)
		sameTables(t, root, branch, "public.items", "public.seen")
	}
}

func TestUnknownHandlerIsRefused(t *testing.T) {
	t.Parallel()
	root, branch, _ := chain(t)
	root.run(`update items set n = 1`)
	root.tick()
	w := cascade.New(branch.config())
	defer w.Close()
	for handler, want := range map[string]string{
		"homemade(method=hourly)": `table public.items: handler "homemade" is not known`,
		"dispatch(method=hourly)": `table public.items: handler dispatch: method "hourly" is none of 0, 1, 2, 3`,
	} {
		attrs := londiste.Dict{}
		attrs.Set("handler", handler)
		branch.must(londiste.SetTableAttrs(queue, "public.items", attrs))
		if _, err := w.RunOnce(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", handler, err)
		}
	}
}

// TestScripts: DDL travels once, with the changes before and after it in order.
func TestScripts(t *testing.T) {
	t.Parallel()
	root, branch, leaf := chain(t)
	execute := func(name, text string, attrs any) {
		t.Helper()
		err := root.with(func(c *pg.Conn) error {
			return c.Write(t.Context(), func(tx *pg.Tx) error {
				for _, stmt := range []string{
					"set local session_replication_role = local",
					"select * from londiste.execute_start($1, $2, $3, true, $4)", text, "select * from londiste.execute_finish($1, $2)",
				} {
					var args []any
					if strings.Contains(stmt, "execute_start") {
						args = []any{queue, name, text, attrs}
					} else if strings.Contains(stmt, "execute_finish") {
						args = []any{queue, name}
					} else if strings.Contains(stmt, "@") {
						stmt = strings.ReplaceAll(stmt, "@public.items@", "items")
					}
					if _, err := tx.Exec(t.Context(), stmt, args...); err != nil {
						return err
					}
				}
				return nil
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	root.run(`update items set n = 5`)
	execute("add.sql", "alter table items add column extra text default 'none'", nil)
	root.run(`select pgq.create_capture('shop', 'public.items', '_londiste_shop', '{}')`)
	root.run(`update items set extra = 'some' where id > 5; insert into items values (50, 'new', 1, 1, 'x')`)
	execute("needs.sql", "update @public.items@ set name = 'by script'", "local-table=public.items")
	execute("elsewhere.sql", "create table nowhere (id int)", "need-table=public.does_not_exist")
	root.tick()
	for _, n := range []*node{branch, leaf} {
		w := cascade.New(n.config())
		drain(t, w)
		w.Close()
		sameTables(t, root, n, "public.items")
		if got := n.text("select string_agg(execute_file, ' ' order by execute_file) from londiste.applied_execute"); got != "add.sql elsewhere.sql needs.sql" {
			t.Errorf("%s: applied scripts: %s", n.name, got)
		}
		if got := n.text("select (to_regclass('nowhere') is null)::text"); got != "true" {
			t.Errorf("%s ran a script that was not for it", n.name)
		}
	}
	sameQueues(t, root, branch)
}

// TestSequencesAndWatermarks are what the root tells the nodes below it.
func TestSequencesAndWatermarks(t *testing.T) {
	t.Parallel()
	root, branch, leaf := chain(t)
	for _, n := range []*node{root, branch, leaf} {
		n.run("create sequence public.numbers")
	}
	root.run("select * from londiste.local_add_seq('shop', 'public.numbers')")
	wr, wb, wl := cascade.New(root.config()), cascade.New(branch.config()), cascade.New(leaf.config())
	defer wr.Close()
	defer wb.Close()
	defer wl.Close()
	step := func() { root.tick(); drain(t, wb); drain(t, wl) }
	step()
	for _, n := range []*node{branch, leaf} {
		n.run("select * from londiste.local_add_seq('shop', 'public.numbers')")
	}
	root.run("select setval('numbers', 100000)")
	for range 6 { // watermarks need a round for each level, up and down
		drain(t, wr)
		step()
		time.Sleep(60 * time.Millisecond) // the period of reports
	}
	for _, n := range []*node{branch, leaf} {
		if got := n.text("select last_value::text from numbers"); got != "130000" {
			t.Errorf("%s: the sequence is at %s", n.name, got)
		}
	}
	if got := branch.text("select (min(last_tick) filter (where consumer_name = '.global_watermark') > 5)::text from pgq.get_consumer_info()"); got != "true" {
		t.Error("the global watermark has not moved on the branch")
	}
}

// TestTwoWorkers run one node beside each other: what one does the other notices.
func TestTwoWorkers(t *testing.T) {
	t.Parallel()
	root, branch, _ := chain(t)
	stopTicks := root.ticking(5 * time.Millisecond)
	branch.start()
	branch.start()
	stop := root.load()
	branch.caughtUp(root, 5*time.Second)
	stop()
	stopTicks()
	branch.caughtUp(root, 10*time.Second)
	sameTables(t, root, branch, "public.items", "public.seen")
	sameQueues(t, root, branch)
}
