package render

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/skytools-go/skytools/planner"
)

// TextOptions choose what the text of a plan shows.
type TextOptions struct {
	Paint           Paint
	Verbose         bool // the SQL, and what is not managed
	OnlyDestructive bool // only what drops or recreates
	Root            string
	Out             string // the file that the plan was saved to
}

// Text writes a plan the way people review it: grouped by database, the approvals
// and the summary last.
func Text(w io.Writer, p *planner.Plan, o TextOptions) {
	header(w, p)
	for _, node := range nodes(p) {
		wrote := false
		for _, c := range p.Changes {
			if c.Node != node || o.OnlyDestructive && c.Action != planner.Drop && c.Action != planner.Recreate && len(c.Hazards) == 0 {
				continue
			}
			if !wrote {
				fmt.Fprintf(w, "\n%s\n", o.Paint.do("bold", node))
				wrote = true
			}
			change(w, p, c, o)
		}
	}
	leftAlone(w, p, o)
	diagnostics(w, p, o)
	needed(w, p, o)
	fmt.Fprintln(w)
	fmt.Fprintln(w, Summary(p, o.Root))
	if p.Scope.LeftOut > 0 || len(p.Scope.Added) > 0 {
		fmt.Fprintln(w, scope(p))
	}
	if !p.Complete {
		fmt.Fprintln(w, o.Paint.do("unknown", "This plan is incomplete: not everything that is declared was looked at."))
	}
	if o.Out != "" && !p.Empty() {
		fmt.Fprintf(w, "Saved %s, digest %s. Apply exactly this with: skytools apply %s\n", o.Out, p.ShortDigest(), o.Out)
	}
}

func header(w io.Writer, p *planner.Plan) {
	var read, lost []string
	for _, n := range p.Nodes {
		if n.Reached {
			read = append(read, n.Name)
		} else {
			lost = append(lost, n.Name)
		}
	}
	fmt.Fprintf(w, "Read %s. Observed %s at %s, read-only.\n", count(p.Spec.Files, "file"), orNobody(read), p.MadeAt.Format("2006-01-02 15:04:05Z"))
	if len(lost) > 0 {
		fmt.Fprintf(w, "Could not observe %s.\n", strings.Join(lost, ", "))
	}
}

func orNobody(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}

// nodes lists the databases with changes, in the order of their first step.
func nodes(p *planner.Plan) []string {
	var names []string
	add := func(name string) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, s := range p.Steps {
		add(s.Node)
	}
	for _, c := range p.Changes {
		add(c.Node)
	}
	return names
}

func change(w io.Writer, p *planner.Plan, c *planner.Change, o TextOptions) {
	head := fmt.Sprintf("%s %s", symbols[c.Action], c.Address.Short())
	place := where(c.Source)
	if c.Action == planner.Drop {
		place += "  state: absent"
	}
	fmt.Fprintf(w, "  %s%s%s\n", o.Paint.do(colours[c.Action], head), strings.Repeat(" ", max(2, 58-len(head))), o.Paint.do("dim", place))
	for _, f := range c.Fields {
		if !hidden(f.Path) {
			field(w, c, f, o)
		}
	}
	for _, n := range c.Notes {
		fmt.Fprintf(w, "      %s\n", n)
	}
	if c.Action == planner.Adopt {
		fmt.Fprintf(w, "      matches the YAML already; will be recorded as managed\n")
	}
	if c.Action == planner.Forget {
		fmt.Fprintf(w, "      has gone already; its record will be removed\n")
	}
	if o.Verbose {
		statements(w, p, c, o)
	}
}

func field(w io.Writer, c *planner.Change, f planner.Field, o TextOptions) {
	name := fmt.Sprintf("      %-19s ", f.Path)
	if c.Action == planner.Create {
		if f.After != nil && value(f.Path, f.After) != "[]" && value(f.Path, f.After) != "false" {
			fmt.Fprintf(w, "%s%s\n", name, value(f.Path, f.After))
		}
		return
	}
	line := fmt.Sprintf("%s%s -> %s", name, value(f.Path, f.Before), value(f.Path, f.After))
	fmt.Fprintf(w, "%s%s%s\n", line, strings.Repeat(" ", max(2, 58-len(line))), o.Paint.do("dim", causeOf(c, f)))
}

func causeOf(c *planner.Change, f planner.Field) string {
	when := ""
	if c.Recorded != nil {
		when = " when last applied, " + c.Recorded.At.Format("2006-01-02")
	}
	switch f.Cause {
	case "drift":
		return "drift: was " + value(f.Path, f.After) + when
	case "spec+drift":
		return "spec, and drift: was " + value(f.Path, f.Was) + when
	}
	return "spec"
}

// statements writes what would run, as pasteable SQL.
func statements(w io.Writer, p *planner.Plan, c *planner.Change, o TextOptions) {
	for _, s := range p.Steps {
		if s.Address != c.Address || len(s.Do) == 0 {
			continue
		}
		fmt.Fprintf(w, "      %s\n", o.Paint.do("dim", fmt.Sprintf("%s %s: one transaction, statement %ds, lock %ds%s", s.ID, s.Title, s.StatementTimeout/1000, s.LockTimeout/1000, after(s))))
		for _, in := range s.Inputs {
			fmt.Fprintf(w, "      > -- %s, read from %s: %s\n", in.Name, in.Node, in.Stmt.Pasteable())
		}
		for _, stmt := range s.Do {
			text := stmt.Pasteable()
			if lines := strings.Count(text, "\n"); lines > 40 {
				fmt.Fprintf(w, "      > -- a script of %d lines: skytools sql print %s\n", lines, c.Name)
				continue
			}
			for line := range strings.Lines(text) {
				fmt.Fprintf(w, "      > %s\n", strings.TrimRight(line, "\n"))
			}
		}
		if s.Wait != nil {
			fmt.Fprintf(w, "      > -- then wait on %s, for at most %ds\n", s.Wait.Node, s.Wait.LimitMS/1000)
		}
	}
}

