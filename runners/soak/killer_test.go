package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/skytools-go/skytools/sql/pg"
)

// A process does one role.
type process struct {
	cmd   *exec.Cmd
	stdin interface{ Close() error }
	log   string // its file; all lives of a role write there
	done  chan struct{}
}

// start starts the process of a role. It ends with the test, or with the test's process.
func (w *world) start(role string) {
	w.Helper()
	name := filepath.Join(w.TempDir(), "log")
	if before := w.processes[role]; before != nil {
		name = before.log
	}
	log, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		w.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SOAK_ROLE="+role, "SOAK_HUB="+w.servers["hub"].DSN("postgres"), "SOAK_REPORT="+w.servers["report"].DSN("postgres"))
	cmd.Stderr = log
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		w.Fatal(err)
	}
	p := &process{cmd, stdin, name, make(chan struct{})}
	go func() { cmd.Wait(); close(p.done) }()
	if w.processes[role] == nil {
		w.Cleanup(func() { w.processes[role].end() })
	}
	w.processes[role] = p
}

// end kills a process and waits until it has gone.
func (p *process) end() {
	p.cmd.Process.Kill()
	<-p.done
}

func (p *process) text() string {
	text, _ := os.ReadFile(p.log)
	return string(text)
}

// A tally counts by name. It is safe for concurrent use.
type tally struct {
	mu sync.Mutex
	of map[string]int
}

func (t *tally) add(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.of[name]++
}

func (t *tally) total() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range t.of {
		n += k
	}
	return n
}

func (t *tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []string
	for name, n := range t.of {
		all = append(all, fmt.Sprintf("%s %d", name, n))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// A killer strikes at random. It alone starts and ends processes and servers while it runs.
type killer struct {
	*world
	rand *rand.Rand
}

// run kills until ctx ends, and a few times in any case; then everything runs.
func (k *killer) run(ctx context.Context) {
	for ctx.Err() == nil || k.kills.total() < 5 {
		time.Sleep(time.Duration(100+k.rand.IntN(500)) * time.Millisecond)
		switch n := k.rand.IntN(100); {
		case n < 35:
			role := k.role()
			k.processes[role].end()
			k.start(role)
			k.kills.add("process")
		case n < 50:
			k.pause(k.role())
		case n < 90:
			k.cut(k.server())
		default:
			server := k.server()
			k.servers[server].Kill()
			if err := k.servers[server].Resume(context.Background()); err != nil {
				k.Error(err)
				return
			}
			k.kills.add("server " + server)
		}
	}
}

func (k *killer) role() string {
	names := make([]string, 0, len(roles))
	for name := range roles {
		names = append(names, name)
	}
	slices.Sort(names)
	return names[k.rand.IntN(len(names))]
}

func (k *killer) server() string { return []string{"hub", "report"}[k.rand.IntN(2)] }

// pause stops a process for a while: it is slow, and not dead.
func (k *killer) pause(role string) {
	p := k.processes[role].cmd.Process
	p.Signal(syscall.SIGSTOP)
	time.Sleep(time.Duration(200+k.rand.IntN(1300)) * time.Millisecond)
	p.Signal(syscall.SIGCONT)
	k.kills.add("paused")
}

// cut ends some session of a server.
func (k *killer) cut(server string) {
	conn := k.dial(server)
	if conn == nil {
		return
	}
	defer conn.Close()
	names, err := pg.Rows[string](context.Background(), conn, `
		select split_part(a.application_name, ' ', 1)
		  from (select pid, application_name from pg_stat_activity
		         where backend_type = 'client backend' and application_name <> 'soak'
		         order by random() limit 1) a
		 where pg_terminate_backend(a.pid)`)
	if err == nil && len(names) == 1 {
		k.kills.add("session")
	}
}
