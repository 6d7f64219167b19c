package cascade_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/skytools-go/skytools/sql/londiste"
)

const mixedTick = 500 * time.Millisecond

// TestMixedMerge merges two parts with workers of Londiste on one of the targets and ours
// on the other, and moves the combined root there and back with Londiste's takeover. A
// branch takes its ticks one by one, Londiste's some four a second where the machine is
// busy: there are fewer here, or it falls behind for good.
func TestMixedMerge(t *testing.T) {
	t.Parallel()
	for who, name := range []string{"their combined root above our branch", "their branch below our combined root"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMerge(t, 2, 2)
			for _, p := range m.parts {
				p.run(fmt.Sprintf("insert into items select '%s', i, 'first', 0 from generate_series(1, 200) i; update pgq.queue set queue_ticker_idle_period = '200 ms'", p.name))
				p.addTable("public.items", londiste.AddTable{})
				p.ticking(mixedTick)
				p.start()
			}
			var stop func()
			for i, n := range m.targets {
				n.run("update pgq.queue set queue_ticker_idle_period = '200 ms'")
				n.ticking(mixedTick)
				all := append([]*node{n}, m.leafs[i]...)
				for _, n := range all {
					if i == who {
						n.python().work()
					} else {
						n.start().tell()
					}
				}
				if i == 1 { // Londiste drops a snapshot when it has filtered some batches, or when it is idle, which nobody is here
					stop = m.load()
				}
				for _, leaf := range m.leafs[i] {
					leaf.must(londiste.GlobalAddTable(leaf.queue(), "public.items"))
				}
				if i == who {
					m.leafs[i][0].python().do("add-table", "--merge-all", "public.items")
				} else {
					m.registerOn(i)
				}
				n.inSync(20 * time.Second)
			}
			time.Sleep(300 * time.Millisecond) // into the load
			x, y := m.targets[0], m.targets[1]
			for _, move := range [][2]*node{{x, y}, {y, x}} {
				from, to := move[0], move[1]
				to.python().do("takeover", from.name)
				to.run("update pgq.queue set queue_ticker_max_lag = '0', queue_ticker_idle_period = '200 ms'")
				time.Sleep(300 * time.Millisecond) // into the load
			}
			ddl := filepath.Join(t.TempDir(), "more.sql")
			if err := os.WriteFile(ddl, []byte("alter table public.items add column more int;\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			stop()
			for _, p := range m.parts {
				p.python().do("execute", ddl)
				p.run("update items set more = id where id < 20")
				for _, n := range m.targets { // one at a time: two would meet in a deadlock on Londiste's side
					n.eventually(10*time.Second, "0", "select count(*)::text from items where part = $1 and id < 20 and more is null", p.name)
				}
			}
			m.settle()
			if got := x.text("select count(*)::text from londiste.applied_execute"); got != "1" {
				t.Errorf("the script was applied %s times", got)
			}
		})
	}
}
