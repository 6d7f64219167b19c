package consume

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/skytools-go/skytools/runners"
	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql/pg"
)

// A Consumer reads one queue. Its methods are not safe for concurrent use.
type Consumer struct {
	Config
	handler Handler
	where   string      // the filter
	source  *pg.Conn    // reads; in the queue's database
	work    *pg.Conn    // the handler's
	ticked  atomic.Bool // a tick was announced since the last look
	known   bool        // the registration was looked after

	perEvent int64 // bytes of text, in the last batch that was read
}

// New makes a consumer. It connects in its first round.
func New(c Config, h Handler) *Consumer {
	made := &Consumer{Config: c.filled(), handler: h}
	made.where = made.condition()
	return made
}

// Run does rounds until ctx ends, which is no error. A round that fails ends it.
// The batch in hand is finished; see [runners.Work].
func (c *Consumer) Run(ctx context.Context) error {
	defer c.Close()
	c.Log.Debug("consumer starts", "consumer", c.name())
	defer c.Log.Debug("consumer stops", "consumer", c.name())
	for ctx.Err() == nil {
		worked, err := c.RunOnce(ctx)
		if err != nil {
			return err
		}
		if !worked {
			c.wait(ctx)
		}
	}
	return nil
}

// RunOnce does at most one batch, and reports whether there was one. A request to
// stop does not interrupt it; see [runners.Work]. After an error the next round
// starts with new sessions.
func (c *Consumer) RunOnce(ctx context.Context) (worked bool, err error) {
	whole := false
	defer func() {
		if !whole { // also when the handler panics
			c.Stats.Errors.Add(1)
			c.Close()
		}
	}()
	worked, err = c.round(runners.Work(ctx))
	if err != nil {
		return false, fmt.Errorf("consumer %s: %w", c.name(), err)
	}
	whole = true
	return worked, nil
}

// Close ends the sessions. The consumer may be used again.
func (c *Consumer) Close() {
	c.source.Close()
	c.work.Close()
	c.source, c.work = nil, nil
}

// wait returns when there may be something to do: after a tick was announced, or Poll.
func (c *Consumer) wait(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, c.Poll)
	defer cancel()
	for ctx.Err() == nil && !c.ticked.Load() {
		if err := c.source.Wait(ctx); err != nil {
			if ctx.Err() == nil { // the next round finds out and says so
				runners.Sleep(ctx, c.Poll)
			}
			return
		}
	}
}

func (c *Consumer) round(ctx context.Context) (bool, error) {
	if err := c.connect(ctx); err != nil {
		return false, err
	}
	if err := c.register(ctx); err != nil {
		return false, err
	}
	c.ticked.Store(false) // before the look: what is announced after it wakes us
	b, err := c.open(ctx)
	if b == nil || err != nil {
		return false, err
	}
	if err := c.dialWork(ctx); err != nil {
		return false, err
	}
	do := c.here
	if c.Target != nil {
		do = c.there
	}
	retried, err := do(ctx, b)
	if err != nil {
		return false, fmt.Errorf("batch %d (ticks %d to %d): %w", b.ID, b.PrevTick, b.Tick, err)
	}
	c.Stats.Retried.Add(int64(retried))
	c.Stats.Tick.Store(b.Tick)
	c.Stats.Lag.Store(int64(time.Since(b.Time)))
	c.Stats.Batches.Add(1)
	return true, nil
}

// connect opens the session that reads, and listens; again when a handler that had
// enough has ended it.
func (c *Consumer) connect(ctx context.Context) error {
	if c.source != nil {
		return nil
	}
	dsn, err := c.DSN(ctx)
	if err != nil {
		return err
	}
	c.source, err = replay.Dial(ctx, dsn, pg.Options{
		App: "consume " + c.name(),
		Notify: func(_, queue string) {
			if queue == c.Queue {
				c.ticked.Store(true)
			}
		},
	})
	if err != nil {
		return err
	}
	if err := c.source.SortIn(ctx, smallText); err != nil {
		return err
	}
	return c.source.Listen(ctx, "pgq_tick")
}

// dialWork opens the session of the handler, with the settings that its database
// and role have.
func (c *Consumer) dialWork(ctx context.Context) error {
	if c.work != nil {
		return nil
	}
	where := c.Target
	if where == nil {
		where = c.DSN
	}
	dsn, err := where(ctx)
	if err != nil {
		return err
	}
	c.work, err = pg.Dial(ctx, dsn, pg.Options{App: "consume " + c.name()})
	return err
}

