package pgq

import (
	_ "embed"

	"github.com/skytools-go/skytools/sql"
)

//go:embed insert.sql
var insertSQL string

// NewEvent is an event to be inserted; nil is NULL.
type NewEvent struct {
	Type, Data                     *string
	Extra1, Extra2, Extra3, Extra4 *string
}

// InsertEvents inserts events in this order and answers with their ids. It needs
// pgq_writer.
//
// Source: contract/pgq.md section 2.2.
func InsertEvents(queue string, events []NewEvent) sql.Stmt {
	columns := make([][]*string, 6)
	for _, e := range events {
		for i, v := range []*string{e.Type, e.Data, e.Extra1, e.Extra2, e.Extra3, e.Extra4} {
			columns[i] = append(columns[i], v)
		}
	}
	return sql.Exec(insertSQL, queue, columns[0], columns[1], columns[2], columns[3], columns[4], columns[5])
}
