package planner_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/skytools-go/skytools"

// rules say which packages may not be reached from which, and why. A path stands
// for itself and, with /..., for all below it. Tests are left out of it.
// Source: DESIGN.md section 5.
var rules = []struct {
	from string
	not  map[string]string // package -> reason
}{
	{"spec", map[string]string{
		module + "/sql/...":               "YAML can be checked without knowing PostgreSQL",
		module + "/planner/...":           "the planner builds on spec, not the other way",
		"github.com/jackc/pgx/...":        "YAML can be checked without a server",
		"net":                             "YAML can be checked without a network",
		"github.com/hashicorp/go-hclog":   "spec returns values and problems, and has nothing to log",
		"github.com/spf13/cobra":          "only the command knows flags",
		"github.com/google/go-cmp/cmp":    "it is for tests: its text differs from run to run on purpose",
		"math/rand":                       "the same YAML gives the same answer",
		"github.com/prometheus/...":       "only what runs has metrics",
		"github.com/vbauerster/mpb/v8":    "only the command draws",
		module + "/cmd/...":               "nothing imports the command",
		module + "/runners/...":           "YAML does not know what runs",
		module + "/applier/...":           "YAML does not know what applies it",
		"database/sql":                    "YAML can be checked without a server",
		"github.com/rogpeppe/go-internal": "it is for tests",
	}},
	{"sql/...", map[string]string{
		module + "/spec":                "SQL knows nothing of YAML",
		module + "/planner/...":         "SQL is a value that others choose",
		"gopkg.in/yaml.v3":              "SQL knows nothing of YAML",
		"github.com/hashicorp/go-hclog": "a statement has nothing to log",
	}},
	{"sql", pureSQL}, {"sql/pgq", pureSQL}, {"sql/pgqnode", pureSQL}, {"sql/pgqcoop", pureSQL}, {"sql/pgqext", pureSQL}, {"sql/londiste", pureSQL}, {"sql/meta", pureSQL},
	{"planner", map[string]string{
		module + "/sql/pg":              "the planner cannot run SQL",
		module + "/applier/...":         "the planner does not know who carries out plans",
		module + "/runners/...":         "the planner does not know what runs",
		"github.com/jackc/pgx/...":      "the planner opens no connection",
		"net":                           "the planner opens no connection",
		"github.com/hashicorp/go-hclog": "the planner has nothing to log",
		"log":                           "the planner has nothing to log",
		"math/rand":                     "the same arguments give the same plan",
	}},
	{"planner/render", map[string]string{
		module + "/sql/pg":         "show works offline",
		module + "/applier/...":    "show works without applying",
		module + "/runners/...":    "show works without running",
		"github.com/jackc/pgx/...": "show works offline",
		"net":                      "show works offline",
		module + "/cmd/...":        "colour is a matter for the command, which hands it in",
	}},
	{"applier", map[string]string{
		module + "/runners/...":         "long work is registered by apply and done by run",
		module + "/cmd/...":             "nothing imports the command",
		module + "/planner/render":      "the applier emits events and prints nothing",
		"github.com/hashicorp/go-hclog": "the applier returns values and errors",
		"github.com/spf13/cobra":        "only the command knows flags",
	}},
	{"applier/observe", map[string]string{
		module + "/applier":             "reading cannot write",
		"github.com/hashicorp/go-hclog": "observing returns values and errors",
	}},
	{"runners/...", map[string]string{
		module + "/spec":        "a runner starts from a struct; the command translates",
		module + "/planner/...": "a runner changes nothing that is declared",
		module + "/applier/...": "a runner changes nothing that is declared",
		module + "/cmd/...":     "nothing imports the command",
		"gopkg.in/yaml.v3":      "a runner reads no YAML",
	}},
}

var pureSQL = map[string]string{
	module + "/sql/pg":         "a statement cannot run itself",
	"github.com/jackc/pgx/...": "a statement cannot run itself",
	"net":                      "SQL is a value",
	"os/exec":                  "SQL is a value",
}

// direct says what may not be imported by a package itself, though what it imports
// may reach it.
var direct = []struct{ from, not, reason string }{
	{"planner", "os", "the planner reads no file and no environment"},
	{"planner", "os/exec", "the planner starts nothing"},
	{"planner/render", "os", "printing is a function of a value"},
	{"planner/render", "time", "printing reads no clock"},
	{"applier", module + "/spec", "a saved plan needs no YAML"},
	{"applier", "gopkg.in/yaml.v3", "a saved plan needs no YAML"},
	{"spec", "math/rand/v2", "the same YAML gives the same answer"},
}

func TestImports(t *testing.T) {
	known := packages(t, "{{.ImportPath}}")
	for _, rule := range rules {
		checked := 0
		for _, pkg := range known {
			if !covers(module+"/"+rule.from, pkg) {
				continue
			}
			checked++
			deps := list(t, "{{join .Deps \"\\n\"}}", pkg)
			for bad, reason := range rule.not {
				for _, dep := range deps {
					if covers(bad, dep) && dep != pkg {
						t.Errorf("%s depends on %s: %s", pkg, dep, reason)
					}
				}
			}
		}
		if checked == 0 {
			t.Errorf("rule for %s: there is no such package", rule.from)
		}
	}
	for _, rule := range direct {
		if slices.Contains(list(t, "{{join .Imports \"\\n\"}}", module+"/"+rule.from), rule.not) {
			t.Errorf("%s imports %s: %s", rule.from, rule.not, rule.reason)
		}
	}
}

// covers reports whether a pattern, with or without /..., stands for a package.
func covers(pattern, pkg string) bool {
	above, all := strings.CutSuffix(pattern, "/...")
	return pkg == above || all && strings.HasPrefix(pkg, above+"/")
}

func packages(t *testing.T, format string) []string {
	t.Helper()
	return list(t, format, module+"/...")
}

func list(t *testing.T, format, pattern string) []string {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-f", format, pattern)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", cmd, err)
	}
	return strings.Fields(string(out))
}

// Imports cannot show everything: time is imported for its types, and the clock is
// in there, too.
func TestPlannerReadsNothing(t *testing.T) {
	forbidden := map[string]string{
		"time.Now": "the time is an argument", "time.Since": "the time is an argument", "time.Until": "the time is an argument", "time.After": "the planner waits for nothing",
		"os.Getenv": "the environment is no argument", "os.LookupEnv": "the environment is no argument", "os.ReadFile": "the planner reads no file", "os.Open": "the planner reads no file",
		"rand.IntN": "the same arguments give the same plan", "rand.Intn": "the same arguments give the same plan", "rand.New": "the same arguments give the same plan",
		"fmt.Print": "the planner says nothing", "fmt.Println": "the planner says nothing", "fmt.Printf": "the planner says nothing",
	}
	seen := 0
	for _, dir := range []string{".", "render"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			seen++
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, imported := range file.Imports {
				if strings.HasPrefix(strings.Trim(imported.Path.Value, `"`), "math/rand") {
					t.Errorf("%s imports %s", name, imported.Path.Value)
				}
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if sel, ok := n.(*ast.SelectorExpr); ok {
					if x, ok := sel.X.(*ast.Ident); ok {
						if reason := forbidden[x.Name+"."+sel.Sel.Name]; reason != "" {
							t.Errorf("%s: %s.%s: %s", set.Position(n.Pos()), x.Name, sel.Sel.Name, reason)
						}
					}
				}
				return true
			})
		}
	}
	if seen < 20 {
		t.Errorf("only %d files were looked at", seen)
	}
}
