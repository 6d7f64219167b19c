package pgq

import (
	_ "embed"

	"github.com/skytools-go/skytools/sql"
)

//go:embed fact_queue.sql
var queueFactSQL string

//go:embed fact_consumer.sql
var consumerFactSQL string

// QueueFacts reads how far each queue is. Two readings differ always: they are
// for people and metrics, and are never compared.
var QueueFacts = sql.Catalog{Kind: "queue", Text: queueFactSQL}

// A QueueFact is one row of [QueueFacts]. Seconds and bytes are nil where there
// is nothing to measure.
type QueueFact struct {
	Name       string   `json:"name"`
	EvNew      *int64   `json:"ev_new"` // events after the newest tick
	LastTickID *int64   `json:"last_tick_id"`
	TickerLag  *float64 `json:"ticker_lag"` // seconds since the newest tick
	Bytes      *int64   `json:"bytes"`      // data tables with their indexes
}

// ConsumerFacts reads how far each consumer is, members apart. As [QueueFacts],
// it is never compared.
var ConsumerFacts = sql.Catalog{Kind: "consumer", Text: consumerFactSQL}

// A ConsumerFact is one row of [ConsumerFacts]. A member without a batch has no
// position: its Pending and Lag are nil.
type ConsumerFact struct {
	Queue     string   `json:"queue"`
	Name      string   `json:"name"`
	Pending   *int64   `json:"pending"` // events up to the newest tick
	Lag       *float64 `json:"lag"`     // seconds since the tick that it is at
	LastSeen  float64  `json:"last_seen"`
	Slowest   bool     `json:"slowest"`
	HoldsBack float64  `json:"holds_back"` // seconds that a due rotation waits for it
}
