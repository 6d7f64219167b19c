package londiste

import (
	_ "embed"

	"github.com/skytools-go/skytools/sql"
)

//go:embed facts.sql
var factsSQL string

// TableFacts reads how far the copy of every local table is.
var TableFacts = sql.Catalog{Kind: "table", Text: factsSQL}

// Facts is one row of [TableFacts].
type Facts struct {
	Queue string `json:"queue"`
	Name  string `json:"name"`
	// MergeState is nil when the copy waits to start, then in-copy, catching-up,
	// wanna-sync:TICK, do-sync:TICK, ok. Source: contract/londiste.md section 2.1.
	MergeState     *string `json:"merge_state"`
	CustomSnapshot *string `json:"custom_snapshot"` // events it sees are in the copy already
	Dest           string  `json:"dest"`            // the table here
	DroppedDDL     bool    `json:"dropped_ddl"`     // indexes are off until the copies end
	Rows           int64   `json:"rows"`            // in pieces of the copy that have committed
	PendingFkeys   int     `json:"pending_fkeys"`
}
