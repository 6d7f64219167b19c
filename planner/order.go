package planner

import (
	"container/heap"
	"fmt"
	"slices"
	"strings"

	"github.com/skytools-go/skytools/spec"
)

// sorted puts the steps in the order in which they run: what a step needs comes
// before it, and among the steps that are ready the database of the step before is
// preferred, then the one nearer to a root, then the order of kinds and the address. Drops go the other way
// round: what needs an object is dropped before it. Afterwards every step has an
// id, s1, s2 and so on, and knows the ids that it needs.
func (b *builder) sorted() ([]*Step, error) {
	before := map[*Step][]*Step{}
	for _, s := range b.order {
		for _, a := range b.needs[s] {
			for _, other := range b.steps[a] {
				switch {
				case other == s:
				case b.dropping[s.Address] && b.dropping[a]:
					before[other] = append(before[other], s)
				case !b.dropping[s.Address] && !b.dropping[a] && len(b.follows[other]) == 0:
					before[s] = append(before[s], other)
				}
			}
		}
	}
	for s, refs := range b.follows {
		for _, r := range refs {
			for _, other := range b.steps[r.Address] {
				if r.Label == "" || r.Label == b.labels[other] {
					before[s] = append(before[s], other)
				}
			}
		}
	}
	for _, steps := range b.steps { // several steps of one object keep their order
		for i := 1; i < len(steps); i++ {
			before[steps[i]] = append(before[steps[i]], steps[i-1])
		}
	}
	rank, depth := map[*Step]int{}, depths(b.Set)
	for i, s := range b.order {
		rank[s] = depth[s.Node]*len(b.order) + i
	}
	waiting, users := map[*Step]int{}, map[*Step][]*Step{}
	ready := queues{}
	for _, s := range b.order {
		before[s] = unique(before[s])
		waiting[s] = len(before[s])
		for _, n := range before[s] {
			users[n] = append(users[n], s)
		}
		if waiting[s] == 0 {
			ready.push(s, rank)
		}
	}
	sorted := make([]*Step, 0, len(b.order))
	last := ""
	for s := ready.pop(last); s != nil; s = ready.pop(last) {
		last = s.Node
		sorted = append(sorted, s)
		s.ID = fmt.Sprintf("s%d", len(sorted))
		for _, n := range before[s] {
			s.Needs = append(s.Needs, n.ID)
		}
		for _, u := range users[s] {
			if waiting[u]--; waiting[u] == 0 {
				ready.push(u, rank)
			}
		}
	}
	if len(sorted) < len(b.order) {
		var stuck []string
		for _, s := range b.order {
			if waiting[s] > 0 {
				stuck = append(stuck, s.Address.String())
			}
		}
		return nil, fmt.Errorf("order the steps: these need each other: %s", strings.Join(stuck, ", "))
	}
	return sorted, nil
}

// depths says how far each database is from a root: steps nearer to it come first.
func depths(set *spec.Set) map[string]int {
	depth := map[string]int{}
	for i := range set.Queues {
		q := &set.Queues[i]
		for _, n := range q.Nodes {
			d, at := 0, &n
			for at != nil && at.Type != spec.Root && d < len(q.Nodes) {
				d, at = d+1, q.Nodes.Get(at.Provider)
			}
			depth[n.Name] = max(depth[n.Name], d)
		}
	}
	return depth
}

// queues holds the steps that are ready, by database, the first one on top.
type queues map[string]*ranked

func (q queues) push(s *Step, rank map[*Step]int) {
	if q[s.Node] == nil {
		q[s.Node] = &ranked{rank: rank}
	}
	heap.Push(q[s.Node], s)
}

// pop takes the next step, of the database last if it has one; nil when none is left.
func (q queues) pop(last string) *Step {
	best := q[last]
	if best == nil || best.Len() == 0 {
		best = nil
		for _, r := range q {
			if r.Len() > 0 && (best == nil || r.rank[r.steps[0]] < best.rank[best.steps[0]]) {
				best = r
			}
		}
	}
	if best == nil {
		return nil
	}
	return heap.Pop(best).(*Step)
}

// ranked is a heap of steps.
type ranked struct {
	steps []*Step
	rank  map[*Step]int
}

func (r *ranked) Len() int           { return len(r.steps) }
func (r *ranked) Less(i, j int) bool { return r.rank[r.steps[i]] < r.rank[r.steps[j]] }
func (r *ranked) Swap(i, j int)      { r.steps[i], r.steps[j] = r.steps[j], r.steps[i] }
func (r *ranked) Push(s any)         { r.steps = append(r.steps, s.(*Step)) }
func (r *ranked) Pop() any {
	last := r.steps[len(r.steps)-1]
	r.steps = r.steps[:len(r.steps)-1]
	return last
}

func unique(steps []*Step) []*Step {
	seen := map[*Step]bool{}
	return slices.DeleteFunc(steps, func(s *Step) bool {
		twice := seen[s]
		seen[s] = true
		return twice
	})
}
