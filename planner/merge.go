package planner

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pgqnode"
)

// Leafs of several queues, the parts, may be merged into one queue of their database,
// the combined one. Below its root their rows go into the tables and into its queue;
// below a branch of it they wait, because the rows come with the combined queue.
//
// Source: contract/londiste.md sections 0.1, 1.4 and 3.3.

// mergeHome is the node that a leaf is merged into.
func mergeHome(combined, database string) []Address {
	if combined == "" {
		return nil
	}
	return []Address{{"node", combined, database}}
}

// refuseCombined says why a leaf cannot be merged into another queue: what has been
// replayed is not in it.
func refuseCombined(have, want nodeState) *Diagnostic {
	is := func(into string) string { return cmp.Or(into, "nothing") }
	return &Diagnostic{Code: "other-merge", Message: fmt.Sprintf("it is merged into %s and the YAML says %s: what it has replayed already would not be there", is(have.Combined), is(want.Combined)),
		Try: "take the node out with state: absent, apply, and declare it anew"}
}

// refuseParts says why a branch cannot take over as the combined root: something is
// merged into the old one, and would not be into the new one, or begin anew there.
func refuseParts(s *Scene, combined, next string) *Diagnostic {
	old := oldRoot(s, combined)
	if old == "" || s.isDead(old) {
		return nil
	}
	there := nodesIn(s, next)
	for _, part := range partsOn(s, combined, old) {
		if there[part].Combined != combined {
			return &Diagnostic{Code: "no-merge", Message: fmt.Sprintf("queue %s is merged into %s on %s and not on %s, which is to be the root: its events would stay away", part, combined, old, next),
				Try: fmt.Sprintf("give queue %s the node %s: {type: leaf, merge: %s}, apply that, and move the root then", part, next, combined)}
		}
	}
	return nil
}

