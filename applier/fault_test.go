package applier_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/applier"
	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// small is enough topology to have every sort of step, and few enough statements
// to fail each of them in turn.
const small = `
queues:
  audit: {on: hub, consumers: {mailer: }, capture: {public.invoices: }}
  shop:
    nodes:
      hub: {type: root}
      edge: {type: leaf, provider: hub}
    tables: {public.orders: {create: full}}
    sequences: [public.orders_id_seq]
`

// installed is a world whose schemas are there, and the plan of the rest of small.
func installed(t *testing.T) (*world, *planner.Plan) {
	w := newWorld(t)
	p := w.plan(small)
	p.Steps = slices.DeleteFunc(p.Steps, func(s *planner.Step) bool { return s.Address.Kind != "schema" && s.Address.Kind != "role" })
	w.apply(p)
	return w, w.plan(small)
}

// TestFaultAtEveryStatement cuts the connection at the nth statement, before it
// runs or after it ran and before we heard, for every nth that is not a multiple of
// others: the next apply of the same plan must end where an undisturbed one does.
func TestFaultAtEveryStatement(t *testing.T) {
	undisturbed, p := installed(t)
	count := &pg.Fault{Nth: -1}
	if _, err := undisturbed.applier().Apply(pg.WithFault(t.Context(), count), p); err != nil {
		t.Fatal(err)
	}
	want := undisturbed.catalogs()
	t.Logf("an undisturbed apply runs %d statements", count.Seen())
	// Every statement in one of a few passes, each pass in one world: after a fault
	// the same plan is applied again, with the next fault further on.
	const stride = 4
	for first := 1; first <= stride; first++ {
		for _, after := range []bool{first%2 == 0} { // what is done already shifts the count, so every statement meets both
			t.Run(fmt.Sprintf("from %d after=%v", first, after), func(t *testing.T) {
				t.Parallel()
				w, plan := installed(t)
				struck := 0
				for nth := first; ; nth += stride {
					f := &pg.Fault{Nth: nth, After: after}
					o, err := w.applier().Apply(pg.WithFault(t.Context(), f), plan)
					if f.Hit() == "" {
						if err != nil || o.Done+o.Already != len(plan.Steps) {
							t.Fatalf("an undisturbed apply after %d faults: %+v, %v", struck, o, err)
						}
						break
					}
					struck++
					var stale *applier.StaleError
					if errors.As(err, &stale) {
						t.Fatalf("a fault at %q made the plan stale: %v", f.Hit(), err)
					}
				}
				if struck == 0 {
					t.Fatal("no statement was struck")
				}
				if diff := cmp.Diff(want, w.catalogs()); diff != "" {
					t.Errorf("after %d faults (-undisturbed +disturbed):\n%s", struck, diff)
				}
				w.empty(small)
			})
		}
	}
}

// TestKilledAtEveryStep kills the process that applies (SIGKILL) at the start and at
// the end of every step in turn, each time with the same saved plan.
func TestKilledAtEveryStep(t *testing.T) {
	if os.Getenv("APPLY_PLAN") != "" {
		applyAndDie(t)
	}
	w := newWorld(t)
	p := w.plan(small)
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	file := t.TempDir() + "/plan.json"
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for at := 1; at <= 2*len(p.Steps); at++ {
		w.killed(file, fmt.Sprint("APPLY_DIE_AT=", at), "APPLY_EDGE="+w.dbs["edge"].DSN)
	}
	if o := w.apply(p); o.Done+o.Already != len(p.Steps) || o.Failed > 0 {
		t.Errorf("afterwards: %+v", o)
	}
	w.empty(small)
	undisturbed := newWorld(t)
	undisturbed.apply(undisturbed.plan(small))
	if diff := cmp.Diff(undisturbed.catalogs(), w.catalogs()); diff != "" {
		t.Errorf("(-undisturbed +killed):\n%s", diff)
	}
	if n := sandboxtest.One[int64](t, w.dbs["hub"], "select count(*) from skytools.step_log where outcome = 'interrupted'"); n == 0 {
		t.Error("no interrupted step was noticed")
	}
}

// killed has a child apply a plan, who is killed as env says.
func (w *world) killed(file string, env ...string) {
	w.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestKilledAtEveryStep$")
	child.Env = append(append(os.Environ(), "APPLY_PLAN="+file, "APPLY_HUB="+w.dbs["hub"].DSN), env...)
	out, err := child.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		w.Fatalf("the child with %v: %v\n%s", env, err, out)
	}
}

// applyAndDie is the child: it applies until the nth event of a step and kills itself.
func applyAndDie(t *testing.T) {
	text, err := os.ReadFile(os.Getenv("APPLY_PLAN"))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := planner.ReadPlan(text)
	if err != nil {
		t.Fatal(err)
	}
	// With APPLY_DIE_IN the nth statement that holds it dies. Otherwise even numbers die between the intent and the outcome of a step, odd ones when
	// it is done.
	at := 0
	fmt.Sscan(os.Getenv("APPLY_DIE_AT"), &at)
	left := (at + 1) / 2
	die := func() { syscall.Kill(os.Getpid(), syscall.SIGKILL); select {} }
	ctx := t.Context()
	if within := os.Getenv("APPLY_DIE_IN"); within != "" {
		ctx, left = pg.WithFault(ctx, &pg.Fault{Match: within, Nth: at, Do: die}), 0
	} else if at%2 == 0 {
		ctx = pg.WithFault(ctx, &pg.Fault{Match: "'statement_timeout'", Nth: left, Do: die})
		left = 0
	}
	a := applier.Applier{
		DSN: func(_ context.Context, node string) (string, error) {
			return os.Getenv("APPLY_" + strings.ToUpper(node)), nil
		},
		By: "child@here", LockTimeout: 20 * time.Second,
		Events: func(e applier.Event) {
			if e.Type != "step-done" {
				return
			}
			if left--; left == 0 {
				die()
			}
		},
	}
	if _, err := a.Apply(ctx, plan); err != nil {
		t.Fatal(err)
	}
	os.Exit(3) // it should not have come so far
}

