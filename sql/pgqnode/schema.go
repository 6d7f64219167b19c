// Package pgqnode is the SQL interface of cascaded queues: the schema pgq_node,
// the queries that observe the node of each queue and the commands that change it.
//
// A command answers with a ret_code; from 400 on its transaction must be rolled
// back. Source: contract/pgq.md sections 5 and 6.
package pgqnode

import (
	"embed"

	"github.com/skytools-go/skytools/sql"
)

//go:embed schema/*.sql
var files embed.FS

// Schema installs pgq_node. Its grants name the roles of pgq.
var Schema = sql.NewSchema(sql.Schema{
	Name:     "pgq_node",
	Version:  "3.6",
	Requires: []string{"pgq"},
}, files,
	"schema/tables.sql",
	"schema/version.sql",
	"schema/location.sql",
	"schema/node.sql",
	"schema/subscriber.sql",
	"schema/consumer.sql",
	"schema/watermark.sql",
	"schema/takeover.sql",
	"schema/grants.sql",
)