// partsOn are the queues with a leaf in the database that is merged into a queue.
func partsOn(s *Scene, combined, database string) []string {
	var all []string
	for name, n := range nodesIn(s, database) {
		if n.Type == pgqnode.Leaf && n.Combined == combined {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// stopParts makes the workers of the parts stand still, so that nothing comes into the
// combined queue after its last tick, and waits until they have said so. None may be in
// the middle of a copy: nobody would end it.
func stopParts(s *Scene, o Object[nodeState], parts []string, after nodeState) Draft[nodeState] {
	d := Draft[nodeState]{Title: "pause what is merged into it", After: &after}
	for _, part := range parts {
		d.Do = append(d.Do, pgqnode.SetConsumerPaused(part, nodesIn(s, o.Database)[part].Worker, true))
	}
	d.Wait = &Wait{Node: o.Database, Inputs: []Input{}, EveryMS: 500, LimitMS: 300_000, Stmt: sql.Exec(`
select coalesce(bool_and(w.uptodate), true) and max(c.pending) = 0 as done,
       0.0::float8 as progress,
       case when not coalesce(bool_and(w.uptodate), true) then 'no answer yet from the workers of ' || string_agg(n.queue_name, ', ' order by n.queue_name) filter (where not w.uptodate) || '; is skytools run running?'
            when max(c.pending) > 0 then max(c.pending) || ' tables are being copied'
            else '' end as note
  from pgq_node.node_info n
  join pgq_node.local_state w on w.queue_name = n.queue_name and w.consumer_name = n.worker_name
 cross join (select count(*) as pending
               from londiste.table_info t
               join pgq_node.node_info p on p.queue_name = t.queue_name
              where p.combined_queue = $1 and t.local
                and (t.custom_snapshot is not null or t.merge_state like '%:%' or t.merge_state in ('in-copy', 'catching-up'))) c
 where n.combined_queue = $1 and n.node_type = 'leaf'`, o.Name)}
	return d
}

// resumeParts lets the workers of the parts go on, unless the YAML has them paused: from
// now on they wait for what comes with the combined queue.
func resumeParts(s *Scene, database string, parts []string) []sql.Stmt {
	var do []sql.Stmt
	for _, part := range parts {
		paused := false
		if q := s.Set.Queues.Get(part); q != nil && q.Nodes.Get(database) != nil {
			paused = q.Nodes.Get(database).Paused
		}
		do = append(do, pgqnode.SetConsumerPaused(part, nodesIn(s, database)[part].Worker, paused))
	}
	return do
}

// arrived is the condition that a combined branch has everything that the parts of the
// old root had put into the queue, and the inputs that it asks for.
func arrived(s *Scene, o Object[nodeState], parts []string, first int) (condition string, inputs []Input, args []any) {
	var rows []string
	for i, part := range parts {
		input := "part_" + part
		inputs = append(inputs, Input{Name: input, Node: o.Database, Stmt: completedOn(part, nodesIn(s, o.Database)[part].Worker)})
		args = append(args, part, InputArg(input))
		rows = append(rows, fmt.Sprintf("($%d::text, $%d::int8)", first+2*i, first+2*i+1))
	}
	return `
   and not exists (
           select 1
             from (values ` + strings.Join(rows, ", ") + `) p (queue, tick)
             join pgq_node.node_info l on l.queue_name = p.queue and l.combined_queue = $1
             join pgq_node.local_state w on w.queue_name = l.queue_name and w.consumer_name = l.worker_name
            where w.last_tick_id < p.tick)`, inputs, args
}

// A source is a queue that fills a table of a database, by its leaf there.
type source struct {
	queue *spec.Queue
	table *spec.Table
	name  string // of the table in the queue
	into  string // queue that the leaf is merged into
	merge spec.Merge
}

func (x source) String() string { return x.queue.Name + "/" + x.name }

// sources are the declared sources of the tables of a database, by the tables' names
// there.
func (s *Scene) sources(database string) map[string][]source {
	type key struct{ sources string }
	if got, ok := s.cache[key{database}]; ok {
		return got.(map[string][]source)
	}
	all := map[string][]source{}
	for i := range s.Set.Queues {
		q := &s.Set.Queues[i]
		n := q.Nodes.Get(database)
		if n == nil || n.Type != spec.Leaf || n.State == spec.Absent || q.State == spec.Absent {
			continue
		}
		for name, t := range s.declaredIn(q) {
			h := wantedHandling(t.How(database), false)
			if t.State == spec.Present && holds(t, n) && h.Fills() {
				dest := orName(t.On[database].As, name)
				all[dest] = append(all[dest], source{q, t, name, n.Merge, howMerged(t, h)})
			}
		}
	}
	for _, of := range all {
		slices.SortFunc(of, func(a, b source) int { return cmp.Compare(a.String(), b.String()) })
	}
	s.cache[key{database}] = all
	return all
}

// maker is the source of a database's table that makes it where it is missing, and goes
// before the others; nil: it has one source, or none that would.
func (s *Scene) maker(database, dest string) *source {
	all := s.sources(database)[dest]
	for i := range all {
		if len(all) > 1 && all[i].table.Create != spec.CreateNo {
			return &all[i]
		}
	}
	return nil
}

// howMerged is what the YAML says, or what follows from letting the newer row win.
func howMerged(t *spec.Table, h londiste.Handling) spec.Merge {
	if t.Merge == spec.MergeUnsaid && h.Newest != nil {
		return spec.MergeNone
	}
	return t.Merge
}

// liveSources counts the queues whose leafs fill a table, declared or not.
func (b *builder) liveSources() map[Address]int {
	count := map[Address]int{}
	for database := range b.Live.Databases {
		nodes := nodesIn(b.Scene, database)
		for name, have := range objects(b.Scene, database, "table", readTable) {
			queue, table := splitName(name)
			if nodes[queue].Type == pgqnode.Leaf && have.Fills() {
				count[Address{"table", orName(have.Dest, table), database}]++
			}
		}
	}
	return count
}

// shares reports whether a table of a leaf has other sources.
func shares(s *Scene, q *spec.Queue, database, dest string) bool {
	return slices.ContainsFunc(s.sources(database)[dest], func(x source) bool { return x.queue != q })
}

// filled reports a table that holds rows of another source already, which a copy of
// this one leaves alone.
func (s *Scene) filled(q *spec.Queue, database, dest string) bool {
	have := objects(s, database, "table", readTable)
	return slices.ContainsFunc(s.sources(database)[dest], func(x source) bool {
		_, there := have[x.String()]
		return x.queue != q && there
	})
}

// mergedLate tells of nodes that are in sync with the combined queue before a source
// comes: the rows that it has by then do not come with the queue.
func mergedLate(s *Scene, n *spec.Node, name string) []string {
	combined := s.Set.Queues.Get(n.Merge)
	if combined == nil {
		return nil
	}
	var late []string
	for _, below := range combined.Nodes {
		if _, there := objects(s, below.Name, "table", readTable)[combined.Name+"/"+name]; there && below.Name != n.Name {
			late = append(late, combined.Name+"/"+name+"@"+below.Name)
		}
	}
	if len(late) == 0 {
		return nil
	}
	return []string{"the rows that it has by now do not come with queue " + combined.Name + "; when it is in sync: skytools resync " + strings.Join(late, " ")}
}

// refuseSources says why a leaf's table cannot have the sources that it would have.
func refuseSources(s *Scene, q *spec.Queue, t *spec.Table, name string, n *spec.Node, w *tableState) *Diagnostic {
	dest := orName(w.Dest, name)
	all := slices.DeleteFunc(slices.Clone(s.sources(n.Name)[dest]), func(x source) bool { return x.queue == q && x.name != name })
	if len(all) < 2 {
		return refuseStranger(s, q, t, dest, n, w)
	}
	var names []string
	for _, x := range all {
		names = append(names, x.String())
	}
	where := fmt.Sprintf("%s on %s has several sources: %s", dest, n.Name, strings.Join(names, ", "))
	copied, mine := 0, howMerged(t, w.Handling)
	for _, x := range all {
		if x.table.Copy != spec.CopyNo {
			copied++
		}
		if x.into != n.Merge {
			return &Diagnostic{Code: "several-sources", Message: where + "; they are not merged into the same queue",
				Try: "write the same merge: on each of their leafs, or give the tables different names (as:)"}
		}
		if mine != spec.MergeUnsaid && x.merge != spec.MergeUnsaid && x.merge != mine {
			return &Diagnostic{Code: "several-sources", Message: fmt.Sprintf("%s; one says merge: %s and another merge: %s", where, mine, x.merge), Try: "write the same for each"}
		}
	}
	switch {
	case mine == spec.MergeUnsaid:
		return &Diagnostic{Code: "several-sources", Message: where + "; the copy of one would take away the rows of the others",
			Try: "write merge: all for the table in each queue when their rows come together, merge: none when they write the same rows, or give the tables different names (as:)"}
	case mine == spec.MergeNone && copied > 1:
		return &Diagnostic{Code: "several-sources", Message: where + "; with merge: none at most one of them can be copied",
			Try: "write copy: no for the others"}
	}
	return nil
}

// refuseStranger is for a source that nobody has declared.
func refuseStranger(s *Scene, q *spec.Queue, t *spec.Table, dest string, n *spec.Node, w *tableState) *Diagnostic {
	if howMerged(t, w.Handling) != spec.MergeUnsaid || !w.Fills() {
		return nil
	}
	nodes := nodesIn(s, n.Name)
	have := objects(s, n.Name, "table", readTable)
	for _, other := range slices.Sorted(maps.Keys(have)) {
		queue, name := splitName(other)
		if queue == q.Name || nodes[queue].Type != pgqnode.Leaf || orName(have[other].Dest, name) != dest || !have[other].Fills() {
			continue
		}
		if p, declared := lookup(s, queue, name); declared != nil && (declared.State == spec.Absent || p.Nodes.Get(n.Name) == nil || p.Nodes.Get(n.Name).State == spec.Absent) {
			continue // it goes
		}
		return &Diagnostic{Code: "several-sources", Message: fmt.Sprintf("%s on %s is filled by %s already; the copy of one would take away the rows of the other", dest, n.Name, other),
			Try: "write merge: all for the table in each queue, or give it another name (as:)"}
	}
	return nil
}

// refuseResync says why a table that has other sources cannot be copied again: the rows
// of the one could not be told from those of the others. Source: contract/londiste.md section 2.9.
func refuseResync(s *Scene, q *spec.Queue, name string, n *spec.Node, o Object[tableState]) *Diagnostic {
	if o.Have == nil || n.Type != spec.Leaf || !recopies(o) || !shares(s, q, n.Name, orName(o.Want.Dest, name)) {
		return nil
	}
	return &Diagnostic{Code: "merged-table", Message: "the change needs a new copy, and a new copy of one source would take away the rows of the others",
		Try: "stop replicating the table here from all its sources (state: absent), apply, and declare it anew"}
}

// waits reports a leaf below a combined branch, whose rows come with the combined queue.
func waits(s *Scene, n *spec.Node) bool {
	if n.Merge == "" {
		return false
	}
	c := s.Set.Queues.Get(n.Merge)
	return c != nil && c.Nodes.Get(n.Name) != nil && c.Nodes.Get(n.Name).Type == spec.Branch
}

// mergeNeeds are the tables that go before one that is merged, or that others are merged
// into: on the combined root the combined queue's own, because a part would register it
// otherwise; and all that is merged there before the rows are copied from there.
func mergeNeeds(s *Scene, q *spec.Queue, n *spec.Node, name, dest string) []Address {
	var needs []Address
	combined := q
	if n.Merge != "" {
		combined = s.Set.Queues.Get(n.Merge)
		if combined == nil {
			return nil
		}
		if s.declaredIn(combined)[name] != nil {
			needs = append(needs, Address{"table", combined.Name + "/" + name, n.Name})
		}
		if !waits(s, n) {
			return needs
		}
	}
	home := combined.Home()
	if home == n.Name {
		return needs
	}
	for _, x := range s.sources(home)[dest] {
		if x.into == combined.Name {
			needs = append(needs, Address{"table", x.String(), home})
		}
	}
	return needs
}

// isMerged reports a table of a combined queue that a part has registered.
// Source: contract/londiste.md section 1.4, step 10.
func isMerged(s *Scene, database, name string) bool {
	queue, table := splitName(name)
	for _, of := range s.sources(database) {
		for _, x := range of {
			if x.into == queue && x.name == table {
				return true
			}
		}
	}
	return false
}
