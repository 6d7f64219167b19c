// Package pgqext is the SQL by which a database remembers what a consumer has done
// in it, when the queue is in another database.
package pgqext

import (
	"embed"

	"github.com/skytools-go/skytools/sql"
)

//go:embed schema/*.sql
var files embed.FS

// Schema installs pgq_ext, which needs no other schema: only the role that its
// grants name is that of pgq.
//
// Source: contract/pgq.md sections 1.5, 3.2, 8.
var Schema = sql.NewSchema(sql.Schema{
	Name:    "pgq_ext",
	Version: "3.1",
	Roles:   []sql.Role{{Name: "pgq_writer"}},
}, files,
	"schema/tables.sql",
	"schema/version.sql",
	"schema/batch.sql",
	"schema/event.sql",
	"schema/tick.sql",
	"schema/grants.sql",
)
