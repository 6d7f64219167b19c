package londiste

import _ "embed"

// Missing reads what is not replicated in a database, as rows of [Absent].
//
//go:embed missing.sql
var Missing string

// Absent is a table or sequence that is not replicated where it could be.
type Absent struct {
	Kind  string // table, sequence
	Queue string
	Name  string // schema.rel, unquoted
	Root  bool   // the database is the queue's root
}
