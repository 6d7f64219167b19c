package cascade_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/cascade"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pgqnode"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// TestReadsAhead has nodes that are behind by some ticks, which read the next batch while
// they apply one: nobody sees that on the provider, and only who is behind does it.
func TestReadsAhead(t *testing.T) {
	t.Parallel()
	for _, typ := range []string{pgqnode.Leaf, pgqnode.Branch} {
		t.Run(typ, func(t *testing.T) {
			t.Parallel()
			r := newBehind(t, typ)
			for tick := range 5 {
				r.root.run(fmt.Sprintf("insert into items select %d * 1000 + i, 'x', i, i from generate_series(1, 1000) i; update items set n = n + 1 where id %% 7 = 0", tick))
				r.root.tick()
			}
			r.round()
			r.sessions("1")
			for range 3 {
				r.round()
				r.sessions("2")
				if open := r.root.text("select count(*)::text from pgq.subscription where sub_batch is not null"); open != "0" {
					t.Errorf("%s batches are open on the provider", open)
				}
			}
			drain(t, r.worker)
			r.sessions("1")
			sameTables(t, r.root, r.below, "public.items")
			const events = "select string_agg(concat_ws('|', ev_id, ev_type, ev_data), E'\n' order by ev_id) from pgq.event_template"
			if want := r.root.text(events); typ == pgqnode.Branch && r.below.text(events) != want {
				t.Errorf("events differ: on the root %s", short(want))
			}
		})
	}
}

// TestReadsAheadInVain has another batch opened than the one that was read, and the
// session cut that reads.
func TestReadsAheadInVain(t *testing.T) {
	t.Parallel()
	r := newBehind(t, pgqnode.Leaf)
	for tick := range 3 {
		r.root.run(fmt.Sprintf("insert into items values (%d, 'x', 1, 1)", tick))
		r.root.tick()
	}
	r.round()
	r.round() // reads the third tick alone
	r.root.run("insert into items select i, 'y', i, i from generate_series(10, 25000) i; update items set n = -1 where id < 10")
	r.root.tick()
	r.round() // takes both
	if got := r.below.text("select count(*)::text from items"); got != "24994" {
		t.Errorf("%s rows: the batch was not one of two ticks", got)
	}
	for tick := range 4 {
		r.root.run(fmt.Sprintf("update items set name = repeat('z', 3000), n = %d where id %% 3 = 0", tick))
		r.root.tick()
	}
	r.round()
	r.root.run("select pg_terminate_backend(pid) from pg_stat_activity where " + ofWorker + " order by backend_start desc limit 1")
	for range 20 { // a round may have failed with it
		if worked, err := r.worker.RunOnce(t.Context()); err == nil && !worked {
			break
		}
	}
	sameTables(t, r.root, r.below, "public.items")
}

// TestManyTicks has a leaf behind by many ticks with little or nothing in them, which it
// takes together: one at a time it would fall behind where they come faster than that.
func TestManyTicks(t *testing.T) {
	t.Parallel()
	r := newBehind(t, pgqnode.Leaf)
	for _, changes := range []string{"insert into items values (%[1]d, 'x', 1, 1)", "set work_mem = %[1]d", "insert into items select %[1]d * 100 + i, 'y', 1, 1 from generate_series(1, 100) i"} {
		for tick := range 100 {
			r.root.run(fmt.Sprintf(changes, 1000+tick))
			r.root.tick()
		}
		rounds := 0
		for worked := true; worked; rounds++ {
			var err error
			if worked, err = r.worker.RunOnce(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if rounds > 5 { // one tick, the others, and a look for more
			t.Errorf("%d rounds for 100 ticks of %s", rounds, changes)
		}
		sameTables(t, r.root, r.below, "public.items")
	}
}

// behind is a node with a table that is replicated, and a worker that has caught up.
type behind struct {
	t           *testing.T
	root, below *node
	worker      *cascade.Worker
}

func newBehind(t *testing.T, typ string) *behind {
	s := sandboxtest.Server(t)
	root := newRoot(t, s, "root")
	below := root.add(s, root, typ, typ)
	for _, n := range []*node{root, below} {
		n.run(items)
	}
	w := cascade.New(below.config())
	t.Cleanup(w.Close)
	root.addTable("public.items", londiste.AddTable{})
	root.tick()
	drain(t, w)
	below.addTable("public.items", londiste.AddTable{Args: []string{"expect_sync"}})
	drain(t, w)
	return &behind{t, root, below, w}
}

func (r *behind) round() {
	r.t.Helper()
	if worked, err := r.worker.RunOnce(r.t.Context()); err != nil || !worked {
		r.t.Fatalf("worked: %t, %v", worked, err)
	}
}

const ofWorker = "datname = current_database() and application_name like 'skytools replay %@%'"

// sessions fails the test unless the provider has so many of the worker's.
func (r *behind) sessions(want string) {
	r.t.Helper()
	r.root.eventually(5*time.Second, want, "select count(*)::text from pg_stat_activity where "+ofWorker)
}