// TestStale changes each setting between plan and apply. Nothing may be changed then.
func TestStale(t *testing.T) {
	const changed = `
queues:
  audit: {on: hub, ticker_max_lag: 2s, ticker_max_count: 77, ticker_idle_period: 9s, rotation_period: 5h, per_tx_limit: 8, ticker_paused: true,
          consumers: {mailer: {members: [a]}}, capture: {public.invoices: {backup: true}}}
`
	const plain = `
queues:
  audit: {on: hub, consumers: {mailer: }, capture: {public.invoices: }}
`
	for _, behind := range []string{
		"select pgq.set_queue_config('audit', 'ticker_max_lag', '7 seconds')",
		"select pgq.set_queue_config('audit', 'ticker_max_count', '7')",
		"select pgq.set_queue_config('audit', 'ticker_idle_period', '7 seconds')",
		"select pgq.set_queue_config('audit', 'rotation_period', '7 hours')",
		"update pgq.queue set queue_per_tx_limit = 7",
		"select pgq.drop_queue('audit', true)",
	} {
		t.Run(behind, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.apply(w.plan(plain))
			p := w.plan(changed)
			w.dbs["hub"].Script(t, behind)
			before := w.catalogs()
			_, err := w.applier().Apply(t.Context(), p)
			var coded interface{ ExitCode() int }
			if !errors.As(err, &coded) || coded.ExitCode() != 11 {
				t.Fatalf("got %v; want a stale plan", err)
			}
			if diff := cmp.Diff(before, w.catalogs()); diff != "" {
				t.Errorf("a stale apply changed something (-before +after):\n%s", diff)
			}
		})
	}
}

func TestLock(t *testing.T) {
	w := newWorld(t)
	p := w.plan(small)
	lease, err := pg.Acquire(t.Context(), w.dbs["edge"].DSN, "skytools apply 123 somebody@elsewhere", applier.LockKey("shop"))
	if err != nil {
		t.Fatal(err)
	}
	a := w.applier()
	a.LockTimeout = 300 * time.Millisecond
	_, err = a.Apply(t.Context(), p)
	var held *applier.LockError
	if !errors.As(err, &held) || held.ExitCode() != 13 || !strings.Contains(err.Error(), "somebody@elsewhere") {
		t.Fatalf("got %v; want the lock's holder", err)
	}
	lease.Release()
	// The lock is lost in the middle: the next step must not run.
	a = w.applier()
	steps := 0
	a.Events = func(e applier.Event) {
		if e.Type != "step-done" {
			return
		}
		if steps++; steps == 3 {
			w.dbs["hub"].Script(t, "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and pid <> pg_backend_pid() and database = (select oid from pg_database where datname = current_database())")
			time.Sleep(300 * time.Millisecond) // the watcher reads at once; this only gives it the processor
		}
	}
	o, err := a.Apply(t.Context(), p)
	if err == nil || !strings.Contains(err.Error(), "the lock on hub") || len(o.Skipped) == 0 {
		t.Errorf("after the lock was lost: %+v, %v; want an error about the lock and steps not started", o, err)
	}
	if n := sandboxtest.One[int64](t, w.dbs["hub"], "select count(*) from pg_namespace where nspname = 'pgq'"); n != 0 {
		t.Error("a step ran on hub after its lock was lost")
	}
}

func TestWrongServer(t *testing.T) {
	w := newWorld(t)
	p := w.plan(small)
	w.dbs["hub"], w.dbs["report"] = w.dbs["report"], w.dbs["hub"]
	_, err := w.applier().Apply(t.Context(), p)
	var wrong *applier.WrongServerError
	if !errors.As(err, &wrong) || wrong.ExitCode() != 11 {
		t.Errorf("got %v; want a refusal of the wrong database", err)
	}
}

// TestObserveOnlyReads plans as a role that may not write anything.
func TestObserveOnlyReads(t *testing.T) {
	w := newWorld(t)
	w.apply(w.plan(small))
	for _, name := range []string{"hub", "edge", "report"} {
		w.dbs[name].Script(t, `do $$ begin create role plan_reader login; exception when duplicate_object then null; end $$;
grant pgq_reader to plan_reader; revoke create on schema public from public`)
	}
	reader := &world{T: t, dbs: map[string]*sandboxtest.DB{}}
	for name, db := range w.dbs {
		reader.dbs[name] = &sandboxtest.DB{Name: db.Name, Server: db.Server, DSN: strings.Replace(db.DSN, "user=postgres", "user=plan_reader", 1)}
	}
	before := w.catalogs()
	if p := reader.plan(small); !p.Empty() {
		t.Errorf("a reader plans something else: %+v", p.Summary)
	}
	if diff := cmp.Diff(before, w.catalogs()); diff != "" {
		t.Errorf("planning changed something (-before +after):\n%s", diff)
	}
}
