package pgqnode

import (
	_ "embed"

	"github.com/skytools-go/skytools/sql"
)

//go:embed facts.sql
var factsSQL string

// NodeFacts reads how far the node of every queue in the database is.
var NodeFacts = sql.Catalog{Kind: "node", Text: factsSQL}

// Facts is one row of [NodeFacts]. Ticks are nil where the node has none; lags
// are in seconds.
type Facts struct {
	Queue           string   `json:"queue"`
	Name            string   `json:"name"`
	CompletedTick   *int64   `json:"completed_tick"` // of the worker; on a root the newest tick
	QueueTop        *int64   `json:"queue_top"`      // newest tick of the node's own queue
	WorkerLag       *float64 `json:"worker_lag"`     // known on a branch only
	Error           *string  `json:"error"`
	Paused          bool     `json:"paused"`
	Uptodate        bool     `json:"uptodate"` // the worker has seen its last order
	GlobalWatermark *int64   `json:"global_watermark"`
	LocalWatermark  *int64   `json:"local_watermark"`

	Subscribers map[string]SubscriberFacts `json:"subscribers"` // by node
	Consumers   map[string]ConsumerFacts   `json:"consumers"`
}

// SubscriberFacts says how far a node that reads from this one is: its worker, and
// the slowest consumer below it.
type SubscriberFacts struct {
	Tick         *int64   `json:"tick"`
	Lag          *float64 `json:"lag"`
	Watermark    *int64   `json:"watermark"`
	WatermarkLag *float64 `json:"watermark_lag"`
}

// ConsumerFacts says how far a cascaded consumer beside the worker is.
type ConsumerFacts struct {
	CompletedTick int64   `json:"completed_tick"`
	Error         *string `json:"error"`
	Uptodate      bool    `json:"uptodate"`
}
