package render

import (
	"cmp"
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
		changes := slices.DeleteFunc(changesIn(p, node), func(c *planner.Change) bool {
			return o.OnlyDestructive && c.Action != planner.Drop && c.Action != planner.Recreate && len(c.Hazards) == 0
		})
		if len(changes) > 0 {
			say(w, "\n%s\n", o.Paint.do("bold", node))
			writeChanges(w, p, changes, o)
		}
	}
	leftAlone(w, p, o)
	diagnostics(w, p, o)
	approvals(w, p, o)
	say(w, "\n%s\n", Summary(p, o.Root))
	if p.Scope.LeftOut > 0 || len(p.Scope.Added) > 0 {
		say(w, "%s\n", scope(p))
	}
	if note := incomplete(p); note != "" {
		say(w, "%s\n", o.Paint.do("unknown", note))
	}
	if o.Out != "" && !p.Empty() {
		say(w, "Saved %s, digest %s. Apply exactly this with: skytools apply %s\n", o.Out, p.ShortDigest(), ink(shellArg(o.Out)))
	}
}

// incomplete says that something declared was not looked at. A plan that was only
// asked for in part says so in its scope.
func incomplete(p *planner.Plan) string {
	unread := slices.ContainsFunc(p.Nodes, func(n planner.Node) bool { return !n.Reached }) ||
		slices.ContainsFunc(p.Diagnostics, func(d planner.Diagnostic) bool { return d.Code == "unreadable" })
	if unread || p.Summary.Unobserved > 0 {
		return "This plan is incomplete: not everything that is declared could be looked at."
	}
	return ""
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
	say(w, "Read %s. Observed %s at %s, read-only.\n", count(p.Spec.Files, "file"), orNobody(read), p.MadeAt.Format("2006-01-02 15:04:05Z"))
	if len(lost) > 0 {
		say(w, "Could not observe %s.\n", strings.Join(lost, ", "))
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

func changesIn(p *planner.Plan, node string) []*planner.Change {
	var all []*planner.Change
	for _, c := range p.Changes {
		if c.Node == node {
			all = append(all, c)
		}
	}
	return all
}

// writeChanges writes the changes of one database. Objects that could not be
// looked at for the same reason are counted, unless there are few.
func writeChanges(w io.Writer, p *planner.Plan, changes []*planner.Change, o TextOptions) {
	unseen := map[string]int{}
	for _, c := range changes {
		if c.Action == planner.Unobserved {
			unseen[strings.Join(c.Notes, "\n")]++
		}
	}
	ground, explained := map[string]bool{}, false
	for _, c := range changes {
		if isGround(c) && !o.Verbose {
			if !ground[c.Kind] {
				writeGround(w, c.Kind, changes, o)
			}
			ground[c.Kind] = true
			continue
		}
		if c.Action == planner.Adopt && !o.Verbose {
			writeAdopt(w, c, o, !explained)
			explained = true
			continue
		}
		why := strings.Join(c.Notes, "\n")
		n := unseen[why]
		if c.Action != planner.Unobserved || o.Verbose || n <= 3 && n > 0 {
			writeChange(w, p, c, o)
			continue
		}
		if n > 0 {
			say(w, "  %s\n", o.Paint.do("unknown", "? "+count(n, "object")+" (-v lists them)"))
			for _, note := range c.Notes {
				say(w, "      %s\n", note)
			}
			unseen[why] = 0
		}
	}
}

// isGround reports the roles and schemas that everything else stands on. They come
// in numbers and say little to a reader, so one line names them all.
func isGround(c *planner.Change) bool {
	return c.Action == planner.Create && (c.Kind == "role" || c.Kind == "schema") && len(c.Hazards) == 0
}

func writeGround(w io.Writer, kind string, changes []*planner.Change, o TextOptions) {
	var names []string
	place := ""
	for _, c := range changes {
		if !isGround(c) || c.Kind != kind {
			continue
		}
		name := c.Name
		for _, f := range c.Fields {
			if f.Path == "version" {
				name += " " + value(f.Path, f.After)
			}
		}
		names, place = append(names, name), cmp.Or(place, where(c.Source))
	}
	head := "+ " + kind + "/" + strings.Join(names, ", ")
	say(w, "  %s%s%s\n", o.Paint.do("create", head), gap("  "+head), o.Paint.do("dim", place))
}

// writeAdopt writes an object that is as it should be. What that means is said once.
func writeAdopt(w io.Writer, c *planner.Change, o TextOptions, explain bool) {
	head := symbols[c.Action] + " " + c.Address.Short()
	say(w, "  %s%s%s\n", o.Paint.do("adopt", head), gap("  "+head), o.Paint.do("dim", where(c.Source)))
	if explain {
		say(w, "      as the YAML says already; = is only recorded as managed\n")
	}
}

func writeChange(w io.Writer, p *planner.Plan, c *planner.Change, o TextOptions) {
	head := fmt.Sprintf("%s %s", symbols[c.Action], c.Address.Short())
	place := where(c.Source)
	if c.Action == planner.Drop {
		place += "  state: absent"
	}
	say(w, "  %s%s%s\n", o.Paint.do(colours[c.Action], head), gap("  "+head), o.Paint.do("dim", place))
	for _, f := range c.Fields {
		if !hidden(f.Path) {
			field(w, c, f, o)
		}
	}
	for _, n := range c.Notes {
		say(w, "      %s\n", n)
	}
	if c.Action == planner.Adopt {
		say(w, "      matches the YAML already; will be recorded as managed\n")
	}
	if c.Action == planner.Forget {
		say(w, "      has gone already; its record will be removed\n")
	}
	if o.Verbose {
		statements(w, p, c, o)
	} else if inProtocol(p, c) {
		protocol(w, p, c)
	}
}

func field(w io.Writer, c *planner.Change, f planner.Field, o TextOptions) {
	if c.Action == planner.Create {
		if !implied(f) {
			say(w, "      %-19s %s\n", f.Path, value(f.Path, f.After))
		}
		return
	}
	line := fmt.Sprintf("      %-19s %s", Clean(f.Path), change(f))
	say(w, "%s%s%s\n", line, gap(line), o.Paint.do("dim", causeOf(c, f)))
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

// inProtocol reports a change that takes several steps, or that such a change
// waits for.
func inProtocol(p *planner.Plan, c *planner.Change) bool {
	if len(c.StepIDs) > 1 {
		return true
	}
	for _, other := range p.Changes {
		if len(other.StepIDs) < 2 {
			continue
		}
		for _, s := range p.Steps {
			if s.Address == other.Address && slices.ContainsFunc(s.Needs, func(id string) bool { return slices.Contains(c.StepIDs, id) }) {
				return true
			}
		}
	}
	return false
}

// protocol lists the steps of a change: their order is what a reader has to agree
// to.
func protocol(w io.Writer, p *planner.Plan, c *planner.Change) {
	for _, s := range p.Steps {
		if s.Address == c.Address {
			say(w, "      %-19s %s%s\n", "step "+s.ID, s.Title, after(s))
		}
	}
}

// statements writes what would run, as pasteable SQL.
func statements(w io.Writer, p *planner.Plan, c *planner.Change, o TextOptions) {
	for _, s := range p.Steps {
		if s.Address != c.Address || len(s.Do) == 0 {
			continue
		}
		say(w, "      %s\n", o.Paint.do("dim", fmt.Sprintf("%s %s: %s, statement %ds, lock %ds%s", s.ID, s.Title, inOne(s), s.StatementTimeout/1000, s.LockTimeout/1000, after(s))))
		for _, in := range s.Inputs {
			say(w, "      > -- %s, read from %s: %s\n", in.Name, in.Node, oneLine(in.Stmt.Pasteable()))
		}
		for _, stmt := range s.Do {
			text := stmt.Pasteable()
			if lines := strings.Count(text, "\n"); lines > 40 {
				say(w, "      > -- a script of %d lines: skytools sql print %s\n", lines, c.Name)
				continue
			}
			for line := range strings.Lines(text) {
				say(w, "      > %s\n", strings.ReplaceAll(strings.TrimRight(line, "\n"), "\t", "    "))
			}
		}
		if s.Wait != nil {
			say(w, "      > -- then wait on %s, for at most %ds\n", s.Wait.Node, s.Wait.LimitMS/1000)
		}
	}
}

func after(s *planner.Step) string {
	if len(s.Needs) == 0 {
		return ""
	}
	needs := slices.SortedFunc(slices.Values(s.Needs), func(a, b string) int { // s2 before s10
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
	})
	if len(needs) > 4 {
		return fmt.Sprintf(", after %s and %d more", strings.Join(needs[:3], ", "), len(needs)-3)
	}
	return ", after " + strings.Join(needs, ", ")
}

func leftAlone(w io.Writer, p *planner.Plan, o TextOptions) {
	if len(p.Orphans) > 0 {
		say(w, "\nNo longer in the YAML, and left alone:\n")
		for _, x := range p.Orphans {
			gone := ""
			if x.Gone {
				gone = " (has gone)"
			}
			say(w, "  %s%s\n      %s\n", x.Address, gone, x.Hint)
		}
	}
	switch {
	case len(p.Unmanaged) == 0:
	case o.Verbose:
		say(w, "\nNot managed here, and left alone:\n")
		for _, x := range p.Unmanaged {
			say(w, "  %s\n", x.Address)
		}
	default:
		say(w, "\nLeft alone: %s not managed here (-v lists them; skytools adopt writes their YAML).\n", count(len(p.Unmanaged), "object"))
	}
}

// diagnostics writes what is no change. What is wrong with several objects for one
// reason is said once.
func diagnostics(w io.Writer, p *planner.Plan, o TextOptions) {
	if len(p.Diagnostics) > 0 {
		say(w, "\n")
	}
	also := map[planner.Diagnostic][]string{}
	for _, d := range p.Diagnostics {
		also[cause(d)] = append(also[cause(d)], d.Address)
	}
	for _, d := range p.Diagnostics {
		all := also[cause(d)]
		if len(all) == 0 {
			continue // said
		}
		delete(also, cause(d))
		colour := map[string]string{"error": "drop", "warning": "update"}[d.Severity]
		subject := d.Address
		if len(all) > 1 {
			subject = all[0] + " and " + count(len(all)-1, "other object")
		}
		if subject != "" {
			subject += ": "
		}
		say(w, "%s %s%s [%s]\n", o.Paint.do(colour, d.Severity+":"), subject, d.Message, d.Code)
		if o.Verbose && len(all) > 1 {
			say(w, "  also        %s\n", strings.Join(all[1:], ", "))
		}
		if at := where(d.Source); at != "" {
			say(w, "  asked by    %s\n", at)
		}
		if d.Try != "" {
			say(w, "  try         %s\n", d.Try)
		}
	}
}

// cause is a diagnostic without the object that it is about. A diagnostic of no
// object has nothing to be grouped by.
func cause(d planner.Diagnostic) planner.Diagnostic {
	if d.Address != "" {
		d.Address = "x"
	}
	return d
}

// approvals writes the hazards: those that wait, and those that were approved.
func approvals(w io.Writer, p *planner.Plan, o TextOptions) {
	if pending := p.Pending(); len(pending) > 0 {
		say(w, "\n%s\n", o.Paint.do("bold", "Needs your approval:"))
		for _, h := range pending {
			say(w, "  %s  %s\n", o.Paint.do("drop", fmt.Sprintf("%-15s", h.Code)), address(h))
			if !told(p, h) {
				say(w, "                   %s\n", h.Message)
			}
			say(w, "                   --allow %s\n", ink(shellArg(h.Allow)))
		}
	}
	first := true
	for _, c := range p.Changes {
		for _, h := range c.Hazards {
			if h.AllowedBy == nil {
				continue
			}
			if first {
				say(w, "\n%s\n", o.Paint.do("bold", "Approved:"))
				first = false
			}
			say(w, "  %-15s  %s\n                   by %s\n", h.Code, c.Address, *h.AllowedBy)
		}
	}
}

// address is the object of a hazard, as its approval names it: a saved plan keeps
// no other.
func address(h planner.Hazard) string {
	_, text, _ := strings.Cut(h.Allow, ":")
	return text
}

// told reports whether the change has said the hazard's message as a note.
func told(p *planner.Plan, h planner.Hazard) bool {
	for _, c := range p.Changes {
		if c.Address.String() == address(h) {
			return slices.Contains(c.Notes, h.Message)
		}
	}
	return false
}

// shellArg writes a text as one word for a shell that people paste into.
func shellArg(s string) string {
	if strings.ContainsFunc(s, obeyed) { // bash and zsh
		return "$'" + strings.ReplaceAll(Clean(strings.ReplaceAll(s, `\`, `\\`)), "'", `\'`) + "'"
	}
	if s == "" || strings.ContainsAny(s, " '\"\\;*?$&|<>()`!#~[]{}=") {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}

// Summary is the plan in one line.
func Summary(p *planner.Plan, root string) string {
	s := p.Summary
	if p.Empty() && s.Unobserved == 0 && p.Errors() == 0 {
		return Clean(fmt.Sprintf("No changes: %s on %s match %s.", count(s.Unchanged, "object"), count(len(p.Nodes), "database"), orHere(root)))
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
		parts = []string{"No changes"}
	}
	line := fmt.Sprintf("%s; %d unchanged", strings.Join(parts, ", "), s.Unchanged)
	if s.Unobserved > 0 {
		line += fmt.Sprintf(", %d could not be observed", s.Unobserved)
	}
	if n := p.Errors(); n > 0 {
		line += fmt.Sprintf(", %d cannot be planned", n)
	}
	line += "."
	if s.Steps > 0 {
		line += fmt.Sprintf(" %s.", count(s.Steps, "step"))
	}
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
	if p.Scope.LeftOut == 0 {
		return text + " left out nothing."
	}
	return text + fmt.Sprintf(" left out %s.", count(p.Scope.LeftOut, "change"))
}

func inOne(s *planner.Step) string {
	if s.Alone {
		return "outside a transaction"
	}
	return "one transaction"
}
