package spec

import (
	"fmt"
	"maps"
	"slices"
)

// check reports what is wrong between objects. Names are looked up always; the
// rules of a cascade are held only against YAML that could be read, because
// missing pieces would be reported twice.
func (d *decoder) check() {
	for _, r := range d.refs {
		d.resolve(r)
	}
	d.path = nil
	if len(d.problems) > 0 {
		return
	}
	if d.set.Version == 0 {
		d.problem(Pos{File: d.anyFile()}, "missing-field", "no file says which format this is; write: skytools: %d", Format)
	}
	if d.set.Cluster == "" {
		d.problem(Pos{File: d.anyFile()}, "missing-field", "no file names the cluster; write: cluster: NAME")
	}
	for i := range d.set.Queues {
		d.checkQueue(&d.set.Queues[i])
	}
	d.checkForwardCycles()
	d.checkMerges()
	d.checkScripts()
	for i := range d.set.Archives {
		d.checkArchive(&d.set.Archives[i])
	}
	for i := range d.set.Standbys {
		d.checkStandby(&d.set.Standbys[i])
	}
}

func (d *decoder) anyFile() string {
	if len(d.set.Files) == 0 {
		return "(no file)"
	}
	return d.set.Files[0]
}

// resolve reports a name that nothing declares.
func (d *decoder) resolve(r ref) {
	found, names := d.set.Databases.Get(r.name) != nil, d.set.Databases.Names
	if r.to == "node" {
		q := d.set.Queues.Get(r.path[0].name)
		if q == nil {
			return // the queue itself could not be read
		}
		if !q.Cascade() {
			d.file, d.path = r.file, r.path
			d.fail(r.at, "on-without-nodes", "the queue has no node %s: it is no cascade", r.name)
			return
		}
		found, names = q.Nodes.Get(r.name) != nil, q.Nodes.Names
	}
	if found || len(d.problems) >= maxProblems {
		return
	}
	d.file, d.path = r.file, r.path
	d.failNear(r.at, "unknown-"+r.to, names(), "%s %q is not declared", r.to, r.name)
}

// checkQueue holds the rules of a cascade.
// Source: contract/pgq.md section 6.3.
func (d *decoder) checkQueue(q *Queue) {
	say := func(at Pos, rule, format string, args ...any) {
		d.problem(at, rule, "queue %q: "+format, append([]any{q.Name}, args...)...)
	}
	switch {
	case q.Cascade() && q.On != "":
		say(q.At, "on-and-nodes", "on: is for plain queues and nodes: for cascades; write one of them")
	case !q.Cascade() && q.On == "":
		say(q.At, "no-place", "say where it lives: on: DATABASE for a plain queue, nodes: for a cascade")
	case !q.Cascade() && len(q.Tables)+len(q.Sequences)+len(q.Scripts) > 0:
		say(q.At, "tables-without-nodes", "tables, sequences and scripts are replicated in a cascade: give the queue nodes")
	case !q.Cascade() && q.CopyRate > 0:
		say(q.At, "tables-without-nodes", "copy_rate is for copies of tables, which a cascade has: give the queue nodes, or leave it out")
	}
	if !q.Cascade() && q.MaskKey != nil {
		say(q.At, "tables-without-nodes", "mask_key is for masks of tables, which a cascade has: give the queue nodes, or leave it out")
	}
	if q.TickerMaxCount < 1 {
		say(q.At, "out-of-range", "ticker_max_count must be at least 1")
	}
	for _, period := range []struct {
		key   string
		value Duration
	}{{"ticker_max_lag", q.TickerMaxLag}, {"ticker_idle_period", q.TickerIdlePeriod}, {"rotation_period", q.RotationPeriod}} {
		if period.value <= 0 {
			say(q.At, "out-of-range", "%s must be longer than zero", period.key)
		}
	}
	for _, c := range q.Consumers {
		if n := q.Nodes.Get(c.On); n != nil && n.Type == Leaf {
			say(c.At, "leaf-has-no-queue", "consumer %q: %s is a leaf, which has no queue to read", c.Name, n.Name)
		}
		if c.Name[0] == '.' {
			say(c.At, "bad-name", "consumer %q: names that begin with a dot belong to PgQ itself", c.Name)
		}
	}
	d.checkForwards(q)
	if q.Cascade() {
		d.checkNodes(q, say)
	}
}

