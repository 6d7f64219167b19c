// Package pgq is the SQL of PgQ: the schema that installs it, the queries that
// observe queues, consumers and captured tables, and the commands that change
// them. It opens no connection; package sql/pg runs what it returns.
package pgq

import (
	"embed"

	"github.com/skytools-go/skytools/sql"
)

//go:embed schema/*.sql
var files embed.FS

// Schema installs pgq without C modules and without a superuser, on PostgreSQL 14
// and later. Its function names, arguments and results are those of PgQ 3.5.
//
// Source: contract/pgq.md sections 0, 1, 2, 8.
var Schema = sql.NewSchema(sql.Schema{
	Name:    "pgq",
	Version: "3.6",
	Roles: []sql.Role{
		{Name: "pgq_reader"},
		{Name: "pgq_writer"},
		{Name: "pgq_admin", MemberOf: []string{"pgq_reader", "pgq_writer"}},
	},
}, files,
	"schema/tables.sql",
	"schema/version.sql",
	"schema/name.sql",
	"schema/sequence.sql",
	"schema/event.sql",
	"schema/writer.sql",
	"schema/ticker.sql",
	"schema/consumer.sql",
	"schema/batch.sql",
	"schema/cursor.sql",
	"schema/retry.sql",
	"schema/rotation.sql",
	"schema/maint.sql",
	"schema/info.sql",
	"schema/queue_grants.sql",
	"schema/queue.sql",
	"schema/urlencode.sql",
	"schema/column.sql",
	"schema/option.sql",
	"schema/trigger.sql",
	"schema/source.sql",
	"schema/capture.sql",
	"schema/grants.sql",
)
