package cli

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/skytools-go/skytools/cmd/skytools/internal/term"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/sandbox"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// The test binary is also the program: with SKYTOOLS_EXEC it does what skytools
// does, so that tests can start, interrupt and kill real processes.
func TestMain(m *testing.M) {
	if os.Getenv("SKYTOOLS_EXEC") == "1" {
		os.Exit(Main(os.Args[1:], term.System()))
	}
	testscript.Main(m, map[string]func(){"skytools": func() { os.Exit(Main(os.Args[1:], term.System())) }})
}

// A field is three servers of its own, which may be killed, and a directory with
// the YAML about them.
type field struct {
	*testing.T
	dir     string
	env     []string
	servers map[string]*sandbox.Server
}

func newField(t *testing.T) *field {
	t.Helper()
	f := &field{T: t, dir: t.TempDir(), servers: map[string]*sandbox.Server{}, env: append(os.Environ(), "SKYTOOLS_EXEC=1", "SKYTOOLS_BY=test@here")}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, name := range []string{"hub", "edge", "report"} {
		all.Go(func() {
			s := sandboxtest.Private(t, sandbox.Options{})
			mu.Lock()
			defer mu.Unlock()
			f.servers[name] = s
			f.env = append(f.env, strings.ToUpper(name)+"_DSN="+s.DSN("postgres"))
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return f
}

const fieldDatabases = `skytools: 1
cluster: field
databases:
  hub: {dsn: {env: HUB_DSN}}
  edge: {dsn: {env: EDGE_DSN}}
  report: {dsn: {env: REPORT_DSN}}
`

// write saves YAML under the databases.
func (f *field) write(yaml string) {
	f.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, "field.yaml"), []byte(fieldDatabases+yaml), 0o644); err != nil {
		f.Fatal(err)
	}
}

// kill declares a database dead.
func (f *field) kill(database string) {
	f.Helper()
	file := filepath.Join(f.dir, "field.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		f.Fatal(err)
	}
	alive := database + ": {dsn: {env: " + strings.ToUpper(database) + "_DSN}}"
	dead := database + ": {dsn: {env: " + strings.ToUpper(database) + "_DSN}, state: dead}"
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), alive, dead, 1)), 0o644); err != nil {
		f.Fatal(err)
	}
}

// skytools runs a command to its end and requires the exit code.
func (f *field) skytools(code int, args ...string) string {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Dir, cmd.Env = f.dir, f.env
	out, _ := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != code {
		f.Fatalf("skytools %s: exit %d, want %d\n%s", strings.Join(args, " "), got, code, out)
	}
	return string(out)
}

// contains fails the test unless an output has all of these.
func (f *field) contains(got string, wants ...string) {
	f.Helper()
	for _, want := range wants {
		if !strings.Contains(got, want) {
			f.Errorf("no %q in:\n%s", want, got)
		}
	}
}

// A process is a "skytools run" in the background.
type process struct {
	*exec.Cmd
	log  *os.File
	done chan struct{}
}

func (f *field) run(args ...string) *process {
	f.Helper()
	log, err := os.CreateTemp(f.dir, "run-*.log")
	if err != nil {
		f.Fatal(err)
	}
	p := &process{Cmd: exec.Command(os.Args[0], append([]string{"run"}, args...)...), log: log, done: make(chan struct{})}
	p.Dir, p.Env, p.Stdout, p.Stderr = f.dir, f.env, log, log
	if err := p.Start(); err != nil {
		f.Fatal(err)
	}
	go func() { p.Wait(); close(p.done) }()
	f.Cleanup(func() {
		p.end(syscall.SIGKILL)
		if f.Failed() {
			text, _ := os.ReadFile(log.Name())
			lines := strings.Split(string(text), "\n")
			f.Logf("the end of %s:\n%s", filepath.Base(log.Name()), strings.Join(lines[max(0, len(lines)-40):], "\n"))
		}
		log.Close()
	})
	return p
}

// end sends a signal and waits for the process to end.
func (p *process) end(sig syscall.Signal) {
	p.Process.Signal(sig)
	<-p.done
}

func (f *field) one(server, query string) string {
	f.Helper()
	conn, err := pg.Dial(f.Context(), f.servers[server].DSN("postgres"), pg.Options{})
	if err != nil {
		f.Fatal(err)
	}
	defer conn.Close()
	v, err := pg.One[string](f.Context(), conn, query)
	if err != nil {
		f.Fatalf("%s: %s: %v", server, query, err)
	}
	return v
}

// equalWithin requires that pgbench's tables become equal on all servers in time.
func (f *field) equalWithin(limit time.Duration, servers ...string) {
	f.Helper()
	last := ""
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		sums := map[string]bool{}
		last = ""
		for _, name := range servers {
			got, err := sumBench(f.Context(), f.servers[name].DSN("postgres"))
			if err != nil {
				f.Fatalf("%s: %v", name, err)
			}
			sums[fmt.Sprint(got)] = true
			last += fmt.Sprintf("%s %v\n", name, got)
		}
		if len(sums) == 1 {
			return
		}
	}
	f.Fatalf("not equal after %s:\n%s", limit, last)
}
