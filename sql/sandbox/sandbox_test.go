package sandbox_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/sandbox"
)

func start(t *testing.T, o sandbox.Options) *sandbox.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := sandbox.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop() })
	return s
}

func exec1(t *testing.T, s *sandbox.Server, text string) {
	t.Helper()
	conn, err := pg.Dial(t.Context(), s.DSN("postgres"), pg.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Exec(t.Context(), text); err != nil {
		t.Fatal(err)
	}
}

func TestServerSurvivesKillAndLeavesNothing(t *testing.T) {
	s := start(t, sandbox.Options{})
	exec1(t, s, "create table kept as select 1")
	s.Kill()
	if s.Running() {
		t.Fatal("still running after Kill")
	}
	if err := s.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	exec1(t, s, "select * from kept")
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
	if err := s.Stop(); err != nil {
		t.Errorf("stopping twice: %v", err)
	}
}

func TestFailedStartSaysWhyAndLeavesNothing(t *testing.T) {
	parent, err := os.MkdirTemp("", "sandbox-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(parent) })
	if err := os.Chmod(parent, 0o755); err != nil { // the server may run as another user
		t.Fatal(err)
	}
	dir := parent + "/s"
	_, err = sandbox.Start(t.Context(), sandbox.Options{Dir: dir, Settings: map[string]string{"no_such_setting": "1"}})
	if err == nil || !strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("got %v; want the server's own words", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
}

// TestGuardian kills a process that has started a server: the server must end and
// its folder must go.
func TestGuardian(t *testing.T) {
	if os.Getenv("SANDBOX_CHILD") == "1" {
		s := start(t, sandbox.Options{})
		os.Stdout.WriteString("dir=" + s.Dir + "\n")
		select {}
	}
	child := exec.Command(os.Args[0], "-test.run=^TestGuardian$")
	child.Env = append(os.Environ(), "SANDBOX_CHILD=1")
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	dir := ""
	for dir == "" && lines.Scan() {
		_, dir, _ = strings.Cut(lines.Text(), "dir=")
	}
	if dir == "" {
		t.Fatal("the child did not start a server")
	}
	child.Process.Signal(syscall.SIGKILL)
	child.Wait()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is still there", dir)
		}
	}
}
