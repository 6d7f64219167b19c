package cascade_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/skytools-go/skytools/runners/cascade"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgqnode"
	"github.com/skytools-go/skytools/sql/sandbox"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

const (
	combined   = "all"
	mergeItems = `create table public.items (part text, id int, name text, n int, primary key (part, id))`
)

// A merge is some part queues, and targets that they are merged into. The first target
// is root of the combined queue, the others are branches below it; without one, the
// targets are only leafs of the parts.
type merge struct {
	t       testing.TB
	parts   []*node // roots
	targets []*node // nodes of the combined queue
	leafs   [][]*node
}

// newMerge makes parts, named a, b, c..., and targets, named x, y, z.
func newMerge(t testing.TB, parts, targets int) *merge {
	t.Helper()
	s := sandboxtest.Server(t)
	m := &merge{t: t}
	for i := range parts {
		p := newRootIn(t, database(t, s), "part "+string(rune('a'+i)), string(rune('a'+i)))
		p.run(mergeItems)
		m.parts = append(m.parts, p)
	}
	for i := range targets {
		m.addTarget(s, string(rune('x'+i)))
	}
	return m
}

func (m *merge) addTarget(s *sandbox.Server, name string) {
	m.t.Helper()
	var n *node
	if len(m.targets) == 0 {
		n = newRootIn(m.t, database(m.t, s), combined, name)
	} else {
		n = m.targets[0].addIn(database(m.t, s), m.targets[0], name, pgqnode.Branch)
	}
	n.run(mergeItems)
	m.targets = append(m.targets, n)
	var leafs []*node
	for _, p := range m.parts {
		leafs = append(leafs, p.addMerged(n.db, p, name, pgqnode.Leaf, combined))
	}
	m.leafs = append(m.leafs, leafs)
}

// register registers the table everywhere, as apply does.
func (m *merge) register(args ...string) {
	m.t.Helper()
	for _, p := range m.parts {
		p.addTable("public.items", londiste.AddTable{})
	}
	for i := range m.targets {
		m.registerOn(i, args...)
	}
}

func (m *merge) registerOn(target int, args ...string) {
	m.t.Helper()
	for _, leaf := range m.leafs[target] {
		leaf.must(londiste.GlobalAddTable(leaf.queue(), "public.items"))
		leaf.addTable("public.items", londiste.AddTable{Args: append(args, "no_merge")})
	}
}

// fill changes rows of each part in every way.
func (m *merge) fill(round int) {
	m.t.Helper()
	for _, p := range m.parts {
		p.run(fmt.Sprintf(`
			insert into items select '%[1]s', %[2]d * 10 + i, 'round %[2]d', 0 from generate_series(1, 5) i;
			update items set name = 'changed in %[2]d', n = n + 1 where id %% 10 = 2;
			delete from items where id = %[2]d * 10 - 7`, p.name, round))
	}
}

// want is what a merged table holds: all rows of all parts.
func (m *merge) want() string {
	m.t.Helper()
	var all []string
	for _, p := range m.parts {
		if rows := p.rows("items"); rows != "" {
			all = append(all, rows)
		}
	}
	return strings.Join(all, "\n") // parts sort as they are named
}

// check compares targets with all parts.
func (m *merge) check(targets ...*node) {
	m.t.Helper()
	want := m.want()
	for _, n := range targets {
		if got := n.rows("items"); got != want {
			m.t.Errorf("%s holds %d rows, the parts hold %d\n%s\n--\n%s", n.name, strings.Count(got, "\n")+1, strings.Count(want, "\n")+1, short(got), short(want))
		}
	}
}

// workers makes a worker for each node of a target; drained does all of their rounds.
func (m *merge) workers(target int) (all []*cascade.Worker) {
	for _, leaf := range m.leafs[target] {
		all = append(all, cascade.New(leaf.config()))
	}
	all = append(all, cascade.New(m.targets[target].config()))
	m.t.Cleanup(func() {
		for _, w := range all {
			w.Close()
		}
	})
	return all
}

// step ticks everything and drains the workers of each target.
func (m *merge) step(workers ...[]*cascade.Worker) {
	m.t.Helper()
	for _, p := range m.parts {
		p.tick()
	}
	for i := range workers {
		for _, w := range workers[i] {
			drain(m.t, w)
		}
		if i == 0 && len(m.targets) > 0 {
			m.targets[0].tick()
		}
	}
	for i := 1; i < len(workers); i++ { // those that wait know their ticks now
		for _, w := range workers[i] {
			drain(m.t, w)
		}
	}
}

