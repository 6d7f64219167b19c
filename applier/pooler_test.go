package applier_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skytools-go/skytools/applier"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/sandbox"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// pooled starts pgbouncer in front of a server and returns the address of a
// database through it; false where there is none, which CI does not accept.
func pooled(t *testing.T, s *sandbox.Server, mode string) (dsn func(database string) string, found bool) {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/pgbouncer")
	}
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("pgbouncer is not installed: ", err)
		}
		t.Log("nothing was tested: pgbouncer is not installed")
		return nil, false
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	config := filepath.Join(s.Dir, "pgbouncer-"+mode+".ini") // the server's folder is its user's
	text := fmt.Sprintf(`[databases]
* = host=%s port=%d user=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = %s
`, s.Dir, s.Port, sandbox.User, port, mode)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"-q", config}
	if os.Geteuid() == 0 { // it refuses to run as root
		args = append([]string{"-u", "postgres"}, args...)
	}
	cmd := exec.Command(program, args...)
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Signal(syscall.SIGTERM); cmd.Wait() })
	dsn = func(database string) string {
		return fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=%s sslmode=disable", port, sandbox.User, database)
	}
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			conn.Close()
			return dsn, true
		}
		if time.Now().After(deadline) {
			t.Fatalf("pgbouncer does not come up: %v", err)
		}
	}
}

// TestThroughATransactionPooler observes and plans through a pooler, but takes
// locks only past it.
func TestThroughATransactionPooler(t *testing.T) {
	s := sandboxtest.Private(t, sandbox.Options{})
	through, found := pooled(t, s, "transaction")
	if !found {
		return
	}
	w := &world{T: t, dbs: map[string]*sandboxtest.DB{}}
	direct := map[string]string{}
	for _, name := range []string{"hub", "edge", "report"} {
		db := sandboxtest.DatabaseOn(t, s, "template1")
		w.dbs[name], direct[name] = db, db.DSN
	}
	sources(w)
	for _, db := range w.dbs {
		db.DSN = through(db.Name)
	}
	for range 3 { // a quiet pooler answers from the same process every time
		if l, err := pg.Acquire(t.Context(), w.dbs["hub"].DSN, "test", 7); !errors.Is(err, pg.ErrPooled) {
			t.Errorf("a lock through the pooler: %v", err)
			if err == nil {
				l.Release()
			}
		}
	}

	p := w.plan(whole)
	_, err := w.applier().Apply(t.Context(), p)
	var refused *applier.PooledError
	if !errors.As(err, &refused) || !strings.Contains(refused.Hint(), "databases."+refused.Node+".direct") {
		t.Fatalf("apply through the pooler: %v", err)
	}
	a := w.applier()
	a.Direct = func(_ context.Context, node string) (string, error) { return direct[node], nil }
	if o, err := a.Apply(t.Context(), p); err != nil || o.Failed > 0 {
		t.Fatalf("apply past the pooler: %+v %v", o, err)
	}
	for range 5 { // each look is a new session with the same statements
		w.empty(whole)
	}
}

// TestThroughASessionPooler: session locks work there.
func TestThroughASessionPooler(t *testing.T) {
	s := sandboxtest.Private(t, sandbox.Options{})
	through, found := pooled(t, s, "session")
	if !found {
		return
	}
	for range 2 {
		l, err := pg.Acquire(t.Context(), through("postgres"), "test", 7)
		if err != nil {
			t.Fatal(err)
		}
		l.Release()
	}
}
