package planner

import (
	"fmt"

	"github.com/skytools-go/skytools/sql/pgqnode"
)

// returned reports a node that was the root until it was lost, and is back while another
// has taken its place. It is not the root of a switchover that is on its way: there the
// new root has subscribed it by its own worker when it was promoted.
//
// What such a node has written since is on no other node, and its ticks mean something
// else than those of the cascade: it cannot be made a branch where it stands.
// Source: contract/pgq.md section 6.8, resurrect.
func (s *Scene) returned(queue, database string) bool {
	q := s.Set.Queues.Get(queue)
	if q == nil || q.Root() == nil || q.Root().Name == database || s.isDead(database) {
		return false
	}
	have, there := nodesIn(s, database)[queue]
	root, rules := nodesIn(s, q.Root().Name)[queue]
	return there && have.Type == pgqnode.Root && rules && root.Type == pgqnode.Root && root.Subscribers[database] != have.Worker
}

func refuseReturned(s *Scene, queue, database string) *Diagnostic {
	root := s.Set.Queues.Get(queue).Root().Name
	return &Diagnostic{Code: "returned-root",
		Message: fmt.Sprintf("%s was the root until it was lost, and %s has taken its place: what %s wrote last is on no other node", database, root, database),
		Try: fmt.Sprintf("save it with skytools queue lost %s@%s, take the node out with state: absent, apply, and declare it anew: its tables are copied again",
			queue, database)}
}
