package pgq

import (
	_ "embed"

	"github.com/skytools-go/skytools/sql"
)

//go:embed position.sql
var positionSQL string

// TickNear reads the [NearTicks] of a tick id, or of a time where the id is nil.
func TickNear(queue int32, id *int64, at *string) sql.Stmt {
	return sql.Exec(positionSQL, queue, id, at)
}

// NearTicks are the ticks around what was asked for: Here is the one with that id, or
// the newest that is not after that time. Nil where there is none.
type NearTicks struct {
	Here, Before, After *int64
}

// MoveConsumer puts a registered consumer at a tick, and drops the batch that it has
// open. It registers one that is not.
//
// Source: contract/pgq.md section 2.3.
func MoveConsumer(queue, consumer string, tick int64) sql.Stmt {
	return sql.Exec("select pgq.register_consumer_at($1, $2, $3)", queue, consumer, tick)
}
