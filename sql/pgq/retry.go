package pgq

import (
	_ "embed"

	"github.com/skytools-go/skytools/sql"
)

//go:embed retry_events.sql
var retryEventsSQL string

// RetryEvents reads the events that wait to be delivered to a consumer again, of the
// ids given or all, as [RetryEvent] rows. The consumer is named by its queue's id and
// its [ConsumerDetail.Owner]. This and what follows needs pgq_admin.
//
// Source: contract/pgq.md sections 1.1, 4.9, 8.
func RetryEvents(queue, owner int32, ids []int64) sql.Stmt {
	return sql.Exec(retryEventsSQL, queue, owner, orEmpty(ids))
}

// A RetryEvent waits to be delivered to a consumer again.
type RetryEvent struct {
	ID     int64   `json:"id"`
	Time   string  `json:"time"`        // when it was inserted first
	Due    float64 `json:"due_seconds"` // until it is put back into its queue; below zero: it waits for the upkeep
	Retry  *int32  `json:"retry"`       // which time it is, from 1
	Type   *string `json:"type"`
	Data   *string `json:"data"`
	Extra1 *string `json:"extra1,omitempty"`
	Extra2 *string `json:"extra2,omitempty"`
	Extra3 *string `json:"extra3,omitempty"`
	Extra4 *string `json:"extra4,omitempty"`
}

// HurryRetries makes waiting events due at once, those with the ids given or all.
func HurryRetries(queue, owner int32, ids []int64) sql.Stmt {
	return sql.Exec(`update pgq.retry_queue set ev_retry_after = now()
 where ev_queue = $1 and ev_owner = $2 and (cardinality($3::int8[]) = 0 or ev_id = any ($3))`, queue, owner, orEmpty(ids))
}

// DropRetries discards waiting events: the consumer never gets them again.
func DropRetries(queue, owner int32, ids []int64) sql.Stmt {
	return sql.Exec("delete from pgq.retry_queue where ev_queue = $1 and ev_owner = $2 and ev_id = any ($3::int8[])", queue, owner, orEmpty(ids))
}

// RetryBatch puts the events of an open batch aside, to be delivered again after so many
// seconds. It answers how many; those that wait already are not counted. The batch
// stays open. It needs pgq_reader only.
func RetryBatch(batch int64, seconds int32) sql.Stmt {
	return sql.Exec("select pgq.batch_retry($1, $2)", batch, seconds)
}