func after(s *planner.Step) string {
	if len(s.Needs) == 0 {
		return ""
	}
	if len(s.Needs) > 4 {
		return fmt.Sprintf(", after %s and %d more", strings.Join(s.Needs[:3], ", "), len(s.Needs)-3)
	}
	return ", after " + strings.Join(s.Needs, ", ")
}

func leftAlone(w io.Writer, p *planner.Plan, o TextOptions) {
	if len(p.Orphans) > 0 {
		fmt.Fprintf(w, "\nNo longer in the YAML, and left alone:\n")
		for _, x := range p.Orphans {
			gone := ""
			if x.Gone {
				gone = " (has gone)"
			}
			fmt.Fprintf(w, "  %s%s\n      %s\n", x.Address, gone, x.Hint)
		}
	}
	switch {
	case len(p.Unmanaged) == 0:
	case o.Verbose:
		fmt.Fprintf(w, "\nNot managed here, and left alone:\n")
		for _, x := range p.Unmanaged {
			fmt.Fprintf(w, "  %s\n", x.Address)
		}
	default:
		fmt.Fprintf(w, "\nLeft alone: %s not managed here (-v lists them; skytools adopt writes their YAML).\n", count(len(p.Unmanaged), "object"))
	}
}

func diagnostics(w io.Writer, p *planner.Plan, o TextOptions) {
	if len(p.Diagnostics) > 0 {
		fmt.Fprintln(w)
	}
	for _, d := range p.Diagnostics {
		colour := map[string]string{"error": "drop", "warning": "update"}[d.Severity]
		subject := d.Address
		if subject != "" {
			subject += ": "
		}
		fmt.Fprintf(w, "%s %s%s [%s]\n", o.Paint.do(colour, d.Severity+":"), subject, d.Message, d.Code)
		if at := where(d.Source); at != "" {
			fmt.Fprintf(w, "  asked by    %s\n", at)
		}
		if d.Try != "" {
			fmt.Fprintf(w, "  try         %s\n", d.Try)
		}
	}
}

func needed(w io.Writer, p *planner.Plan, o TextOptions) {
	pending := p.Pending()
	if len(pending) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", o.Paint.do("bold", "Needs your approval:"))
	for _, h := range pending {
		_, address, _ := strings.Cut(h.Allow, ":")
		fmt.Fprintf(w, "  %s  %s\n", o.Paint.do("drop", fmt.Sprintf("%-15s", h.Code)), address)
		fmt.Fprintf(w, "                   %s\n", h.Message)
		fmt.Fprintf(w, "                   --allow %s\n", shellArg(h.Allow))
	}
}

func shellArg(s string) string {
	if strings.ContainsAny(s, " '\"\\;*?$&|<>()`!") {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}

// Summary is the plan in one line.
func Summary(p *planner.Plan, root string) string {
	s := p.Summary
	if p.Empty() && s.Unobserved == 0 && p.Errors() == 0 {
		return fmt.Sprintf("No changes: %s on %s match %s.", count(s.Unchanged, "object"), count(len(p.Nodes), "database"), orHere(root))
	}
	var parts []string
	for _, x := range []struct {
		n    int
		text string
	}{
		{s.Create, "to create"}, {s.Update, "to update"}, {s.Recreate, "to recreate"}, {s.Drop, "to drop"}, {s.Adopt, "to adopt"}, {s.Forget, "to forget"},
	} {
		if x.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", x.n, x.text))
		}
	}
	if len(parts) == 0 {
		parts = []string{"Nothing to do"}
	}
	line := fmt.Sprintf("%s; %d unchanged", strings.Join(parts, ", "), s.Unchanged)
	if s.Unobserved > 0 {
		line += fmt.Sprintf(", %d could not be observed", s.Unobserved)
	}
	if n := p.Errors(); n > 0 {
		line += fmt.Sprintf(", %d cannot be planned", n)
	}
	line += fmt.Sprintf(". %s.", count(s.Steps, "step"))
	if s.Blocked > 0 {
		line = strings.TrimSuffix(line, ".") + fmt.Sprintf("; %s approval.", needVerb(s.Blocked))
	}
	return line
}

func needVerb(n int) string {
	if n == 1 {
		return "1 object needs"
	}
	return fmt.Sprintf("%d objects need", n)
}

func orHere(root string) string {
	if root == "" {
		return "the YAML"
	}
	return root
}

func scope(p *planner.Plan) string {
	text := "Limited to " + strings.Join(append(slices.Clone(p.Scope.Only), p.Scope.Nodes...), ", ") + ":"
	if len(p.Scope.Added) > 0 {
		var added []string
		for _, a := range p.Scope.Added {
			added = append(added, a.String())
		}
		text += " added " + strings.Join(added, ", ") + " (needed);"
	}
	return text + fmt.Sprintf(" left out %s.", count(p.Scope.LeftOut, "change"))
}
