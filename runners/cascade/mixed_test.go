package cascade_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pgqnode"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// Workers of Londiste in one cascade with ours: above, below and in between.

const theirs = "/usr/bin/londiste"

// python is a node's Londiste: its configuration file, and what it has said.
type python struct {
	*node
	dir, ini string
}

func (n *node) python() *python {
	n.t.Helper()
	if _, err := os.Stat(theirs); err != nil {
		n.t.Fatalf("%v: install Debian's python3-londiste", err)
	}
	dir := n.t.TempDir()
	p := &python{n, dir, filepath.Join(dir, "londiste.ini")}
	text := strings.Join([]string{
		"[londiste]", "job_name = " + n.worker(), "queue_name = " + n.queue(), "db = " + n.db.DSN, "loop_delay = 0.1", "local_wm_publish_period = 1",
		"logfile = " + filepath.Join(dir, "log"), "pidfile = " + filepath.Join(dir, "pid"), "",
	}, "\n")
	if err := os.WriteFile(p.ini, []byte(text), 0o644); err != nil {
		n.t.Fatal(err)
	}
	return p
}

// do runs one command of Londiste's.
func (p *python) do(args ...string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience*30*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, theirs, append([]string{p.ini}, args...)...).CombinedOutput(); err != nil {
		p.t.Fatalf("londiste %v on %s: %v\n%s", args, p.name, err, out)
	}
}

// work runs Londiste's worker, with the copies that it starts, until the test ends.
func (p *python) work() {
	p.t.Helper()
	cmd := exec.Command(theirs, p.ini, "worker")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
		if copies, _ := filepath.Glob(filepath.Join(p.dir, "pid.*")); len(copies) > 0 { // daemons of their own
			for _, file := range copies {
				var pid int
				if text, err := os.ReadFile(file); err == nil {
					if fmt.Sscan(string(text), &pid); pid > 0 {
						syscall.Kill(pid, syscall.SIGKILL)
					}
				}
			}
		}
		if p.t.Failed() {
			text, _ := os.ReadFile(filepath.Join(p.dir, "log"))
			lines := strings.Split(string(text), "\n")
			p.t.Logf("%s:\n%s", p.name, strings.Join(lines[max(0, len(lines)-25):], "\n"))
		}
	})
}

func TestMixedWorkers(t *testing.T) {
	t.Parallel()
	for _, who := range []struct {
		name         string
		branch, leaf bool // Londiste's
	}{
		{"their leaf below our branch", false, true},
		{"our leaf below their branch", true, false},
	} {
		t.Run(who.name, func(t *testing.T) {
			t.Parallel()
			s := sandboxtest.Server(t)
			root := newRoot(t, s, "root")
			branch := root.add(s, root, "branch", pgqnode.Branch)
			leaf := branch.add(s, root, "leaf", pgqnode.Leaf)
			nodes := []*node{root, branch, leaf}
			for _, n := range nodes {
				n.run(items + `; create table public."Odd ""N" (id int primary key, "A b" text, ts timestamptz, js jsonb, ba bytea, ar text[]); create sequence public.counter`)
			}
			root.run(`insert into items select i, 'name ' || i, i / 3.0, i from generate_series(1, 500) i;
				insert into "Odd ""N" values (1, E'tab\t & = % \\ ''q'' "d" é €', '2026-01-02 03:04:05.678+02', '{"a": ["b", null]}', '\x00ff', '{a,NULL,"b c"}'), (2, null, 'infinity', null, '', '{}')`)
			root.run("update pgq.queue set queue_ticker_idle_period = '200 ms'") // each of their hand-overs waits for several ticks
			root.ticking(50 * time.Millisecond)
			theirRoot := root.python()
			theirRoot.work() // a root's worker publishes watermarks and sequences
			theirs := map[*node]*python{}
			for n, is := range map[*node]bool{branch: who.branch, leaf: who.leaf} {
				if is {
					theirs[n] = n.python()
					theirs[n].work()
				} else {
					defer n.start().healthy()
				}
			}
			tables := []string{"public.items", `public.Odd "N`}
			theirRoot.do("add-table", "public.items")
			root.addTable(`public.Odd "N`, londiste.AddTable{})
			for _, n := range []*node{branch, leaf} {
				n.eventually(10*time.Second, "2", "select count(*)::text from londiste.table_info")
				for _, table := range tables {
					if p := theirs[n]; p != nil {
						p.do("add-table", table)
					} else {
						n.addTable(table, londiste.AddTable{})
					}
				}
				n.inSync(20 * time.Second)
			}
			root.run(`update items set name = name || ' ü', price = null where id % 3 = 0; delete from items where id % 7 = 0; insert into items select i, null, 0, -i from generate_series(1001, 1010) i;
				update "Odd ""N" set "A b" = E'new\n', ar = '{x}', ba = '\x01', js = '"s"', ts = '-infinity'; insert into "Odd ""N" (id) values (3)`)
			for _, n := range nodes[1:] {
				n.caughtUp(root, 20*time.Second)
				sameTables(t, root, n, tables...)
			}

			ddl := filepath.Join(theirRoot.dir, "more.sql")
			if err := os.WriteFile(ddl, []byte("alter table public.items add column more int;\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			theirRoot.do("execute", ddl)
			root.run("update items set more = id where id < 20")
			theirRoot.do("add-seq", "public.counter")
			root.run("select setval('public.counter', 5000)")
			for _, n := range nodes[1:] {
				n.caughtUp(root, 20*time.Second)
				sameTables(t, root, n, tables...)
			}
			root.run("truncate items; insert into items (id) values (7)")
			for _, n := range nodes[1:] {
				n.caughtUp(root, 20*time.Second)
				sameTables(t, root, n, tables...)
			}
		})
	}
}
