package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// TestRootReturns loses the root with rows that nobody else has, and takes it back as a
// branch of its successor.
func TestRootReturns(t *testing.T) {
	f := newField(t)
	p, l := f.startBench()
	f.skytools(0, "wait", "-s", "field.yaml", "--limit", "60s")
	p.end(syscall.SIGTERM) // what is written from now on is lost
	time.Sleep(300 * time.Millisecond)
	l.stop()
	f.servers["hub"].Kill()

	const after = `
queues:
  bench:
    ticker_max_lag: 200ms
    ticker_idle_period: 2s
    nodes: {hub: {type: branch, provider: edge}, edge: {type: root}, report: {type: leaf, provider: edge}}
    tables:
      "public.pgbench_*": {create: full}
    sequences: [public.pgbench_history_id_seq]
`
	f.write(after)
	f.kill("hub")
	p = f.run("field.yaml")
	f.skytools(0, "plan", "field.yaml", "--out", "plan.json", "-q")
	f.skytools(0, "apply", "plan.json", "--allow", "moves-root:node/*", "--allow", "loses-events:node/*")
	history := func(server string) int64 {
		return sandboxtest.One[int64](t, &sandboxtest.DB{DSN: f.servers[server].DSN("postgres"), Server: f.servers[server]}, "select count(*) from pgbench_history")
	}
	arrived := history("edge")
	l = f.load("edge")
	time.Sleep(time.Second)
	l.stop()
	f.equalWithin(30*time.Second, "edge", "report")

	if err := f.servers["hub"].Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Its database may still be declared dead.
	f.contains(f.skytools(0, "queue", "lost", "bench@hub", "-s", "field.yaml", "--out", "lost.json"), " events to lost.json")
	f.contains(f.skytools(2, "queue", "lost", "bench@edge", "-s", "field.yaml"), "no other node has taken the place of bench@edge")
	f.contains(f.skytools(0, "status", "-s", "field.yaml"), "declared dead", "edge is root, too", "node/bench@hub and node/bench@edge are both root", "skytools queue lost bench@hub")
	saved := map[string]int{}
	text, err := os.ReadFile(filepath.Join(f.dir, "lost.json"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var e struct {
			Type, Extra1 string
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		saved[e.Extra1+" "+e.Type]++
	}
	const inserted = `public.pgbench_history {"op":"INSERT","table":["public","pgbench_history"],"pkey":["id"]}`
	if missed := history("hub") - arrived; missed == 0 || int64(saved[inserted]) != missed || len(saved) != 4 {
		t.Errorf("%d rows of history are on hub alone; saved are %v", missed, saved)
	}

	// As it is it cannot become a branch.
	f.write(after)
	f.contains(f.skytools(12, "plan", "field.yaml"), "hub was the root until it was lost, and edge has taken its place", "skytools queue lost bench@hub", "state: absent")
	f.write(strings.Replace(after, "hub: {type: branch, provider: edge}", "hub: {type: branch, provider: edge, state: absent}", 1))
	f.contains(f.skytools(12, "apply", "--yes", "field.yaml"), "what it wrote last is on no other node: skytools queue lost bench@hub")
	f.skytools(0, "apply", "--yes", "field.yaml", "--allow", "drops-node:node/*", "--allow", "drops-table:table/*")
	f.write(after)
	f.skytools(0, "apply", "--yes", "field.yaml", "--allow", "recopies-table:table/*")
	p.end(syscall.SIGTERM)
	f.run("field.yaml")
	l = f.load("edge")
	f.skytools(0, "wait", "-s", "field.yaml", "--limit", "90s")
	l.stop()
	f.equalWithin(30*time.Second, "edge", "hub", "report")
	f.skytools(0, "plan", "field.yaml", "--exit-code")
	f.contains(f.skytools(2, "queue", "lost", "bench@hub", "-s", "field.yaml"), "no other node has taken the place of bench@hub")
}
