package pgqnode

import (
	_ "embed"

	"github.com/skytools-go/skytools/sql"
)

//go:embed reader.sql
var readerSQL string

// Readers names the consumers of a queue whose positions are the cascade's to move.
//
// Source: contract/pgq.md sections 1.3, 6.1.
func Readers(queue string) sql.Stmt { return sql.Exec(readerSQL, queue) }