func (d *decoder) checkNodes(q *Queue, say func(Pos, string, string, ...any)) {
	roots := 0
	for _, n := range q.Nodes {
		if d.set.Databases.Get(n.Name) == nil {
			d.problems = append(d.problems, Problem{Pos: n.At, Rule: "unknown-database", Width: len(n.Name),
				Message: fmt.Sprintf("queue %q: node %q is not the name of a declared database", q.Name, n.Name), Try: d.near(n.Name, d.set.Databases.Names())})
		}
		if n.State == Absent {
			continue
		}
		provider := q.Nodes.Get(n.Provider)
		switch {
		case n.Type == Root && n.Provider != "":
			say(n.At, "root-with-provider", "node %q: a root has no provider", n.Name)
		case n.Type != Root && n.Provider == "":
			say(n.At, "missing-field", "node %q: provider is missing: which node does it read from?", n.Name)
		case n.Provider == n.Name && n.Name != "":
			say(n.At, "provider-cycle", "node %q: it cannot read from itself", n.Name)
		case provider != nil && provider.Type == Leaf:
			say(n.At, "leaf-has-no-queue", "node %q: its provider %s is a leaf, which has no queue; make it a branch", n.Name, provider.Name)
		case provider != nil && provider.State == Absent:
			say(n.At, "provider-absent", "node %q: its provider %s is being taken out of the cascade", n.Name, provider.Name)
		}
		if n.Type == Root {
			roots++
		}
	}
	if roots != 1 && q.State == Present {
		say(q.At, "one-root", "a cascade has exactly one node of type root; this one has %d", roots)
	}
	circling := circles(q)
	for _, n := range q.Nodes {
		if circling[n.Name] && n.Provider != n.Name && n.State == Present {
			say(n.At, "provider-cycle", "node %q: following its providers never reaches the root", n.Name)
		}
	}
	for _, t := range q.Tables {
		for _, name := range slices.Sorted(maps.Keys(t.On)) {
			on := t.On[name]
			if n := q.Nodes.Get(name); n != nil && n.Type == Root && (on.Alters() || on.As != "" || on.saidBelowRoot()) {
				say(t.At, "root-has-all", "table %q: the root holds the table as it is; what differs is for other nodes", t.Name)
			}
			for _, twice := range twice(on.Columns) {
				say(on.At, "mapped-twice", "table %q: two columns become %s on %s", t.Name, twice, name)
			}
		}
		for _, n := range q.Nodes {
			mask, on := t.How(n.Name).Mask, t.On[n.Name]
			switch {
			case mask == nil || n.Type == Root || t.State == Absent:
			case on.Alters():
				say(t.At, "mask-alone", "table %q: SQL in where:, columns: and transform: would see what mask: hides; on %s write one or the other", t.Name, n.Name)
			case mask.Hashes() && q.MaskKey == nil:
				say(t.At, "missing-field", "table %q: its mask hashes values: say where the key is, with mask_key: beside nodes:", t.Name)
			}
			if wrong := t.How(n.Name).Shard.wrong(n.Type == Root); wrong != "" && t.State == Present {
				say(t.At, "bad-shard", "table %q: %s (on %s)", t.Name, wrong, n.Name)
				break
			}
		}
		if as := aliased(t); t.Pattern() && as != "" {
			say(t.At, "pattern-renamed", "table %q: a pattern cannot be given one name (as: on %s)", t.Name, as)
		}
	}
}

// twice lists the names that several columns are mapped to.
func twice(columns map[string]string) []string {
	count := map[string]int{}
	for _, to := range columns {
		if to != "" {
			count[to]++
		}
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(count)) {
		if count[name] > 1 {
			all = append(all, name)
		}
	}
	return all
}

func aliased(t Table) string {
	for _, name := range slices.Sorted(maps.Keys(t.On)) {
		if t.On[name].As != "" {
			return name
		}
	}
	return ""
}

// near suggests the name that was probably meant.
func (d *decoder) near(word string, names []string) string {
	if len(d.problems) >= maxSuggestions {
		return ""
	}
	if c := Nearest(word, names); c != "" {
		return "did you mean " + c + "?"
	}
	return ""
}

// circles lists the nodes whose providers go round in circles. A chain that breaks
// off is reported elsewhere.
func circles(q *Queue) map[string]bool {
	known := map[string]bool{}
	for i := range q.Nodes {
		seen := map[string]bool{}
		n, circling := &q.Nodes[i], false
		for n != nil && n.Type != Root && !circling {
			answer, done := known[n.Name]
			if done {
				circling = answer
				break
			}
			circling = seen[n.Name]
			seen[n.Name] = true
			n = q.Nodes.Get(n.Provider)
		}
		for name := range seen {
			known[name] = circling
		}
	}
	return known
}
