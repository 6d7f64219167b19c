// Package tick makes the ticks of all queues of a database.
//
// One statement looks at all queues, and pgq decides by each queue's own settings
// whether it is time. The loop knows only when to ask again:
//
//	idle   no queue has new events: after two thirds of the smallest ticker_max_lag,
//	       so that the first event of a quiet queue waits no longer than that
//	busy   events wait for their tick: when the first of them is due, and at least
//	       every 100 ms, because ticker_max_count may be reached before
//	asked  somebody notified pgq_force_tick: now. A queue's name as payload makes
//	       that queue tick, even if its settings see no need yet
//
// Asking takes at most a fifth of a session's time. It works beside other tickers
// and on the original PgQ, where it asks more often because it is told less.
//
// Source: contract/pgq.md sections 4.2, 4.6 and 9.3.
package tick

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/skytools-go/skytools/runners"
	"github.com/skytools-go/skytools/sql/pg"
)

// Config says where and how often to tick.
type Config struct {
	DSN   func(context.Context) (string, error)
	Every time.Duration // between two rounds; 0: as the queues need it

	// Absent is how long to wait before looking again whether pgq is there at all.
	// 0: a database without it is an error.
	Absent time.Duration

	Log   hclog.Logger
	Stats *Stats // may be nil
}

// Stats count what the ticker has done. They may be read at any time.
type Stats struct {
	Rounds atomic.Int64
	Ticks  atomic.Int64 // queues ticked
	Forced atomic.Int64 // ticks that were asked for
	Micros atomic.Int64 // duration of the last round
}

// A Ticker ticks one database. It is used by one goroutine.
type Ticker struct {
	Config
	conn   *pg.Conn
	cost   time.Duration   // of a round, without what only now and then disturbs it
	ours   bool            // the database has pgq._tick_all
	wanted map[string]bool // queues that somebody wants ticked; "": whichever need it
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

// Run ticks until ctx ends, or a round fails.
func (t *Ticker) Run(ctx context.Context) error {
	defer t.close()
	for {
		r, err := t.RunOnce(runners.Work(ctx))
		switch {
		case err == nil:
			err = t.wait(ctx, t.rest(r))
		case t.Absent > 0 && runners.Unapplied(err):
			runners.Sleep(ctx, t.Absent)
			continue
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("tick: %w", err)
		}
	}
}

// A Round is what one look at all queues found.
type Round struct {
	Ticked int64         // queues
	Busy   int64         // queues with new events, those that were ticked among them
	Due    time.Duration // until the first of them must be ticked; negative: none waits
	MaxLag time.Duration // the smallest ticker_max_lag; 0: there is no queue
	Took   time.Duration
}

// RunOnce ticks the queues that need it, and those that somebody asked for.
func (t *Ticker) RunOnce(ctx context.Context) (r Round, err error) {
	if t.conn == nil {
		if err := t.connect(ctx); err != nil {
			return r, err
		}
	}
	began := time.Now()
	if err = t.force(ctx); err == nil {
		r, err = t.round(ctx)
	}
	if err != nil {
		t.close()
		return r, err
	}
	r.Took = time.Since(began)
	t.Stats.Rounds.Add(1)
	t.Stats.Ticks.Add(r.Ticked)
	t.Stats.Micros.Store(r.Took.Microseconds())
	return r, nil
}

// force makes the queues that were asked for look as if they needed a tick.
func (t *Ticker) force(ctx context.Context) error {
	for _, queue := range slices.Sorted(maps.Keys(t.wanted)) {
		if queue == "" {
			continue
		}
		tick, err := pg.One[*int64](ctx, t.conn, "select pgq.force_tick($1)", queue)
		if err != nil {
			return err
		}
		if tick != nil { // anybody may ask, for queues that do not exist, too
			t.Stats.Forced.Add(1)
		}
	}
	clear(t.wanted) // also of the echo of the above
	return nil
}

// answer is a row of pgq._tick_all, its times in seconds.
type answer struct {
	Ticked, Busy int64
	Due, MaxLag  *float64
}

func (t *Ticker) round(ctx context.Context) (Round, error) {
	text := `
		select ticked, busy, extract(epoch from due)::float8 as due, extract(epoch from max_lag)::float8 as max_lag
		  from pgq._tick_all()`
	if !t.ours {
		text = `
			select pgq.ticker() as ticked, 0::int8 as busy, null::float8 as due,
			       (select extract(epoch from min(queue_ticker_max_lag))::float8
			          from pgq.queue where not queue_external_ticker and not queue_ticker_paused) as max_lag`
	}
	a, err := pg.Struct[answer](ctx, t.conn, text)
	r := Round{Ticked: a.Ticked, Busy: a.Busy, Due: -1}
	if a.Due != nil {
		r.Due = max(0, seconds(*a.Due))
	}
	if a.MaxLag != nil {
		r.MaxLag = max(seconds(*a.MaxLag), time.Millisecond)
	}
	return r, err
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

const (
	duty     = 5                      // one part of work, at least four of rest
	shortest = 2 * time.Millisecond   // between two rounds
	longest  = 5 * time.Second        // and how long a new queue may be overlooked
	flowing  = 100 * time.Millisecond // while events arrive
)

// rest says how long to wait before the next round.
func (t *Ticker) rest(r Round) time.Duration {
	if t.Every > 0 {
		return t.Every
	}
	d := longest
	switch {
	case r.MaxLag == 0:
	case !t.ours: // it does not tell whether queues are busy
		d = min(r.MaxLag/10, time.Second)
	case r.Busy == 0:
		d = min(r.MaxLag*2/3, longest)
	default:
		d = min(r.MaxLag, flowing)
		if r.Due >= 0 {
			d = min(d, r.Due)
		}
	}
	if t.cost = min(t.cost+(r.Took-t.cost)/8, r.Took); t.cost == 0 {
		t.cost = r.Took
	}
	return max(d, shortest, t.cost*(duty-1))
}

// wait returns after d, or soon after somebody asked for a tick. Its error is the
// loss of the session.
func (t *Ticker) wait(ctx context.Context, d time.Duration) error {
	turn, stop := context.WithTimeout(ctx, d)
	defer stop()
	began := time.Now()
	for len(t.wanted) == 0 {
		if err := t.conn.Wait(turn); err != nil {
			if turn.Err() != nil {
				return nil
			}
			t.close()
			return err
		}
	}
	runners.Sleep(ctx, shortest-time.Since(began)) // many who ask at once are served together
	return nil
}

func (t *Ticker) connect(ctx context.Context) error {
	dsn, err := t.DSN(ctx)
	if err != nil {
		return err
	}
	t.wanted = map[string]bool{}
	conn, err := pg.Dial(ctx, dsn, pg.Options{App: "skytools tick", Notify: func(_, queue string) { t.wanted[queue] = true }})
	if err != nil {
		return err
	}
	t.conn = conn
	t.ours, err = pg.One[bool](ctx, conn, "select to_regprocedure('pgq._tick_all()') is not null")
	if err == nil {
		err = conn.Listen(ctx, "pgq_force_tick")
	}
	if err != nil {
		t.close()
	}
	return err
}

func (t *Ticker) close() {
	t.conn.Close()
	t.conn = nil
}
