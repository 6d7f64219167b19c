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
			fmt.Fprintln(w, paint.do("bold", node))
		}
		head := "~ " + x.Address.Short()
		if x.Gone {
			head = "- " + x.Address.Short()
		}
		fmt.Fprintf(w, "  %s%s%s\n", paint.do("update", head), strings.Repeat(" ", max(2, 58-len(head))), paint.do("dim", appliedBy(x)))
		if x.Gone {
			fmt.Fprintf(w, "      has gone from the server\n")
		}
		for _, f := range x.Fields {
			line := fmt.Sprintf("      %-19s %s -> %s", f.Path, value(f.Path, f.Before), value(f.Path, f.After))
			fmt.Fprintf(w, "%s%s%s\n", line, strings.Repeat(" ", max(2, 58-len(line))), paint.do("dim", "now "+value(f.Path, f.After)+" on the server"))
		}
	}
	for _, u := range d.Unchecked {
		fmt.Fprintf(w, "%s %s could not be checked: %s\n", paint.do("unknown", "?"), u.Address, u.Why)
		if u.Try != "" {
			fmt.Fprintf(w, "      try  %s\n", u.Try)
		}
	}
	if len(d.Ignored) > 0 {
		fmt.Fprintf(w, "Known drift, ignored for now: %s.\n", count(len(d.Ignored), "object"))
	}
	if d.Unapplied > 0 {
		fmt.Fprintf(w, "YAML that was not applied yet is no drift: %s for that reason (skytools plan %s).\n", differ(d.Unapplied), root)
	}
	fmt.Fprintln(w, DriftSummary(d))
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
		parts = append(parts, fmt.Sprintf("%s %s -> %s", f.Path, value(f.Path, f.Before), value(f.Path, f.After)))
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
	fmt.Fprintf(w, "**%s**\n", DriftSummary(d))
	if len(d.Drifted) > 0 {
		fmt.Fprintf(w, "\n| object | field | applied | now |\n|---|---|---|---|\n")
	}
	for _, x := range d.Drifted {
		if x.Gone {
			fmt.Fprintf(w, "| %s | | | gone |\n", cell(x.Address.String()))
		}
		for _, f := range x.Fields {
			fmt.Fprintf(w, "| %s | %s | %s | %s |\n", cell(x.Address.String()), cell(f.Path), cell(value(f.Path, f.Before)), cell(value(f.Path, f.After)))
		}
	}
	for _, u := range d.Unchecked {
		fmt.Fprintf(w, "\nNot checked: %s: %s\n", cell(u.Address), cell(u.Why))
	}
}

// cell makes text safe inside a table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "`", "'", "<", "&lt;").Replace(text)
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
