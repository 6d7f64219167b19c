package main_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A process does one role of the soak.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// kill ends a process, which may have ended, and waits until it has gone. It reports
// whether it was alive.
func (p *process) kill() bool {
	p.cmd.Process.Kill()
	<-p.done
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled()
}

// commands are what the roles do.
func (w *soak) commands() map[string][]string {
	return map[string][]string{
		"daemon":   {"wal", "serve", "wal", "--spool", w.dir + "/run"},
		"backup":   {"backup", "wal"},
		"restore":  {"restore", "wal", "--to", w.target, "--delta"},
		"receiver": {"run", "--only", "receive", w.dir + "/shop.yaml"},
	}
}

// start starts a process in the place of the one before, which is ended.
func (w *soak) start(role string) *process {
	w.Helper()
	if before := w.processes[role]; before != nil {
		before.kill()
	}
	yaml := "shop.yaml"
	if role == "receiver" {
		yaml = "" // it is an argument
	}
	cmd := w.command(yaml, w.commands()[role]...)
	log, err := os.OpenFile(w.dir+"/"+role+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	w.ok(err)
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	w.ok(cmd.Start())
	p := &process{cmd, make(chan struct{})}
	go func() { cmd.Wait(); close(p.done) }()
	w.processes[role] = p
	return p
}

// strike kills one thing, after a while. It may miss, when what it looks for has ended.
func (w *soak) strike() {
	w.Helper()
	w.wait(400)
	switch n := w.rand.IntN(100); {
	case n < 20:
		w.server.Kill()
		w.kills.add("server")
		w.resume()
	case n < 40:
		w.hit("daemon")
		if w.rand.IntN(2) == 0 {
			w.wait(400) // the client does without
		}
		w.start("daemon")
	case n < 55:
		w.hitClient()
	case n < 75 && w.how == received:
		w.hit("receiver")
		w.start("receiver")
	case n < 90:
		w.launch("backup", 1200)
	default:
		w.launch("restore", 600)
		w.look()
	}
}

// wait waits for some milliseconds, at most so many.
func (w *soak) wait(most int) { time.Sleep(time.Duration(w.rand.IntN(most)) * time.Millisecond) }

// hit kills the process of a role, if there is one that has not ended.
func (w *soak) hit(role string) {
	if p := w.processes[role]; p != nil && p.kill() {
		w.kills.add(role)
	}
}

// launch starts a process and kills it soon; some backups are left to come to their end.
func (w *soak) launch(role string, most int) {
	w.Helper()
	leave := role == "backup" && w.rand.IntN(4) == 0
	w.hit(role)
	w.start(role)
	w.wait(most)
	if !leave {
		w.hit(role)
	}
}

// look requires that no server starts where a restore was killed.
func (w *soak) look() {
	w.Helper()
	_, marked := os.Stat(filepath.Join(w.target, "skytools.restore"))
	_, control := os.Stat(filepath.Join(w.target, "global", "pg_control"))
	if marked != nil && control != nil {
		if entries, _ := os.ReadDir(w.target); len(entries) > 1 { // one: the mark under its first name
			w.t.Errorf("%s is neither a data directory nor known as an unfinished one", w.target)
		}
	}
}

// hitClient kills what archive_command has started, if it comes within a second.
func (w *soak) hitClient() {
	for range 200 {
		if pids := w.clients(); len(pids) > 0 {
			syscall.Kill(pids[w.rand.IntN(len(pids))], syscall.SIGKILL)
			w.kills.add("client")
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// clients are the processes of skytools-wal, and of what they become without a daemon.
func (w *soak) clients() (pids []int) {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range lines {
		text, _ := os.ReadFile(file)
		args := strings.Split(string(text), "\x00")
		if args[0] == w.dir+"/skytools-wal" || args[0] == w.dir+"/skytools" && len(args) > 2 && args[2] == "push" {
			if pid, err := strconv.Atoi(strings.Split(file, "/")[2]); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// resume starts the server again, which recovers.
func (w *soak) resume() {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Minute)
	defer cancel()
	w.ok(w.server.Resume(ctx))
}

// A tally counts kills by what was killed.
type tally map[string]int64

func (t *tally) add(name string) {
	if *t == nil {
		*t = tally{}
	}
	(*t)[name]++
}

func (t tally) total() (n int64) {
	for _, k := range t {
		n += k
	}
	return n
}

func (t tally) String() string {
	var all []string
	for name, n := range t {
		all = append(all, fmt.Sprintf("%s %d", name, n))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}
