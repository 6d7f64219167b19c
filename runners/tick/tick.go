// Package tick makes the ticks of all queues of a database.
//
// One statement serves all queues: pgq.ticker decides by each queue's own settings
// whether it is time, and notifies consumers that listen. The loop only asks often
// enough, and less often where asking is expensive.
package tick

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/skytools-go/skytools/runners"
	"github.com/skytools-go/skytools/sql/pg"
)

// Config says where and how often to tick.
type Config struct {
	DSN   func(context.Context) (string, error)
	Every time.Duration // 0: 100 ms, more where a round takes long
	Log   hclog.Logger
	Stats *Stats // may be nil
}

// Stats count what the ticker has done. They may be read at any time.
type Stats struct {
	Rounds atomic.Int64
	Ticks  atomic.Int64 // queues ticked
	Micros atomic.Int64 // duration of the last round
}

// A Ticker ticks one database. It is used by one goroutine.
type Ticker struct {
	Config
	conn *pg.Conn
}

// New returns a ticker.
func New(c Config) *Ticker {
	if c.Stats == nil {
		c.Stats = &Stats{}
	}
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	return &Ticker{Config: c}
}

// duty is the share of the time that the ticker may keep a session busy: a round
// that takes 25 ms is followed by at least 225 ms of rest.
const duty = 10

// Run ticks until ctx ends, or a round fails.
func (t *Ticker) Run(ctx context.Context) error {
	defer func() { t.conn.Close(); t.conn = nil }()
	for {
		took, err := t.RunOnce(runners.Work(ctx))
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("tick: %w", err)
		}
		every := t.Every
		if every == 0 {
			every = min(max(100*time.Millisecond, took*(duty-1)), 5*time.Second)
		}
		if !runners.Sleep(ctx, every) {
			return nil
		}
	}
}

// RunOnce asks every queue of the database whether it is time for a tick.
func (t *Ticker) RunOnce(ctx context.Context) (took time.Duration, err error) {
	if t.conn == nil {
		if t.conn, err = t.connect(ctx); err != nil {
			return 0, err
		}
	}
	began := time.Now()
	n, err := pg.One[int64](ctx, t.conn, "select pgq.ticker()")
	if err != nil {
		t.conn.Close()
		t.conn = nil
		return 0, err
	}
	took = time.Since(began)
	t.Stats.Rounds.Add(1)
	t.Stats.Ticks.Add(n)
	t.Stats.Micros.Store(took.Microseconds())
	return took, nil
}

func (t *Ticker) connect(ctx context.Context) (*pg.Conn, error) {
	dsn, err := t.DSN(ctx)
	if err != nil {
		return nil, err
	}
	return pg.Dial(ctx, dsn, pg.Options{App: "skytools tick"})
}
