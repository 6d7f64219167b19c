package render

import (
	"fmt"
	"io"
	"strings"

	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/spec"
)

// DriftText writes a drift report for people.
func DriftText(w io.Writer, d *planner.Drift, root string, paint Paint) {
	node := ""
	for _, x := range d.Drifted {
		if x.Address.Database != node {
			node = x.Address.Database
			say(w, "%s\n", paint.do("bold", node))
		}
		drifted(w, x, paint)
	}
	for _, u := range d.Unchecked {
		say(w, "%s %s could not be checked: %s\n", paint.do("unknown", "?"), u.Address, u.Why)
		if u.Try != "" {
			say(w, "      try  %s\n", u.Try)
		}
	}
	if len(d.Drifted)+len(d.Unchecked) > 0 {
		say(w, "\n")
	}
	if len(d.Ignored) > 0 {
		say(w, "Known drift, ignored for now: %s.\n", count(len(d.Ignored), "object"))
	}
	if d.Unapplied > 0 {
		say(w, "YAML that was not applied yet is no drift: %s for that reason (skytools plan %s).\n", differ(d.Unapplied), ink(shellArg(root)))
	}
	say(w, "%s\n", DriftSummary(d))
}

// drifted writes one object: what was applied, and what is there now.
func drifted(w io.Writer, x planner.Drifted, paint Paint) {
	head, colour := "~ "+x.Address.Short(), "update"
	if x.Gone {
		head, colour = "- "+x.Address.Short(), "drop"
	}
	say(w, "  %s%s%s\n", paint.do(colour, head), gap("  "+head), paint.do("dim", appliedBy(x)))
	if x.Gone {
		say(w, "      has gone from the server\n")
	}
	for _, f := range x.Fields {
		if hidden(f.Path) {
			say(w, "      function %s was changed\n", strings.TrimPrefix(f.Path, "functions."))
			continue
		}
		say(w, "      %-19s %s\n", f.Path, change(f))
	}
}

func differ(n int) string {
	if n == 1 {
		return "1 object differs"
	}
	return fmt.Sprintf("%d objects differ", n)
}

func appliedBy(x planner.Drifted) string {
	text := "applied " + x.Recorded.At.Format("2006-01-02") + " by " + x.Recorded.By
	if x.Revision != "" {
		text += " (" + x.Revision + ")"
	}
	return text
}

func driftLine(x planner.Drifted) string {
	if x.Gone {
		return x.Address.String() + " has gone; " + appliedBy(x)
	}
	var parts []string
	for _, f := range x.Fields {
		parts = append(parts, f.Path+" "+change(f))
	}
	return x.Address.String() + ": " + strings.Join(parts, ", ") + "; " + appliedBy(x)
}

// DriftSummary is a drift report in one line.
func DriftSummary(d *planner.Drift) string {
	if len(d.Drifted) == 0 && len(d.Unchecked) == 0 {
		return fmt.Sprintf("No drift: %s.", match(d.Matching))
	}
	parts := []string{fmt.Sprintf("%s drifted", count(len(d.Drifted), "object"))}
	if len(d.Unchecked) > 0 {
		parts = append(parts, fmt.Sprintf("%d could not be checked", len(d.Unchecked)))
	}
	return strings.Join(append(parts, match(d.Matching)), ", ") + "."
}

func match(n int) string {
	if n == 1 {
		return "1 object matches"
	}
	return fmt.Sprintf("%d objects match", n)
}

// DriftGithub writes a drift report as workflow commands.
func DriftGithub(w io.Writer, d *planner.Drift) {
	for _, x := range d.Drifted {
		annotate(w, "error", spec.Pos{}, "drift", driftLine(x))
	}
	for _, u := range d.Unchecked {
		annotate(w, "warning", spec.Pos{}, "not checked", u.Address+": "+u.Why)
	}
	annotate(w, "notice", spec.Pos{}, "drift", DriftSummary(d))
}

// DriftMarkdown writes a drift report for a comment or summary page.
func DriftMarkdown(w io.Writer, d *planner.Drift, root string) {
	say(w, "**%s**\n", ink(prose(DriftSummary(d))))
	if len(d.Drifted) > 0 {
		say(w, "\n| object | field | applied | now |\n|---|---|---|---|\n")
	}
	for _, x := range d.Drifted {
		object := cell(code(x.Address.String()))
		if x.Gone {
			say(w, "| %s | | there | gone |\n", ink(object))
		}
		for _, f := range x.Fields {
			before, after := sides(f)
			say(w, "| %s | %s | %s | %s |\n", ink(object), ink(cell(prose(f.Path))), ink(cell(prose(before))), ink(cell(prose(after))))
		}
	}
	for _, u := range d.Unchecked {
		say(w, "\nNot checked: %s: %s\n", ink(code(u.Address)), ink(prose(u.Why)))
	}
	if d.Unapplied > 0 {
		say(w, "\nYAML that was not applied yet is no drift: %s for that reason (%s).\n", differ(d.Unapplied), ink(code("skytools plan "+shellArg(root))))
	}
}

// DriftPrometheus writes a drift report for a textfile collector.
// Source: Prometheus documentation, text-based exposition format.
func DriftPrometheus(w io.Writer, d *planner.Drift) {
	fmt.Fprintln(w, "# HELP skytools_drifted Whether a managed object differs from what was last applied.")
	fmt.Fprintln(w, "# TYPE skytools_drifted gauge")
	drifted := map[planner.Address]bool{}
	for _, x := range d.Drifted {
		drifted[x.Address] = true
	}
	label := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	for _, a := range d.Checked {
		n := 0
		if drifted[a] {
			n = 1
		}
		fmt.Fprintf(w, "skytools_drifted{cluster=\"%s\",address=\"%s\"} %d\n", label.Replace(d.Cluster), label.Replace(a.String()), n)
	}
	fmt.Fprintln(w, "# HELP skytools_drift_unchecked How many objects or databases could not be checked.")
	fmt.Fprintln(w, "# TYPE skytools_drift_unchecked gauge")
	fmt.Fprintf(w, "skytools_drift_unchecked{cluster=\"%s\"} %d\n", label.Replace(d.Cluster), len(d.Unchecked))
}
