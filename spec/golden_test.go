package spec

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the expected output")

const testdata = "../testdata"

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

// badCases are the names of the cases of bad YAML: a file, or a directory of files.
func badCases(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(testdata, "bad"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".yaml"); ok || e.IsDir() {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		t.Fatal("there are no cases")
	}
	return names
}

// badSources reads a case, its files called as they are called in its directory.
func badSources(t *testing.T, name string) []Source {
	t.Helper()
	path := filepath.Join(testdata, "bad", name)
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		path += ".yaml"
	}
	sources, err := collect([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	for i := range sources {
		sources[i].Name = filepath.Base(sources[i].Name)
	}
	return sources
}

// beside is the directory of a case.
func beside(name string) func(string) fs.FS {
	return func(string) fs.FS { return os.DirFS(filepath.Join(testdata, "bad", name)) }
}

// What a person sees for every kind of mistake, and that each is reported in the
// place where it was made.
func TestBad(t *testing.T) {
	for _, name := range badCases(t) {
		t.Run(name, func(t *testing.T) {
			sources := badSources(t, name)
			_, problems := ParseIn(beside(name), sources...)
			if len(problems) == 0 {
				t.Fatal("the YAML is bad, and no problem was found")
			}
			golden(t, filepath.Join(testdata, "bad", name+".txt"), problems.Error()+"\n")
			if code := problems.ExitCode(); code != 3 {
				t.Errorf("exit code %d, want 3", code)
			}
			again, problems2 := ParseIn(beside(name), sources...)
			if again == nil || problems2.Error() != problems.Error() {
				t.Error("parsing it again found other problems")
			}
			if strings.Contains(problems.Error(), "hunter2") {
				t.Error("a password is printed")
			}
		})
	}
}

func TestEveryRuleHasACase(t *testing.T) {
	found := map[string]bool{}
	for _, name := range badCases(t) {
		_, problems := ParseIn(beside(name), badSources(t, name)...)
		for _, p := range problems {
			found[p.Rule] = true
		}
	}
	rules := ruleNames(t)
	if len(rules) < 40 {
		t.Errorf("only %d rules were found in the code: is this test looking at the right calls?", len(rules))
	}
	for _, rule := range rules {
		if !found[rule] {
			t.Errorf("rule %s occurs in no case: add testdata/bad/%s.yaml", rule, rule)
		}
		delete(found, rule)
	}
	for rule := range found {
		t.Errorf("rule %s occurs in a case and was not found in the code", rule)
	}
}

// ruleNames are the rules that the code of the package can report: the second
// argument of what reports, and the Rule of a Problem.
func ruleNames(t *testing.T) []string {
	t.Helper()
	rules := map[string]bool{"unknown-database": true, "unknown-node": true} // made from Field.Refers
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			var rule ast.Expr
			switch n := n.(type) {
			case *ast.CallExpr:
				if len(n.Args) >= 3 && slices.Contains([]string{"fail", "failNear", "report", "problem", "say"}, calledName(n)) {
					rule = n.Args[1]
				}
			case *ast.KeyValueExpr:
				if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Rule" {
					rule = n.Value
				}
			}
			if text, ok := rule.(*ast.BasicLit); ok {
				s, err := strconv.Unquote(text.Value)
				if err != nil {
					t.Fatal(err)
				}
				rules[s] = true
			}
			return true
		})
	}
	var names []string
	for r := range rules {
		names = append(names, r)
	}
	slices.Sort(names)
	return names
}

func calledName(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.SelectorExpr:
		return f.Sel.Name
	case *ast.Ident:
		return f.Name
	}
	return ""
}

func TestTooLargeFile(t *testing.T) {
	_, problems := Parse(Source{"big.yaml", []byte("# " + strings.Repeat("x", maxFile))})
	if len(problems) != 1 || problems[0].Rule != "too-large" {
		t.Errorf("got %v, want one problem too-large", problems)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "holds no .yaml file") {
		t.Errorf("an empty directory: %v", err)
	}
	if _, _, err := Load(filepath.Join(dir, "missing")); err == nil || !strings.Contains(err.Error(), "no such file or directory") {
		t.Errorf("a missing path: %v", err)
	}
	write("a.yaml", "skytools: 1\ncluster: shop\ndatabases:\n  hub: {dsn: service=hub}\n")
	write("b.yml", "queues:\n  orders: {on: hub}\n")
	write(".hidden.yaml", "this is: [not read\n")
	write("notes.txt", "this is: [not read\n")
	if err := os.Mkdir(filepath.Join(dir, "deeper.yaml"), 0o755); err != nil {
		t.Fatal(err)
	}
	set, problems, err := Load(dir, filepath.Join(dir, "a.yaml")) // a file named twice is read once
	if err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	want := []string{filepath.ToSlash(filepath.Join(dir, "a.yaml")), filepath.ToSlash(filepath.Join(dir, "b.yml"))}
	if diff := cmp.Diff(want, set.Files); diff != "" {
		t.Error(diff)
	}
	if set.Database("hub") == nil || set.Queues.Get("orders") == nil {
		t.Error("the files were not merged")
	}
}

// The complete example parses, and each of its parts arrives.
func TestComplete(t *testing.T) {
	set, problems, err := Load(filepath.Join(testdata, "spec", "complete.yaml"))
	if err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	shop := set.Queues.Get("shop")
	if shop == nil || !shop.Cascade() || shop.Home() != "hub" || shop.Root().Name != "hub" {
		t.Fatalf("cascade shop: %+v", shop)
	}
	if got := shop.Tables.Get("public.order_items").On["report"]; got.Where != "region = 'eu'" || got.As != "eu.order_items" {
		t.Errorf("order_items on report: %+v", got)
	}
	if !shop.Tables.Get("public.log_*").Pattern() || shop.Tables.Get("public.orders").Pattern() {
		t.Error("patterns are not told apart")
	}
	audit := set.Queues.Get("audit")
	if audit.TickerMaxCount != 2000 || audit.TickerMaxLag.String() != "1s" || audit.TickerIdlePeriod.String() != "1m" {
		t.Errorf("queue audit: %+v", audit)
	}
	if got := audit.Capture.Get("public.invoices").Args(); !slices.Equal(got, []string{"ignore=updated_at", "when=status <> 'draft'"}) {
		t.Errorf("capture arguments: %q", got)
	}
	if audit.Consumers.Get("old_report").State != Absent || len(audit.Consumers.Get("indexer").Members) != 2 {
		t.Error("consumers of audit")
	}
	if len(set.Allow) != 1 || len(set.Ignore) != 1 {
		t.Errorf("%d allow, %d ignore", len(set.Allow), len(set.Ignore))
	}
	if got := set.Database("edge1").Location; got != "host=10.0.0.2 dbname=shop" {
		t.Errorf("location: %q", got)
	}
	for _, name := range []string{"nothing", "", "z"} {
		if set.Database(name) != nil {
			t.Errorf("database %q is not declared", name)
		}
	}
}

// The example uses every key that there is, so that the tests on it miss none.
func TestCompleteUsesEveryKey(t *testing.T) {
	text, err := fs.ReadFile(os.DirFS(testdata), "spec/complete.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range Topics() {
		if i := strings.LastIndex(topic, "."); i >= 0 && !strings.HasPrefix(topic, "allow.") && !strings.Contains(string(text), topic[i+1:]+":") {
			t.Errorf("testdata/spec/complete.yaml does not use %s", topic)
		}
	}
}
