package planner

import (
	"strconv"

	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql/londiste"
)

// copyFrom is where the attribute copy_node points: up by name if there is a node on the
// way whose rows are other than the root's, or else to whichever node has the table.
func copyFrom(q *spec.Queue, t *spec.Table, n, up *spec.Node) string {
	for node := q.Nodes.Get(n.Provider); node != nil && node != up; node = q.Nodes.Get(node.Provider) {
		if holds(t, node) {
			return up.Name
		}
	}
	return "?"
}

// copyAttrs sets what the YAML says about the copy. A root has none.
func copyAttrs(attrs map[string]string, t *spec.Table, n *spec.Node) {
	delete(attrs, londiste.AttrRate)
	delete(attrs, londiste.AttrIndexes)
	if n.Type == spec.Root {
		return
	}
	if t.Copying.Rate > 0 {
		attrs[londiste.AttrRate] = strconv.FormatInt(int64(t.Copying.Rate), 10)
	}
	if t.Copying.Indexes == spec.IndexesKeep {
		attrs[londiste.AttrIndexes] = "keep"
	}
}

// copySource is the node that the YAML names to copy from; empty: none, or one that
// waits for this node itself.
func copySource(q *spec.Queue, t *spec.Table, n *spec.Node) string {
	for up := q.Nodes.Get(t.Copying.From); up != nil; up = q.Nodes.Get(up.Provider) {
		if up.Name == n.Name {
			return ""
		}
	}
	return t.Copying.From
}
