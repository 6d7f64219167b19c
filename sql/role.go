package sql

import "strings"

// A Role is a group role (NOLOGIN) that grants are made to. Roles belong to the
// whole server and not to a database, so two databases may both want one.
type Role struct {
	Name     string   `json:"name"`
	MemberOf []string `json:"member_of"`
}

// Create makes the role and its memberships, unless they exist. It can be run
// again, and by two sessions at once: a role that appears meanwhile is as good.
// It needs CREATEROLE, and from PostgreSQL 16 on ADMIN on the roles in MemberOf,
// which the creator of a role has.
func (r Role) Create() Stmt {
	var out strings.Builder
	out.WriteString("do $$\nbegin\n")
	out.WriteString("  if not exists (select from pg_catalog.pg_roles where rolname = " + Literal(r.Name) + ") then\n")
	out.WriteString("    create role " + Ident(r.Name) + ";\n  end if;\n")
	for _, group := range r.MemberOf {
		out.WriteString("  if not pg_catalog.pg_has_role(" + Literal(r.Name) + ", " + Literal(group) + ", 'member') then\n")
		out.WriteString("    grant " + Ident(group) + " to " + Ident(r.Name) + ";\n  end if;\n")
	}
	out.WriteString("exception when duplicate_object or unique_violation then null;\nend\n$$")
	return Stmt{Text: out.String()}
}
