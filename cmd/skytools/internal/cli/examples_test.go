package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/cmd/skytools/internal/term"
	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

const examplesDir = "../../../../examples"

var envName = regexp.MustCompile(`\{env: ([A-Z0-9_]+)\}`)

// TestExamples plans, applies and checks for drift every topology in examples. The
// first database that a topology names is its root and gets tables.sql, or pgbench's
// tables where there is none; another one, named by SOUTH_DSN, gets south.sql.
func TestExamples(t *testing.T) {
	dirs, err := filepath.Glob(examplesDir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, dir := range dirs {
		files, _ := filepath.Glob(dir + "/*.yaml")
		var text []byte
		for _, f := range files {
			part, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			text = append(text, part...)
		}
		if !bytes.Contains(text, []byte("skytools: 1")) {
			continue // not a topology: units, manifests
		}
		seen++
		t.Run(filepath.Base(dir), func(t *testing.T) {
			for i, m := range envName.FindAllSubmatch(text, -1) {
				db := sandboxtest.Database(t)
				t.Setenv(string(m[1]), db.DSN)
				if i > 0 {
					if own, err := os.ReadFile(dir + "/" + strings.ToLower(strings.TrimSuffix(string(m[1]), "_DSN")) + ".sql"); err == nil {
						db.Script(t, string(own))
					}
					continue
				}
				if tables, err := os.ReadFile(dir + "/tables.sql"); err == nil {
					db.Script(t, string(tables))
				} else if err := fillBench(t.Context(), db.DSN, 1, func(float64) {}); err != nil {
					t.Fatal(err)
				}
			}
			for _, args := range [][]string{{"validate"}, {"plan"}, {"apply", "--yes"}, {"plan", "--exit-code"}, {"drift"}, {"status", "-s"}} {
				var out bytes.Buffer
				if code := Main(append(args, dir), term.Stdio{In: &out, Out: &out, Err: &out, Env: os.LookupEnv}); code != 0 {
					t.Fatalf("skytools %v: exit %d\n%s", args, code, out.String())
				}
			}
		})
	}
	if seen < 2 {
		t.Errorf("%d topologies found in %s", seen, examplesDir)
	}
}

// TestSchemaIsFresh keeps the checked-in JSON Schema, which the examples point
// editors to, the one that the program prints.
func TestSchemaIsFresh(t *testing.T) {
	got, err := os.ReadFile(examplesDir + "/skytools.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(spec.JSONSchema()), string(got)); diff != "" {
		t.Errorf("renew it with: go run ./cmd/skytools schema > examples/skytools.schema.json\n%s", diff)
	}
}
