// Package londiste is the SQL interface of table replication: the schema londiste,
// the queries that observe what is replicated and what tables look like, and the
// commands that change it.
//
// Names of tables and sequences are stored unquoted as schema.name; see sql.Name.
// A command answers with a ret_code; from 400 on its transaction must be rolled
// back. Source: contract/londiste.md sections 0 and 1.
package londiste

import (
	"embed"

	"github.com/skytools-go/skytools/sql"
)

//go:embed schema/*.sql
var files embed.FS

// Schema installs londiste.
//
// Workers apply changes with session_replication_role = replica. The schema's
// function for that runs as the owner, who must be a superuser or, from PostgreSQL
// 15 on, have been granted SET on that parameter.
var Schema = sql.NewSchema(sql.Schema{
	Name:     "londiste",
	Version:  "3.9",
	Requires: []string{"pgq_node"},
	Roles: []sql.Role{
		{Name: "londiste_writer", MemberOf: []string{"pgq_admin"}},
		{Name: "londiste_reader", MemberOf: []string{"pgq_reader"}},
	},
}, files,
	"schema/tables.sql",
	"schema/version.sql",
	"schema/name.sql",
	"schema/session.sql",
	"schema/trigger.sql",
	"schema/table.sql",
	"schema/copy.sql",
	"schema/sequence.sql",
	"schema/execute.sql",
	"schema/fkey.sql",
	"schema/partition.sql",
	"schema/upgrade.sql",
	"schema/grants.sql",
)