// register registers the consumer when that is asked for, once. A new registration
// begins at the newest tick: a position that the target has from an earlier life of
// the consumer says nothing any more.
func (c *Consumer) register(ctx context.Context) error {
	if c.known || !c.Register {
		return nil
	}
	var made int32
	var err error
	if c.Member == "" {
		made, err = pg.One[int32](ctx, c.source, "select pgq.register_consumer($1, $2)", c.Queue, c.Consumer)
	} else {
		made, err = pg.One[int32](ctx, c.source, "select pgq_coop.register_subconsumer($1, $2, $3)", c.Queue, c.Consumer, c.Member)
	}
	if err != nil {
		return fmt.Errorf("register: %w", err)
	}
	if made == 1 && c.Target != nil && c.Member == "" {
		if err := c.dialWork(ctx); err != nil {
			return err
		}
		if err := c.forget(ctx, []string{""}); err != nil {
			return err
		}
	}
	c.known = true
	return nil
}

// open opens the next batch, or finds the one that is open; nil: there is none.
//
// Source: contract/pgq.md sections 3.1 and 4.1.
func (c *Consumer) open(ctx context.Context) (*Batch, error) {
	type row struct {
		ID, Prev, Tick *int64
		Time           *time.Time
		Size           *int64
	}
	var r row
	var err error
	if c.Member == "" {
		r, err = pg.Struct[row](ctx, c.source, `
			select b.batch_id as id, b.prev_tick_id as prev, b.cur_tick_id as tick, b.cur_tick_time as time,
			       b.cur_tick_event_seq - b.prev_tick_event_seq as size
			  from pgq.next_batch_custom($1, $2, $3::interval, $4::int4, $5::interval) b`,
			c.Queue, c.Consumer, set(c.MinLag), set(c.MinCount), set(c.MinInterval))
	} else {
		r, err = pg.Struct[row](ctx, c.source, `
			select b.id, i.prev_tick_id as prev, i.tick_id as tick, i.batch_end as time, i.seq_end - i.seq_start as size
			  from pgq_coop.next_batch_custom($1, $2, $3, $4::interval, $5::int4, $6::interval, $7::interval) b (id)
			  left join lateral pgq.get_batch_info(b.id) i on true`,
			c.Queue, c.Consumer, c.Member, set(c.MinLag), set(c.MinCount), set(c.MinInterval), set(c.DeadAfter))
	}
	if err != nil {
		return nil, fmt.Errorf("open a batch: %w", err)
	}
	if r.ID == nil {
		return nil, nil
	}
	if r.Prev == nil || r.Tick == nil || r.Time == nil { // finished in between by another process
		return nil, fmt.Errorf("open batch %d: %w", *r.ID, ErrGone)
	}
	size := int64(math.MaxInt64) // ticks of an old installation may not know
	if r.Size != nil {
		size = *r.Size
	}
	return &Batch{ID: *r.ID, Queue: c.Queue, Consumer: c.Consumer, Member: c.Member,
		PrevTick: *r.Prev, Tick: *r.Tick, Time: *r.Time, consumer: c, size: size}, nil
}

// set is a parameter that is null when it says nothing.
func set[T comparable](value T) any {
	var nothing T
	if value == nothing {
		return nil
	}
	return value
}

// here does a batch in the queue's own database.
func (c *Consumer) here(ctx context.Context, b *Batch) (retried int, err error) {
	err = c.work.Write(ctx, func(tx *pg.Tx) error {
		b.retry = func(ctx context.Context, r retry) error { return b.putAside(ctx, tx, r) }
		if err := c.handle(ctx, tx, b); err != nil {
			return err
		}
		return c.finish(ctx, tx, b)
	})
	return b.retried, err
}

// handle calls the handler, and notices what it has not.
func (c *Consumer) handle(ctx context.Context, tx *pg.Tx, b *Batch) error {
	defer func() { b.retry = nil }()
	if err := c.handler(ctx, tx, b); err != nil {
		return err
	}
	if b.reading {
		return errors.New("the handler has ended, and its events are still being read")
	}
	return b.failed
}

// finish closes a batch of the queue. Who closes it second has done what somebody
// else did, and must roll back.
func (c *Consumer) finish(ctx context.Context, tx *pg.Tx, b *Batch) error {
	text := "select pgq.finish_batch($1)"
	if c.Member != "" {
		text = "select pgq_coop.finish_batch($1)"
	}
	closed, err := pg.One[int32](ctx, tx, text, b.ID)
	if err != nil {
		return fmt.Errorf("finish: %w", err)
	}
	if closed == 0 {
		return ErrGone
	}
	return nil
}
