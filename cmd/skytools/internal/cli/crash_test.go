package cli

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"
)

const benchCascade = `
queues:
  bench:
    ticker_max_lag: 200ms
    ticker_idle_period: 2s
    nodes:
      hub: {type: root}
      edge: {type: branch, provider: hub}
      report: {type: leaf, provider: edge}
    tables:
      "public.pgbench_*": {create: full}
    sequences: [public.pgbench_history_id_seq]
`

// startBench fills hub, applies the cascade and waits for the copies.
func (f *field) startBench() (*process, *load) {
	f.Helper()
	f.write(benchCascade)
	if err := fillBench(f.Context(), f.servers["hub"].DSN("postgres"), 1, func(float64) {}); err != nil {
		f.Fatal(err)
	}
	f.skytools(0, "apply", "--yes", "field.yaml")
	p := f.run("field.yaml")
	l := f.load("hub")
	return p, l
}

func (f *field) load(server string) *load {
	f.Helper()
	l, err := startLoad(f.Context(), f.servers[server].DSN("postgres"), 1, 3, 300)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { l.stop() })
	return l
}

// TestCrashes kills what can be killed while pgbench's transactions are replicated
// from root to branch to leaf: the runner, a subscriber, a provider, in an order
// that the seed decides. Afterwards the tables are equal: nothing is lost, nothing
// is there twice.
func TestCrashes(t *testing.T) {
	f := newField(t)
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(uint64(seed), 1))
	p, l := f.startBench() // the first kills strike while tables are being copied
	for round := range 9 {
		time.Sleep(time.Duration(200+r.IntN(900)) * time.Millisecond)
		switch victim := []string{"runner", "report", "edge", "hub"}[r.IntN(4)]; victim {
		case "runner":
			p.end(syscall.SIGKILL)
			p = f.run("field.yaml")
		case "hub":
			if err := l.stop(); err != nil { // the load's own sessions would die with the server
				t.Fatal(err)
			}
			fallthrough
		default:
			f.servers[victim].Kill()
			if err := f.servers[victim].Resume(t.Context()); err != nil {
				t.Fatal(err)
			}
			if victim == "hub" {
				l = f.load("hub")
			}
			t.Logf("round %d: killed %s", round, victim)
		}
	}
	f.skytools(0, "wait", "-s", "field.yaml", "--limit", "60s")
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	f.equalWithin(60*time.Second, "hub", "edge", "report")
	f.skytools(0, "drift", "field.yaml")
	if out := f.skytools(0, "plan", "field.yaml", "--exit-code"); out == "" {
		t.Error("plan said nothing")
	}
	p.end(syscall.SIGTERM)
	if code := p.ProcessState.ExitCode(); code != 0 {
		t.Errorf("run ended with %d after an interrupt", code)
	}
}

// TestRunnersShareAndTakeOver starts two processes for the same YAML and kills the
// one that does the work.
func TestRunnersShareAndTakeOver(t *testing.T) {
	f := newField(t)
	first, l := f.startBench()
	f.skytools(0, "wait", "-s", "field.yaml", "--limit", "60s")
	second := f.run("field.yaml")
	time.Sleep(time.Second)
	first.end(syscall.SIGKILL)
	began := time.Now()
	before := f.one("report", "select last_tick_id::text from pgq_node.local_state")
	for f.one("report", "select last_tick_id::text from pgq_node.local_state") == before {
		if time.Since(began) > 20*time.Second {
			t.Fatal("nobody took over within 20 s")
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("taken over after %s", time.Since(began).Round(10*time.Millisecond))
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	f.equalWithin(30*time.Second, "hub", "edge", "report")
	second.end(syscall.SIGTERM)
}

// TestTakeover moves the leaf, then the root, then loses the root, under load each
// time; an apply in the middle of it is killed and run again.
func TestTakeover(t *testing.T) {
	f := newField(t)
	p, l := f.startBench()
	f.skytools(0, "wait", "-s", "field.yaml", "--limit", "60s")

	cascade := func(hub, edge, report string) string {
		return fmt.Sprintf(`
queues:
  bench:
    ticker_max_lag: 200ms
    ticker_idle_period: 2s
    nodes: {hub: {%s}, edge: {%s}, report: {%s}}
    tables:
      "public.pgbench_*": {create: full}
    sequences: [public.pgbench_history_id_seq]
`, hub, edge, report)
	}
	move := func(yaml string) {
		t.Helper()
		f.write(yaml)
		f.skytools(12, "apply", "--yes", "field.yaml") // a move needs approval
		f.skytools(0, "plan", "field.yaml", "--out", "plan.json", "-q")
		f.skytools(0, "apply", "plan.json", "--allow", "moves-root:node/*")
		f.skytools(0, "apply", "plan.json", "--allow", "moves-root:node/*") // again: all is already so
		f.skytools(0, "plan", "field.yaml", "--exit-code")
	}
	// The leaf reads from the root, and back.
	move(cascade("type: root", "type: branch, provider: hub", "type: leaf, provider: hub"))
	move(cascade("type: root", "type: branch, provider: hub", "type: leaf, provider: edge"))
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	f.equalWithin(30*time.Second, "hub", "edge", "report")

	// The root moves to edge; writes follow it.
	move(cascade("type: branch, provider: edge", "type: root", "type: leaf, provider: edge"))
	l = f.load("edge")
	time.Sleep(time.Second)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	f.equalWithin(30*time.Second, "edge", "hub", "report")

	// edge is lost; hub takes over, and the leaf reads from it.
	f.servers["edge"].Kill()
	f.write(`
queues:
  bench:
    ticker_max_lag: 200ms
    ticker_idle_period: 2s
    nodes: {hub: {type: root}, report: {type: leaf, provider: hub}, edge: {type: branch, provider: hub}}
    tables:
      "public.pgbench_*": {create: full}
    sequences: [public.pgbench_history_id_seq]
`)
	f.kill("edge")
	p.end(syscall.SIGTERM) // it runs by the old YAML
	p = f.run("field.yaml")
	f.skytools(0, "plan", "field.yaml", "--out", "plan.json", "-q")
	f.skytools(0, "apply", "plan.json", "--allow", "moves-root:node/*", "--allow", "loses-events:node/*")
	f.skytools(0, "plan", "field.yaml", "--exit-code")
	l = f.load("hub")
	time.Sleep(time.Second)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	f.equalWithin(30*time.Second, "hub", "report")
	p.end(syscall.SIGTERM)
}
