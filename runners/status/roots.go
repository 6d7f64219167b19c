package status

import (
	"fmt"

	"github.com/skytools-go/skytools/sql/pgqnode"
)

// dispute finds queues that have two roots, of which each believes that it is the only one:
// one was lost, another took its place, and the first is back. A node that is closed is
// being demoted, and its successor has subscribed it by its own worker: that is a
// switchover on its way.
//
// Source: contract/pgq.md sections 6.1 and 6.8.
func (r *Report) dispute() {
	for i := range r.Databases {
		for j := range i {
			a, b := &r.Databases[i], &r.Databases[j]
			for queue, one := range a.cascade {
				other, there := b.cascade[queue]
				if !there || one.Type != pgqnode.Root || other.Type != pgqnode.Root || one.Name == other.Name {
					continue
				}
				switch {
				case tookOver(other, one):
					r.lost(a, b, queue)
				case tookOver(one, other):
					r.lost(b, a, queue)
				case (knows(one, other) || knows(other, one)) && !one.InsertDisabled && !other.InsertDisabled &&
					one.Subscribers[other.Name].Worker != other.Worker && other.Subscribers[one.Name].Worker != one.Worker:
					r.rivals(a, b, queue)
					r.Problems = append(r.Problems, fmt.Sprintf("node/%s@%s and node/%s@%s are both root, and nobody has recorded which took the place of the other: stop writing to the one that the YAML does not mean, and take it out with state: absent; skytools plan",
						queue, a.Name, queue, b.Name))
				}
			}
		}
	}
}

// tookOver reports a root that has marked where the other was lost.
func tookOver(root, lost pgqnode.Node) bool {
	return root.Subscribers[lost.Name].Worker == lost.Name+".gravestone"
}

func knows(one, other pgqnode.Node) bool {
	_, known := one.Locations[other.Name]
	return known
}

func (r *Report) lost(old, root *Database, queue string) {
	r.rivals(old, root, queue)
	r.Problems = append(r.Problems, fmt.Sprintf("node/%s@%s and node/%s@%s are both root: %s took the place of %s when that was lost, and what is written to %s is on no other node: skytools queue lost %s@%s",
		queue, old.Name, queue, root.Name, root.Name, old.Name, old.Name, queue, old.Name))
}

// rivals says it of both nodes.
func (r *Report) rivals(a, b *Database, queue string) {
	for _, p := range [][2]*Database{{a, b}, {b, a}} {
		for i := range p[0].Nodes {
			if n := &p[0].Nodes[i]; n.Queue == queue {
				n.Rival = p[1].Name
			}
		}
	}
}
