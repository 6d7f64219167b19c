package spec

import (
	"fmt"
	"slices"
)

// Merge says what a table has to do with other sources of the same table in a database.
type Merge string

// The ways.
const (
	MergeUnsaid Merge = ""     // it is the only source
	MergeAll    Merge = "all"  // rows of all sources come together: none may be lost to the copy of another
	MergeNone   Merge = "none" // all sources write the same rows: one of them is copied at most
)

func (m *Merge) choices() []string { return []string{"all", "none"} }
func (m *Merge) set(text string)   { *m = Merge(text) }

// Merged are the queues of which a database has a leaf that is merged into the queue,
// in the order of their names.
func (s *Set) Merged(into, database string) []*Queue {
	var all []*Queue
	for i := range s.Queues {
		q := &s.Queues[i]
		if n := q.Nodes.Get(database); n != nil && n.Merge == into && n.State == Present && q.State == Present {
			all = append(all, q)
		}
	}
	return all
}

// checkMerges holds the rules of leafs that are merged into a queue of their database.
// Source: contract/pgq.md section 6.3.
func (d *decoder) checkMerges() {
	for i := range d.set.Queues {
		q := &d.set.Queues[i]
		for _, n := range q.Nodes {
			if n.Merge == "" || n.State == Absent || q.State == Absent {
				continue
			}
			d.checkMerge(q, &n)
		}
	}
	for _, q := range d.set.circlesOfMerges() {
		d.problem(q.At, "merge-cycle", "queue %q: following what its leafs are merged into leads back to it: its events would go round without end", q.Name)
	}
}

func (d *decoder) checkMerge(q *Queue, n *Node) {
	say := func(at Pos, rule, format string, args ...any) {
		d.problem(at, rule, "queue %q: node %q: "+format, append([]any{q.Name, n.Name}, args...)...)
	}
	into := d.set.Queues.Get(n.Merge)
	if n.Type != Leaf {
		say(n.At, "merge-not-leaf", "merge: is for a leaf; a %s has a queue of its own", n.Type)
		return
	}
	if into == nil {
		d.problems = append(d.problems, Problem{Pos: n.At, Rule: "unknown-queue", Width: len(n.Name), Try: d.near(n.Merge, d.set.Queues.Names()),
			Message: fmt.Sprintf("queue %q: node %q: merge: queue %q is not declared", q.Name, n.Name, n.Merge)})
		return
	}
	there := into.Nodes.Get(n.Name)
	switch {
	case into == q: // a circle, said below
	case there == nil:
		say(n.At, "merge-no-node", "queue %q has no node %s: what is merged into it must be in the database of its root or of a branch", into.Name, n.Name)
	case there.State == Absent || into.State == Absent:
		say(n.At, "merge-absent", "queue %q is being taken away from %s", into.Name, n.Name)
	case there.Type == Leaf:
		say(n.At, "merge-into-leaf", "%s is a leaf of queue %q, which has no queue to put events into; make it a branch", n.Name, into.Name)
	}
}

// circlesOfMerges are the queues whose events would come back to them.
func (s *Set) circlesOfMerges() []*Queue {
	into := map[*Queue][]*Queue{}
	for i := range s.Queues {
		q := &s.Queues[i]
		for _, n := range q.Nodes {
			if to := s.Queues.Get(n.Merge); to != nil && n.Type == Leaf && n.State == Present && q.State == Present && !slices.Contains(into[q], to) {
				into[q] = append(into[q], to)
			}
		}
	}
	var all []*Queue
	for i := range s.Queues {
		q, seen := &s.Queues[i], map[*Queue]bool{}
		for todo := into[q]; len(todo) > 0; {
			next := todo[0]
			if todo = todo[1:]; !seen[next] {
				seen[next] = true
				todo = append(slices.Clone(todo), into[next]...)
			}
		}
		if seen[q] {
			all = append(all, q)
		}
	}
	return all
}
