package render_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/planner/render"
	"github.com/skytools-go/skytools/spec"
)

var update = flag.Bool("update", false, "rewrite the expected output")

const cases = "../../testdata/plan"

var now = time.Date(2026, 8, 23, 9, 14, 7, 0, time.UTC)

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

// scene reads a case without its flags.
func scene(t *testing.T, name string) (*spec.Set, *planner.Live, planner.Options) {
	t.Helper()
	yaml, err := os.ReadFile(filepath.Join(cases, name, "spec.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	set, problems := spec.Parse(spec.Source{Name: "spec.yaml", Text: yaml})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	text, err := os.ReadFile(filepath.Join(cases, name, "live.json"))
	if err != nil {
		t.Fatal(err)
	}
	live := &planner.Live{}
	if err := json.Unmarshal(text, live); err != nil {
		t.Fatal(err)
	}
	return set, live, planner.Options{Now: now, Tool: "skytools test", Root: "spec.yaml"}
}

func plan(t *testing.T, name string) *planner.Plan {
	t.Helper()
	p, err := planner.Build(scene(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func drift(t *testing.T, name string) *planner.Drift {
	t.Helper()
	d, err := planner.FindDrift(scene(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func names(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(cases)
	if err != nil || len(entries) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// tags is a paint that can be read.
func tags(what, text string) string { return "<" + what + ">" + text + "</" + what + ">" }

func written(f func(io.Writer)) string {
	var out bytes.Buffer
	f(&out)
	return out.String()
}

func mustWrite(t *testing.T, f func(io.Writer) error) string {
	t.Helper()
	var out bytes.Buffer
	if err := f(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestFormats(t *testing.T) {
	for _, name := range []string{"absent", "absent-allowed", "switchover", "hostile-names", "unreachable", "nothing-to-do", "create-full", "other-owner", "spec-change", "where-change"} {
		t.Run(name, func(t *testing.T) {
			p, dir := plan(t, name), filepath.Join(cases, name)
			golden(t, filepath.Join(dir, "verbose.txt"), written(func(w io.Writer) {
				render.Text(w, p, render.TextOptions{Verbose: true, Root: "spec.yaml", Out: "my plan.json"})
			}))
			golden(t, filepath.Join(dir, "painted.txt"), written(func(w io.Writer) { render.Text(w, p, render.TextOptions{Paint: tags, Root: "spec.yaml"}) }))
			golden(t, filepath.Join(dir, "plan.md"), written(func(w io.Writer) { render.Markdown(w, p, 0) }))
			golden(t, filepath.Join(dir, "plan.github"), written(func(w io.Writer) { render.Github(w, p) }))
			golden(t, filepath.Join(dir, "plan.xml"), mustWrite(t, func(w io.Writer) error { return render.JUnitPlan(w, p) }))
			golden(t, filepath.Join(dir, "plan.sql"), written(func(w io.Writer) { render.SQL(w, p) }))
		})
	}
	p := plan(t, "absent")
	p.Changes = append(plan(t, "spec-change").Changes, p.Changes...)
	destructive := written(func(w io.Writer) { render.Text(w, p, render.TextOptions{OnlyDestructive: true}) })
	if strings.Contains(destructive, "~ queue/audit") || !strings.Contains(destructive, "- queue/legacy") {
		t.Errorf("only what is destructive:\n%s", destructive)
	}
}

func TestDriftFormats(t *testing.T) {
	for _, name := range []string{"drift", "drift-ignored", "spec-and-drift", "orphan", "unreachable", "unreadable", "nothing-to-do", "trigger-disabled", "archive-fails", "archive-restarted", "archive-healthy"} {
		t.Run(name, func(t *testing.T) {
			d, dir := drift(t, name), filepath.Join(cases, name)
			golden(t, filepath.Join(dir, "drift.txt"), written(func(w io.Writer) { render.DriftText(w, d, "spec.yaml", nil) }))
			golden(t, filepath.Join(dir, "drift.json"), mustWrite(t, func(w io.Writer) error { return render.JSON(w, d) }))
			golden(t, filepath.Join(dir, "drift.md"), written(func(w io.Writer) { render.DriftMarkdown(w, d, "spec.yaml") }))
			golden(t, filepath.Join(dir, "drift.github"), written(func(w io.Writer) { render.DriftGithub(w, d) }))
			golden(t, filepath.Join(dir, "drift.xml"), mustWrite(t, func(w io.Writer) error { return render.JUnitDrift(w, d) }))
			golden(t, filepath.Join(dir, "drift.prom"), written(func(w io.Writer) { render.DriftPrometheus(w, d) }))
		})
	}
	painted := written(func(w io.Writer) { render.DriftText(w, drift(t, "drift-ignored"), "spec.yaml", tags) })
	for _, want := range []string{"<bold>hub</bold>", "<update>~ queue/other</update>", "<drop>- consumer/audit/indexer</drop>", "<dim>applied 2026-08-02 by deploy@ci-14"} {
		if !strings.Contains(painted, want) {
			t.Errorf("no %s in\n%s", want, painted)
		}
	}
}

var counted = map[string]func(planner.Summary) int{
	`(\d+) to create`: func(s planner.Summary) int { return s.Create }, `(\d+) to update`: func(s planner.Summary) int { return s.Update },
	`(\d+) to recreate`: func(s planner.Summary) int { return s.Recreate }, `(\d+) to drop`: func(s planner.Summary) int { return s.Drop },
	`(\d+) to adopt`: func(s planner.Summary) int { return s.Adopt }, `(\d+) to forget`: func(s planner.Summary) int { return s.Forget },
	`(\d+) could not be observed`: func(s planner.Summary) int { return s.Unobserved }, `(\d+) steps?`: func(s planner.Summary) int { return s.Steps },
	`(\d+) objects? needs? approval`: func(s planner.Summary) int { return s.Blocked }, `(\d+) unchanged|(\d+) objects? on`: func(s planner.Summary) int { return s.Unchanged },
}

// The counts in the text are those of the JSON, and the symbols in the text are as
// many as the counts say.
func TestCountsAgree(t *testing.T) {
	for _, name := range names(t) {
		p := plan(t, name)
		line := render.Summary(p, "spec.yaml")
		for pattern, field := range counted {
			n := 0
			if m := regexp.MustCompile(pattern).FindStringSubmatch(line); m != nil {
				var err error
				if n, err = strconv.Atoi(strings.Join(m[1:], "")); err != nil {
					t.Fatal(err)
				}
			} else if pattern == `(\d+) unchanged|(\d+) objects? on` {
				t.Errorf("%s: %s", name, line)
			}
			if n != field(p.Summary) {
				t.Errorf("%s: %q says %d of %s, and the plan %d", name, line, n, pattern, field(p.Summary))
			}
		}
		if p.Empty() && p.Errors() == 0 && p.Summary.Unobserved == 0 != strings.HasPrefix(line, "No changes: ") {
			t.Errorf("%s: %s", name, line)
		}
		text := written(func(w io.Writer) { render.Text(w, p, render.TextOptions{Root: "spec.yaml", Verbose: true}) })
		for symbol, n := range map[string]int{
			"+": p.Summary.Create, "~": p.Summary.Update, "!": p.Summary.Recreate, "-": p.Summary.Drop + p.Summary.Forget, "=": p.Summary.Adopt, "?": p.Summary.Unobserved,
		} {
			if got := strings.Count(text, "\n  "+symbol+" "); got != n {
				t.Errorf("%s: %d lines begin with %s, want %d", name, got, symbol, n)
			}
		}
		if lines := strings.Split(strings.TrimSpace(text), "\n"); !slices.Contains(lines[max(0, len(lines)-3):], line) {
			t.Errorf("%s: the summary is not among the last three lines", name)
		}
		for l := range strings.Lines(text) {
			if strings.TrimRight(l, " \n") != strings.TrimRight(l, "\n") && !strings.HasPrefix(l, "      >") {
				t.Errorf("%s: a line ends in spaces: %q", name, l)
			}
		}
	}
}

// Markdown never exceeds the limit, stays text, and says when it leaves out.
func TestMarkdownFits(t *testing.T) {
	for _, name := range names(t) {
		p := plan(t, name)
		full := written(func(w io.Writer) { render.Markdown(w, p, 0) })
		for limit := 1; limit <= len(full)+100; limit += 1 + limit/40 {
			got := written(func(w io.Writer) { render.Markdown(w, p, limit) })
			if len(got) > limit || !utf8.ValidString(got) {
				t.Fatalf("%s: at most %d bytes: %d, valid %t", name, limit, len(got), utf8.ValidString(got))
			}
			if limit >= len(full) && got != full {
				t.Errorf("%s: it fits into %d bytes, and is cut", name, limit)
			}
			if limit > 200 && limit < len(full) && !strings.Contains(got, "left out to keep within "+strconv.Itoa(limit)+" bytes") {
				t.Errorf("%s: cut to %d bytes without a word:\n%s", name, limit, got)
			}
		}
		if strings.Count(full, "<details>") != strings.Count(full, "</details>") {
			t.Errorf("%s: folds do not close", name)
		}
		for l := range strings.Lines(full) {
			if strings.HasPrefix(l, "| ") && strings.Count(strings.ReplaceAll(l, `\|`, ""), "|") != 4 {
				t.Errorf("%s: a row of the table has other columns: %s", name, l)
			}
		}
	}
	if got := written(func(w io.Writer) { render.Markdown(w, plan(t, "mass-change"), 1200) }); !strings.HasPrefix(got, "### skytools plan: shop\n\n**6 to drop") {
		t.Errorf("what is cut begins with:\n%s", got)
	}
}

type junit struct {
	XMLName  xml.Name `xml:"testsuite"`
	Tests    int      `xml:"tests,attr"`
	Failures int      `xml:"failures,attr"`
	Errors   int      `xml:"errors,attr"`
	Cases    []struct {
		Class   string  `xml:"classname,attr"`
		Name    string  `xml:"name,attr"`
		Failure *string `xml:"failure"`
		Error   *string `xml:"error"`
	} `xml:"testcase"`
}

func readJUnit(t *testing.T, text string) junit {
	t.Helper()
	var s junit
	if err := xml.Unmarshal([]byte(text), &s); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	failures, errors := 0, 0
	for _, c := range s.Cases {
		if c.Failure != nil {
			failures++
		}
		if c.Error != nil {
			errors++
		}
		if c.Class == "" || c.Name == "" {
			t.Errorf("a case without a name: %+v", c)
		}
	}
	if s.Tests != len(s.Cases) || s.Failures != failures || s.Errors != errors {
		t.Errorf("it says %d tests, %d failures, %d errors, and has %d, %d, %d", s.Tests, s.Failures, s.Errors, len(s.Cases), failures, errors)
	}
	return s
}

func TestJUnit(t *testing.T) {
	for _, name := range names(t) {
		p, d := plan(t, name), drift(t, name)
		s := readJUnit(t, mustWrite(t, func(w io.Writer) error { return render.JUnitPlan(w, p) }))
		if s.Failures != len(p.Changes)-p.Summary.Unobserved || s.Errors != p.Summary.Unobserved+p.Errors() {
			t.Errorf("%s: %d failures, %d errors for %+v", name, s.Failures, s.Errors, p.Summary)
		}
		s = readJUnit(t, mustWrite(t, func(w io.Writer) error { return render.JUnitDrift(w, d) }))
		if s.Failures != len(d.Drifted) || s.Errors != len(d.Unchecked) || s.Tests != len(d.Checked)+len(d.Unchecked) {
			t.Errorf("%s: %d tests, %d failures, %d errors for drift", name, s.Tests, s.Failures, s.Errors)
		}
	}
}

func TestDriftCounts(t *testing.T) {
	for _, name := range names(t) {
		d := drift(t, name)
		if len(d.Drifted)+len(d.Ignored)+d.Matching != len(d.Checked) {
			t.Errorf("%s: %d drifted, %d ignored and %d matching are not %d", name, len(d.Drifted), len(d.Ignored), d.Matching, len(d.Checked))
		}
		line := render.DriftSummary(d)
		if strings.HasPrefix(line, "No drift: ") != (len(d.Drifted)+len(d.Unchecked) == 0) {
			t.Errorf("%s: %s", name, line)
		}
		if m := regexp.MustCompile(`(\d+) objects? match`).FindStringSubmatch(line); m == nil || m[1] != strconv.Itoa(d.Matching) {
			t.Errorf("%s: %s, and %d match", name, line, d.Matching)
		}
	}
}

// The exposition format: HELP and TYPE first, then samples, each name and label
// well-formed. Source: Prometheus documentation, text-based exposition format.
func TestPrometheus(t *testing.T) {
	sample := regexp.MustCompile(`^[a-z_]+\{([a-z_]+="([^"\\\n]|\\\\|\\"|\\n)*",?)*\} \d+$`)
	for _, name := range names(t) {
		d := drift(t, name)
		text := written(func(w io.Writer) { render.DriftPrometheus(w, d) })
		typed := map[string]bool{}
		drifted := 0
		for l := range strings.Lines(text) {
			l = strings.TrimSuffix(l, "\n")
			words := strings.Fields(l)
			switch {
			case strings.HasPrefix(l, "# HELP "):
			case strings.HasPrefix(l, "# TYPE "):
				typed[words[2]] = true
			case !sample.MatchString(l):
				t.Errorf("%s: %q is no sample", name, l)
			case !typed[l[:strings.Index(l, "{")]]:
				t.Errorf("%s: %q comes before its type", name, l)
			case strings.HasPrefix(l, "skytools_drifted{") && strings.HasSuffix(l, " 1"):
				drifted++
			}
		}
		if drifted != len(d.Drifted) || !strings.HasSuffix(text, "\n") {
			t.Errorf("%s: %d drifted samples, want %d", name, drifted, len(d.Drifted))
		}
	}
}

// hostileNames plans and compares objects whose names would write on a terminal,
// break out of a comment, a table, a command or a fence, or turn the text around.
func hostileNames(t *testing.T) (*planner.Plan, *planner.Drift) {
	t.Helper()
	evil := "a\x1b[31m\n-- x\ndrop table x;\r::error::x\n|cell|\u202ertl\u2028```<b>&amp; `code` *x* [l](u) \u009b"
	yaml := fmt.Sprintf("skytools: 1\ncluster: %q\ndatabases: {hub: {dsn: service=hub}}\nqueues: {%q: {on: hub, consumers: {%q: , gone: {state: absent}}}}\n", evil, evil, evil+"/"+evil)
	set, problems := spec.Parse(spec.Source{Name: "spec.yaml", Text: []byte(yaml)})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	row := func(v any) json.RawMessage {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	queue := map[string]any{"name": evil, "ticker_max_lag": 1, "ticker_max_count": 5, "ticker_idle_period": 60, "rotation_period": 7200, "per_tx_limit": nil}
	unmanaged := map[string]any{"name": evil + "2", "ticker_max_lag": 1, "ticker_max_count": 5, "ticker_idle_period": 60, "rotation_period": 7200}
	record := func(address string, s planner.State) planner.Applied {
		return planner.Applied{Address: address, Cluster: evil, Spec: s, At: now, By: evil, Revision: evil}
	}
	live := &planner.Live{Format: planner.LiveFormat, At: now, Databases: map[string]*planner.Database{"hub": {
		Name: evil, Server: "17.5",
		Rows: map[string][]json.RawMessage{
			"queue": {row(queue), row(unmanaged)}, "consumer": {row(map[string]any{"queue": evil, "name": "gone", "members": []string{}})},
			"schema": {row(map[string]any{"name": "skytools", "extension": "1"}), row(map[string]any{"name": "pgq", "extension": "3.5"})},
		},
		Unreadable: map[string]string{"capture": "permission denied for " + evil},
		Applied:    []planner.Applied{record("queue/"+evil+"@hub", planner.State{"exists": true, "ticker_max_lag": 2.0}), record("consumer/"+evil+"/lost@hub", planner.State{"exists": true})},
	}}}
	o := planner.Options{Now: now, Tool: "skytools test", Root: evil}
	p, err := planner.Build(set, live, o)
	if err != nil {
		t.Fatal(err)
	}
	d, err := planner.FindDrift(set, live, o)
	if err != nil {
		t.Fatal(err)
	}
	if p.Summary.Update == 0 || p.Summary.Create == 0 || p.Summary.Drop == 0 || len(d.Drifted) < 2 || len(p.Unmanaged) == 0 {
		t.Fatalf("this test plans too little: %+v", p.Summary)
	}
	return p, d
}

func TestHostileNames(t *testing.T) {
	p, d := hostileNames(t)
	for what, text := range map[string]string{
		"text": written(func(w io.Writer) { render.Text(w, p, render.TextOptions{Root: p.Spec.Root, Out: "o\x1b.json"}) }),
		"verbose text": written(func(w io.Writer) {
			render.Text(w, p, render.TextOptions{Root: p.Spec.Root, Verbose: true, Paint: tags})
		}),
		"markdown":       written(func(w io.Writer) { render.Markdown(w, p, 0) }),
		"github":         written(func(w io.Writer) { render.Github(w, p) }),
		"summary":        render.Summary(p, p.Spec.Root),
		"drift text":     written(func(w io.Writer) { render.DriftText(w, d, p.Spec.Root, tags) }),
		"drift markdown": written(func(w io.Writer) { render.DriftMarkdown(w, d, p.Spec.Root) }),
		"drift github":   written(func(w io.Writer) { render.DriftGithub(w, d) }),
	} {
		for _, r := range text {
			if r != '\n' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' {
				t.Errorf("%s holds %q:\n%q", what, r, text)
				break
			}
		}
		if !strings.Contains(text, `\x1b[31m`) && !strings.Contains(text, `\\x1b\[31m`) && what != "summary" {
			t.Errorf("%s does not show what the name holds:\n%s", what, text)
		}
		for l := range strings.Lines(text) {
			for _, start := range []string{"drop table x;", "-- x", "::error::x", "|cell|"} {
				if strings.HasPrefix(l, start) {
					t.Errorf("%s: a name has broken out: %q", what, l)
				}
			}
			if strings.HasSuffix(what, "github") && !regexp.MustCompile(`^::(error|warning|notice) (file=[^,]+,line=\d+,col=\d+,)?title=[^:,\n]*::.*\n$`).MatchString(l) {
				t.Errorf("%s: %q is no workflow command", what, l)
			}
		}
	}
	readJUnit(t, mustWrite(t, func(w io.Writer) error { return render.JUnitPlan(w, p) }))
	readJUnit(t, mustWrite(t, func(w io.Writer) error { return render.JUnitDrift(w, d) }))
	var back planner.Plan
	if err := json.Unmarshal([]byte(mustWrite(t, func(w io.Writer) error { return render.JSON(w, p) })), &back); err != nil || back.Cluster != p.Cluster {
		t.Errorf("JSON: %v", err)
	}
	for l := range strings.Lines(written(func(w io.Writer) { render.SQL(w, p) })) {
		if strings.HasPrefix(l, "-- ") && strings.ContainsFunc(strings.TrimSuffix(l, "\n"), unicode.IsControl) {
			t.Errorf("SQL: a comment holds a control character: %q", l)
		}
	}
	if n, want := strings.Count(written(func(w io.Writer) { render.SQL(w, p) }), "\ncommit;\n"), doing(p); n != want {
		t.Errorf("SQL: %d transactions, want %d", n, want)
	}
}

// doing counts the steps that run anything.
func doing(p *planner.Plan) int {
	n := 0
	for _, s := range p.Steps {
		if len(s.Do) > 0 && !s.Alone { // which cannot be in one
			n++
		}
	}
	return n
}

// The SQL outside comments and literals is that of the steps, in their order.
func TestSQL(t *testing.T) {
	for _, name := range names(t) {
		p := plan(t, name)
		text := written(func(w io.Writer) { render.SQL(w, p) })
		at := 0
		for _, s := range p.Steps {
			for _, stmt := range s.Do {
				i := strings.Index(text[at:], "\n"+stmt.Pasteable()+"\n")
				if i < 0 {
					t.Fatalf("%s: %s is missing, or not in its place: %s", name, s.ID, stmt.Pasteable())
				}
				at += i
			}
		}
		if strings.Count(text, "\nbegin;\n") != doing(p) || strings.Count(text, "\ncommit;\n") != doing(p) {
			t.Errorf("%s: not one transaction for each step", name)
		}
	}
}

func TestProblems(t *testing.T) {
	_, problems := spec.Parse(spec.Source{Name: "a,b:c.yaml", Text: []byte("skytools: 1\ncluster: shop\nqueus: {}\nqueues: {\"100%\\n\": {on: hub}}\n")})
	got := written(func(w io.Writer) { render.GithubProblems(w, problems) })
	want := "::error file=a%2Cb%3Ac.yaml,line=3,col=1,title=unknown-field::unknown field \"queus\"; did you mean queues?\n" +
		"::error file=a%2Cb%3Ac.yaml,line=4,col=25,title=unknown-database::queue \"100%25\\n\": database \"hub\" is not declared\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A shell reads the printed approval back as it was meant.
func TestPrintedApprovalsAreQuoted(t *testing.T) {
	text := written(func(w io.Writer) { render.Text(w, plan(t, "hostile-names"), render.TextOptions{}) })
	if want := `--allow 'drops-consumer:consumer/it'\''s "quoted" \ and dotted.queue @home/*@hub'`; !strings.Contains(text, want) {
		t.Errorf("no %s in\n%s", want, text)
	}
}
