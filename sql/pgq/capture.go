package pgq

import (
	_ "embed"

	"github.com/skytools-go/skytools/sql"
)

//go:embed capture.sql
var captureSQL string

// Captures reads every trigger that feeds a queue, whoever made it.
var Captures = sql.Catalog{Kind: "capture", Text: captureSQL}

// A Capture is one row of [Captures]: a table has one for its rows and usually
// one for truncate.
type Capture struct {
	Queue     string   `json:"queue"`
	Table     string   `json:"table"` // schema.name, unquoted
	Trigger   string   `json:"trigger"`
	On        string   `json:"on"`       // row, truncate; insert, update, delete of a statement, and its key
	Function  string   `json:"function"` // in schema pgq
	Args      []string `json:"args"`     // without the queue
	Enabled   string   `json:"enabled"`  // origin, always, replica or disabled
	Generated bool     `json:"generated"`
	IsCurrent bool     `json:"is_current"` // fires, and does what Args say for the table as it is now; with row and insert so do those that belong to it
}

// Main reports the trigger that stands for its capture: the others belong to it.
func (c *Capture) Main() bool { return c.On == "row" || c.On == "insert" }

// Statement is the option for triggers that fire once for a statement. Only
// [CreateCapture] knows it.
const Statement = "statement"

// CreateCapture feeds the changes of a table into a queue through a function made
// for the two, or makes an existing capture current. Args are the options of
// pgq.jsontriga without the queue, and [Statement].
//
// Source: contract/pgq.md section 7.1.
func CreateCapture(queue, table, trigger string, args []string) sql.Stmt {
	if args == nil {
		args = []string{}
	}
	return sql.Exec("select pgq.create_capture($1, $2, $3, $4)", queue, table, trigger, args)
}

// RenewCaptures makes captures current whose table was altered since they were made, as
// a script does. Elsewhere than in our own PgQ there are none.
func RenewCaptures() sql.Stmt {
	return sql.Stmt{
		If:   "select to_regprocedure('pgq.renew_captures()') is not null",
		Text: "select pgq.renew_captures()",
	}
}

// DropCapture removes all triggers of a table that feed the queue.
func DropCapture(queue, table string) sql.Stmt {
	return sql.Exec("select pgq.drop_capture($1, $2)", queue, table)
}