func TestMerge(t *testing.T) {
	t.Parallel()
	m := newMerge(t, 2, 2)
	m.register("expect_sync")
	wx, wy := m.workers(0), m.workers(1)
	for round := range 4 {
		m.fill(round + 1)
		m.step(wx, wy)
		m.check(m.targets...)
	}
	x, y := m.targets[0], m.targets[1]
	if bad := x.text(`select coalesce(string_agg(distinct ev_type, ' ' order by ev_type), '') from pgq.event_template where ev_type like 'londiste.%' and ev_data <> 'public.items'`); bad != "" {
		t.Errorf("the combined queue has %s", bad)
	}
	if n := x.text("select count(*)::text from pgq.event_template where ev_type = 'pgq.tick-id' and ev_extra1 = 'part a'"); n < "4" {
		t.Errorf("%s events tell how far part a is", n)
	}
	for i, leaf := range m.leafs[0] {
		at := "select last_tick_id::text from pgq_node.local_state where queue_name = $1"
		if here, there := x.text(at, leaf.queue()), y.text(at, leaf.queue()); here != there {
			t.Errorf("part %d is at tick %s on x and %s on y", i, here, there)
		}
	}
	// The rows come with the combined queue alone, and no trigger tells of them again.
	if twice := x.text(`select count(*)::text from (select ev_type, ev_data, ev_extra1 from pgq.event_template where ev_type ~ '^(I|D|.*INSERT|.*DELETE)' group by 1, 2, 3 having count(*) > 1) x`); twice != "0" {
		t.Errorf("%s events are in the combined queue twice", twice)
	}
	m.parts[0].run("truncate items")
	m.parts[1].run("truncate items")
	m.step(wx, wy)
	m.check(m.targets...)
}

// TestFaultsOnMergedLeaf fails every statement of a round of a leaf that feeds a combined
// queue: what is below that queue shows what came twice, or not at all.
func TestFaultsOnMergedLeaf(t *testing.T) {
	t.Parallel()
	m := newMerge(t, 2, 2)
	m.register("expect_sync")
	wx, wy := m.workers(0), m.workers(1)
	round := 0
	faults(t, func(ctx context.Context, label string) {
		round++
		m.fill(round)
		for _, p := range m.parts {
			p.tick()
		}
		w := cascade.New(m.leafs[0][0].config())
		defer w.Close()
		w.RunOnce(ctx)
		w.RunOnce(ctx)
		drain(t, w)
		drain(t, wx[1])
		m.check(m.targets[0])
		if round%10 == 0 { // what is wrong in the queue stays wrong
			m.step(wx, wy)
			m.check(m.targets...)
		}
	})
	m.step(wx, wy)
	m.check(m.targets...)
}

// TestFaultsOnWaitingLeaf fails every statement of a round of a leaf below a combined
// branch, and of that branch.
func TestFaultsOnWaitingLeaf(t *testing.T) {
	t.Parallel()
	m := newMerge(t, 1, 2)
	m.register("expect_sync")
	wx, wy := m.workers(0), m.workers(1)
	m.step(wx, wy)
	for who, n := range map[string]*node{"leaf": m.leafs[1][0], "branch": m.targets[1]} {
		round := 0
		faults(t, func(ctx context.Context, label string) {
			round++
			m.parts[0].run(fmt.Sprintf("insert into items select 'a', coalesce(max(id), 0) + 1, '%s', 1 from items; select pgq.insert_event('part a', 'londiste.add-table', 'public.more_%d')", label, round))
			m.parts[0].tick()
			for _, w := range wx {
				drain(t, w)
			}
			m.targets[0].tick()
			if who == "leaf" {
				drain(t, wy[1])
			}
			w := cascade.New(n.config())
			defer w.Close()
			w.RunOnce(ctx)
			w.RunOnce(ctx)
			drain(t, w)
			m.step(wx, wy)
			m.check(m.targets...)
			if got := m.targets[1].text("select count(*)::text from londiste.table_info where queue_name = 'part a' and table_name = $1", fmt.Sprintf("public.more_%d", round)); got != "1" {
				t.Errorf("the leaf that waits did not hear of table more_%d", round)
			}
		})
	}
}

// TestMergeWithoutReplicaRole: triggers of other parts and of the combined queue are
// quiet for what a part replays, and speak for others.
func TestMergeWithoutReplicaRole(t *testing.T) {
	t.Parallel()
	m := newMerge(t, 2, 1)
	x := m.targets[0]
	x.run(`do $$ begin create role merger login; exception when duplicate_object then null; end $$; grant pgq_admin, londiste_writer to merger;
		grant all on items to merger; alter table items owner to merger; revoke execute on function londiste.set_session_replication_role from public, londiste_writer, pgq_admin, merger`)
	m.register("expect_sync")
	var workers []*cascade.Worker
	for _, leaf := range m.leafs[0] {
		c := leaf.config()
		c.DSN = func(context.Context) (string, error) {
			return strings.Replace(x.db.DSN, "user=postgres", "user=merger", 1), nil
		}
		w := cascade.New(c)
		defer w.Close()
		workers = append(workers, w)
	}
	m.fill(1)
	m.step(workers)
	m.check(x)
	events := "select count(*)::text from pgq.event_template where ev_extra1 = 'public.items'"
	if got := x.text(events); got != "12" {
		t.Errorf("the combined queue has %s events of 12 changes", got)
	}
	if err := x.with(func(c *pg.Conn) error { return c.Script(t.Context(), "insert into items values ('x', 1, '', 1)") }); err == nil || !strings.Contains(err.Error(), "not allowed") {
		t.Errorf("writing to a leaf's table: %v", err)
	}
}
