package pgq

import (
	_ "embed"

	"github.com/skytools-go/skytools/sql"
)

//go:embed queue.sql
var queueSQL string

// Queues reads the settings of every queue.
var Queues = sql.Catalog{Kind: "queue", Text: queueSQL}

// A Queue is one row of [Queues]. Periods are in seconds. A nil PerTxLimit means
// that a transaction may write any number of events.
type Queue struct {
	Name             string  `json:"name"`
	TickerMaxLag     float64 `json:"ticker_max_lag"`
	TickerIdlePeriod float64 `json:"ticker_idle_period"`
	RotationPeriod   float64 `json:"rotation_period"`
	TickerMaxCount   int     `json:"ticker_max_count"`
	TickerPaused     bool    `json:"ticker_paused"`
	ExternalTicker   bool    `json:"external_ticker"`
	DisableInsert    bool    `json:"disable_insert"`
	PerTxLimit       *int    `json:"per_tx_limit"`
}

// CreateQueue makes a queue with default settings; one that exists is left alone.
func CreateQueue(name string) sql.Stmt {
	return sql.Exec("select pgq.create_queue($1)", name)
}

// DropQueue drops a queue and its events. Without force it fails while the queue
// has consumers or captured tables; with it they are detached first.
func DropQueue(name string, force bool) sql.Stmt {
	return sql.Exec("select pgq.drop_queue($1, $2)", name, force)
}

// SetQueueConfig changes one of ticker_max_count, ticker_max_lag,
// ticker_idle_period, ticker_paused, rotation_period and external_ticker. The
// value is text as PostgreSQL reads it.
func SetQueueConfig(name, param, value string) sql.Stmt {
	return sql.Exec("select pgq.set_queue_config($1, $2, $3)", name, param, value)
}

// SetDisableInsert closes a queue to producers, or opens it. PgQ has no function
// for this setting, only the right of pgq_admin to change the table.
//
// Source: contract/pgq.md section 2.1.
func SetDisableInsert(name string, disable bool) sql.Stmt {
	return sql.Exec("update pgq.queue set queue_disable_insert = $2 where queue_name = $1", name, disable)
}

// SetPerTxLimit limits the events that one transaction may write; nil lifts it.
func SetPerTxLimit(name string, limit *int) sql.Stmt {
	if limit == nil {
		return sql.Exec("update pgq.queue set queue_per_tx_limit = null where queue_name = $1", name)
	}
	return sql.Exec("update pgq.queue set queue_per_tx_limit = $2 where queue_name = $1", name, *limit)
}
