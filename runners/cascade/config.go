// Package cascade runs the worker of one node of a cascade: it brings the node to
// where its provider is, batch by batch, exactly once.
//
// A leaf applies the changes of replicated tables. A branch also copies all events
// into its own queue, with their ids and ticks. A root has nothing to apply: its
// worker publishes the global watermark and sequences. What the node is, is read
// anew in every round, so a takeover needs no restart. A leaf may also be merged into
// another queue of its database: merge.go says what becomes of it.
//
// Source: contract/pgq.md section 6.7 and contract/londiste.md section 3.
package cascade

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/skytools-go/skytools/runners/replay"
)

// Config says where the worker works. Queue and DSN are required.
type Config struct {
	Queue string
	DSN   func(ctx context.Context) (string, error) // of the node's database

	// Reach answers how to connect to another node whose location is known to the
	// cascade. Nil: by the location itself.
	Reach func(ctx context.Context, node, location string) (dsn string, err error)

	// MaskKey answers the key of masks' hashes. Nil: there is none.
	MaskKey func(ctx context.Context) ([]byte, error)

	Poll      time.Duration // how long to wait for a tick that nobody announces; 0: 1 s
	Copies    int           // tables whose rows are copied at a time, beside small ones; 0: 2
	Sessions  int           // that copy parts of one large table, or make its indexes, at a time; 0: 4
	Piece     int64         // bytes of a large table that are copied at a time; 0: 128 MiB
	Rate      int64         // bytes a second of all copies together; 0: no limit
	Watermark time.Duration // between two reports of the watermark; 0: 30 s

	Log   hclog.Logger  // nil: none
	Stats *replay.Stats // nil: not wanted
	Hooks Hooks
}

// Hooks are for tests. Each is called at its moment, if it is set.
type Hooks struct {
	Committed func(tick int64) // the batch is applied; the tick is not made and the batch not finished yet
}

func (c Config) filled() Config {
	if c.Poll == 0 {
		c.Poll = time.Second
	}
	if c.Copies == 0 {
		c.Copies = 2
	}
	if c.Watermark == 0 {
		c.Watermark = 30 * time.Second
	}
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	if c.Stats == nil {
		c.Stats = &replay.Stats{}
	}
	if c.Reach == nil {
		c.Reach = func(_ context.Context, _, location string) (string, error) { return location, nil }
	}
	if c.Hooks.Committed == nil {
		c.Hooks.Committed = func(int64) {}
	}
	return c
}
