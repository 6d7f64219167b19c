package cli

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/skytools-go/skytools/runners/wal/backup/backuptest"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// TestScripts runs the stories in testdata/script. Each has three databases of its
// own, HUB_DSN, EDGE_DSN and REPORT_DSN, and a directory for a server, SERVER_DIR. Beside the standard commands there are:
//
//	pg DATABASE FILE|SQL     run SQL as the superuser
//	exits CODE ARG...        run skytools and require this exit code
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "../../../../testdata/script", RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			dbs := map[string]*sandboxtest.DB{}
			for _, name := range []string{"hub", "edge", "report"} {
				db := sandboxtest.Database(e.T().(testing.TB))
				dbs[name] = db
				e.Setenv(strings.ToUpper(name)+"_DSN", db.DSN)
				e.Setenv(strings.ToUpper(name)+"_NAME", db.Name)
			}
			e.Setenv("PG_DIR", dbs["hub"].Server.Dir)
			e.Setenv("SERVER_DIR", backuptest.Dir(e.T().(testing.TB), "script"))
			e.Setenv("SKYTOOLS_BY", "deploy@ci")
			e.Setenv("SKYTOOLS_REVISION", "git:1234567")
			e.Values["dbs"] = dbs
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"pg": func(s *testscript.TestScript, neg bool, args []string) {
				if len(args) != 2 {
					s.Fatalf("usage: pg DATABASE FILE|SQL")
				}
				db := s.Value("dbs").(map[string]*sandboxtest.DB)[args[0]]
				text := args[1]
				if strings.HasSuffix(text, ".sql") {
					text = s.ReadFile(text)
				}
				conn, err := pg.Dial(t.Context(), db.DSN, pg.Options{})
				s.Check(err)
				defer conn.Close()
				if err := conn.Script(t.Context(), text); (err != nil) != neg {
					s.Fatalf("%s: %v", text, err)
				}
			},
			"exits": func(s *testscript.TestScript, _ bool, args []string) {
				if len(args) < 2 {
					s.Fatalf("usage: exits CODE ARG...")
				}
				want, err := strconv.Atoi(args[0])
				s.Check(err)
				err = s.Exec("skytools", args[1:]...)
				got := 0
				if exit, ok := err.(*exec.ExitError); ok {
					got = exit.ExitCode()
				} else {
					s.Check(err)
				}
				if got != want {
					s.Fatalf("skytools %s: exit %d, want %d", strings.Join(args[1:], " "), got, want)
				}
			},
		},
	})
}
