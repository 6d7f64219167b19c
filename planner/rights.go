package planner

import (
	"fmt"
	"slices"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pgqnode"
)

// rights says which privileges the steps ahead need that the role which observed
// does not have, before anything is changed. Who plans need not be who applies or
// runs, so these are notes and stand in nobody's way.
func (b *builder) rights(p *Plan) {
	for _, n := range p.Nodes {
		d := b.database(n.Name)
		if !d.reached() || d.Rights.Superuser || d.User == "" {
			continue
		}
		creates := func(kind string, types ...string) bool {
			return slices.ContainsFunc(p.Changes, func(c *Change) bool {
				return c.Node == n.Name && c.Kind == kind && c.Action == Create && (len(types) == 0 || b.nodeWillBe(c, types))
			})
		}
		note := func(code, message, try string) {
			p.Diagnostics = append(p.Diagnostics, Diagnostic{Severity: "note", Code: code, Address: n.Name, Message: message, Try: try})
		}
		if creates("schema") && !d.Rights.CreateIn {
			note("needs-create", fmt.Sprintf("%s may not create schemas here; who applies must", d.User),
				fmt.Sprintf("grant create on database %s to the role that applies", sql.Ident(d.Name)))
		}
		if creates("role") && !d.Rights.CreateRole {
			note("needs-createrole", fmt.Sprintf("%s may not create the group roles; who applies must, or they are made once by hand", d.User),
				"alter role ... createrole, or the beginning of: skytools sql print pgq")
		}
		if creates("node", pgqnode.Branch, pgqnode.Leaf) && !d.Rights.ReplicaRole {
			note("needs-replica-role", fmt.Sprintf("%s may not set session_replication_role; if who runs may not either, replay works, but triggers and foreign keys here fire for replayed rows", d.User),
				replicaTry(d.Server))
		}
	}
}

// nodeWillBe reports whether a change creates a node of one of the types.
func (b *builder) nodeWillBe(c *Change, types []string) bool {
	return slices.ContainsFunc(c.Fields, func(f Field) bool {
		text, _ := f.After.(string)
		return f.Path == "type" && slices.Contains(types, text)
	})
}

// replicaTry is how the right to be silent is given.
// Source: PostgreSQL documentation, GRANT (SET ON PARAMETER, from version 15 on).
func replicaTry(server string) string {
	if len(server) >= 2 && server[:2] < "15" {
		return "before PostgreSQL 15 only a superuser can"
	}
	return "as a superuser: grant set on parameter session_replication_role to the role that runs"
}
