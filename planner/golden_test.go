package planner_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/planner/render"
	"github.com/skytools-go/skytools/spec"
)

var update = flag.Bool("update", false, "rewrite the expected output")

const testdata = "../testdata"

// now is when every test plans.
var now = time.Date(2026, 8, 23, 9, 14, 7, 0, time.UTC)

// golden compares got with a file.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s\nIf this is right, run go test -update.", file, diff)
	}
}

// A planCase is a directory of testdata/plan. By hand:
//
//	SKYTOOLS_NOW=2026-08-23T09:14:07Z skytools plan --live live.json $(cat args) spec.yaml
type planCase struct {
	name    string
	set     *spec.Set
	live    *planner.Live
	options planner.Options
}

func planCases(t *testing.T) []planCase {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(testdata, "plan", "*"))
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	var all []planCase
	for _, dir := range dirs {
		all = append(all, readCase(t, dir))
	}
	return all
}

func planCaseOf(t *testing.T, name string) planCase {
	t.Helper()
	return readCase(t, filepath.Join(testdata, "plan", name))
}

func readCase(t *testing.T, dir string) planCase {
	t.Helper()
	c := planCase{name: filepath.Base(dir), options: options()}
	c.set = readSpec(t, filepath.Join(dir, "spec.yaml"))
	c.live = readLive(t, filepath.Join(dir, "live.json"))
	args, err := os.ReadFile(filepath.Join(dir, "args"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	words := strings.Fields(string(args))
	for len(words) > 0 {
		flag := words[0]
		if words = words[1:]; flag == "--all" {
			c.options.All = true
			continue
		}
		value := words[0]
		words = words[1:]
		switch flag {
		case "--only":
			c.options.Only = append(c.options.Only, value)
		case "--node":
			c.options.Nodes = append(c.options.Nodes, value)
		case "--allow":
			a, err := planner.ParseApproval(value)
			if err != nil {
				t.Fatal(err)
			}
			c.options.Allow = append(c.options.Allow, a)
		default:
			t.Fatalf("%s: this test does not know %s", dir, flag)
		}
	}
	return c
}

func options() planner.Options {
	return planner.Options{Now: now, Tool: "skytools test", Root: "spec.yaml"}
}

// readSpec parses one file, called as in its directory.
func readSpec(t *testing.T, file string) *spec.Set {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return parseSpec(t, string(text))
}

func parseSpec(t *testing.T, text string) *spec.Set {
	t.Helper()
	set, problems := spec.ParseIn(func(string) fs.FS { return os.DirFS(filepath.Join(testdata, "kind")) }, spec.Source{Name: "spec.yaml", Text: []byte(text)})
	if len(problems) > 0 {
		t.Fatalf("%v\nin:\n%s", problems, text)
	}
	return set
}

func readLive(t *testing.T, file string) *planner.Live {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	live := &planner.Live{}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(live); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return live
}

func (c planCase) build(t *testing.T) *planner.Plan {
	t.Helper()
	p, err := planner.Build(c.set, c.live, c.options)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What a person sees, and what a machine reads, for each situation.
func TestPlans(t *testing.T) {
	for _, c := range planCases(t) {
		t.Run(c.name, func(t *testing.T) {
			p := c.build(t)
			dir := filepath.Join(testdata, "plan", c.name)
			var text, asJSON bytes.Buffer
			render.Text(&text, p, render.TextOptions{Root: "spec.yaml"})
			golden(t, filepath.Join(dir, "plan.txt"), text.String())
			if err := render.JSON(&asJSON, p); err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join(dir, "plan.json"), withoutScripts(t, asJSON.Bytes()))
		})
	}
}

// withoutScripts leaves out what changes with every edit of the schemas that apply
// installs: their text, the digests of their functions, and the plan's own.
func withoutScripts(t *testing.T, text []byte) string {
	t.Helper()
	var tree map[string]any
	if err := json.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	if !cutScripts(tree) {
		return string(text)
	}
	tree["digest"] = "sha256:(varies)"
	var out bytes.Buffer
	if err := render.JSON(&out, tree); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func cutScripts(v any) (cut bool) {
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			text, isText := inner.(string)
			switch {
			case strings.HasPrefix(key, "functions."):
				delete(v, key)
				cut = true
			case key == "sql" && isText && strings.Count(text, "\n") > 40:
				v[key] = "(a script)"
				cut = true
			case key == "fields":
				fields := slices.DeleteFunc(inner.([]any), func(f any) bool {
					return strings.HasPrefix(f.(map[string]any)["path"].(string), "functions.")
				})
				cut = len(fields) < len(inner.([]any)) || cut
				v[key] = fields
			default:
				cut = cutScripts(inner) || cut
			}
		}
	case []any:
		for _, inner := range v {
			cut = cutScripts(inner) || cut
		}
	}
	return cut
}
