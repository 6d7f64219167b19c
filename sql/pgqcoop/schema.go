// Package pgqcoop is the SQL of cooperative consumers: several workers that share
// the batches of one consumer.
package pgqcoop

import (
	"embed"

	"github.com/skytools-go/skytools/sql"
)

//go:embed schema/*.sql
var files embed.FS

// Schema installs pgq_coop, which holds only functions over the tables of pgq.
//
// Source: contract/pgq.md sections 1.4, 3.1, 8.
var Schema = sql.NewSchema(sql.Schema{
	Name:     "pgq_coop",
	Version:  "3.5",
	Requires: []string{"pgq"},
	Roles:    []sql.Role{{Name: "pgq_reader"}},
}, files,
	"schema/coop.sql",
	"schema/grants.sql",
)
