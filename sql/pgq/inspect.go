package pgq

import (
	_ "embed"
	"time"

	"github.com/skytools-go/skytools/sql"
)

//go:embed inspect_queue.sql
var inspectQueueSQL string

//go:embed inspect_consumer.sql
var inspectConsumerSQL string

//go:embed inspect_retry.sql
var inspectRetrySQL string

// QueueDetails reads all there is to know about each queue. As [QueueFacts], it is
// for people and never compared.
var QueueDetails = sql.Catalog{Kind: "queue", Text: inspectQueueSQL}

// A QueueDetail is one row of [QueueDetails]. Periods are in seconds. What has not
// been measured, such as the age of the newest tick before the first, is nil.
type QueueDetail struct {
	ID              int32         `json:"id"`
	Name            string        `json:"name"`
	Prefix          string        `json:"prefix"` // schema.table, the parent of Tables
	Settings        QueueSettings `json:"settings"`
	Tick            *int64        `json:"tick"` // the newest
	TickTime        *time.Time    `json:"tick_time"`
	TickAge         *float64      `json:"tick_age_seconds"`
	OldestTick      *int64        `json:"oldest_tick"`
	OldestTickTime  *time.Time    `json:"oldest_tick_time"`
	NewEvents       *int64        `json:"new_events"` // after the newest tick, by the sequence
	EventsPerSecond *float64      `json:"events_per_second"`
	CurrentTable    int           `json:"current_table"` // the one of Tables that takes events
	Switched        time.Time     `json:"switched"`
	Switching       bool          `json:"switching"`   // the second half of a rotation is to come
	Due             float64       `json:"due_seconds"` // seconds since the next rotation is due; below zero: until
	Tables          []DataTable   `json:"tables"`
}

// QueueSettings are the settings of a [QueueDetail].
type QueueSettings struct {
	TickerMaxLag     float64 `json:"ticker_max_lag"`
	TickerMaxCount   int     `json:"ticker_max_count"`
	TickerIdlePeriod float64 `json:"ticker_idle_period"`
	RotationPeriod   float64 `json:"rotation_period"`
	TickerPaused     bool    `json:"ticker_paused"`
	ExternalTicker   bool    `json:"external_ticker"`
	DisableInsert    bool    `json:"disable_insert"`
	PerTxLimit       *int    `json:"per_tx_limit"`
}

// A DataTable holds events of a queue.
type DataTable struct {
	Name  string `json:"name"`
	Bytes *int64 `json:"bytes"` // nil: it is missing
}

// ConsumerDetails reads all there is to know about each consumer and member.
var ConsumerDetails = sql.Catalog{Kind: "consumer", Text: inspectConsumerSQL}

// A ConsumerDetail is one row of [ConsumerDetails].
type ConsumerDetail struct {
	Queue       string     `json:"queue"`
	Name        string     `json:"name"`
	MemberOf    *string    `json:"member_of"` // the cooperative consumer
	Owner       int32      `json:"owner"`     // shared by a cooperative consumer and its members
	Tick        *int64     `json:"tick"`      // nil: an idle member
	TickTime    *time.Time `json:"tick_time"`
	Lag         *float64   `json:"lag_seconds"`
	LastSeen    float64    `json:"last_seen_seconds"`
	Pending     *int64     `json:"pending"`
	Batch       *int64     `json:"batch"` // nil: none is open
	BatchEnd    *int64     `json:"batch_end"`
	BatchEvents *int64     `json:"batch_events"`
	Slowest     bool       `json:"slowest"`
	HoldsBack   float64    `json:"holds_back_seconds"` // seconds that a due rotation waits for it
}

// RetryDetails counts the events that wait to be delivered again. It needs
// pgq_admin. Source: contract/pgq.md section 8.
var RetryDetails = sql.Catalog{Kind: "retry", Text: inspectRetrySQL}

// A RetryDetail is one row of [RetryDetails].
type RetryDetail struct {
	Queue  string  `json:"queue"`
	Owner  int32   `json:"owner"`
	Events int64   `json:"events"`
	Due    float64 `json:"due_seconds"` // seconds until the next one
}
