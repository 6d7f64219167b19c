package consume

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/skytools-go/skytools/sql/meta"
	"github.com/skytools-go/skytools/sql/pg"
)

// there does a batch in another database, in the order that the package comment
// gives reasons for.
func (c *Consumer) there(ctx context.Context, b *Batch) (retried int, err error) {
	m := mark{b: b, member: c.Member != ""}
	var aside []retry
	err = c.work.Write(ctx, func(tx *pg.Tx) error {
		if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock($1)", m.lock(c.As)); err != nil {
			return fmt.Errorf("wait for others in the target: %w", err)
		}
		done, err := c.isDone(ctx, tx, m)
		if err != nil {
			return err
		}
		if done {
			aside, err = c.remembered(ctx, tx, m)
			return err
		}
		b.retry = func(_ context.Context, r retry) error { aside = append(aside, r); return nil }
		if err := c.handle(ctx, tx, b); err != nil {
			return err
		}
		return c.remember(ctx, tx, m, aside)
	})
	if err != nil {
		return 0, err
	}
	if err := c.connect(ctx); err != nil {
		return 0, err
	}
	err = c.source.Write(ctx, func(tx *pg.Tx) error {
		for _, r := range aside {
			if err := b.putAside(ctx, tx, r); err != nil {
				return fmt.Errorf("retry event %d: %w", r.event, err)
			}
		}
		return c.finish(ctx, tx, b)
	})
	if err != nil {
		return 0, err
	}
	return len(aside), c.forget(ctx, m.passing(len(aside)))
}

// verify asks the queue whether the batch is still ours.
func (c *Consumer) verify(ctx context.Context, b *Batch) error {
	ours, err := pg.One[bool](ctx, c.source, `
		select coalesce(consumer_name = $2 and prev_tick_id = $3 and tick_id = $4, false)
		  from pgq.get_batch_info($1)`, b.ID, c.registered(), b.PrevTick, b.Tick)
	switch {
	case errors.Is(err, pg.ErrNoRows), err == nil && !ours:
		return ErrGone
	case err != nil:
		return fmt.Errorf("look at it again: %w", err)
	}
	return nil
}

// A mark is what the target remembers of a batch: rows of pgq_ext.completed_tick
// whose subconsumer is their name.
//
//	plain consumer:  ''  the last tick that is done; stays
//	member:          'batch 7 to tick 3'  3
//	events aside:    'batch 7 to tick 3, retry 1'  the event's id
//	                 'batch 7 to tick 3, after 1'  microseconds
type mark struct {
	b      *Batch
	member bool
}

func (m mark) prefix() string { return fmt.Sprintf("batch %d to tick %d", m.b.ID, m.b.Tick) }

// name is that of the row which says that the batch is done.
func (m mark) name() string {
	if m.member {
		return m.prefix()
	}
	return ""
}

func (m mark) event(i int) string { return fmt.Sprintf("%s, retry %d", m.prefix(), i) }
func (m mark) after(i int) string { return fmt.Sprintf("%s, after %d", m.prefix(), i) }

// lock is the advisory lock that who does the batch holds.
func (m mark) lock(as string) int64 {
	if m.member {
		return meta.LockKey(fmt.Sprintf("consume %s batch %d", as, m.b.ID))
	}
	return meta.LockKey("consume " + as)
}

// passing are the names of the rows that nobody needs once the batch is finished.
func (m mark) passing(aside int) []string {
	var names []string
	if m.member {
		names = append(names, m.name())
	}
	for i := range aside {
		names = append(names, m.event(i+1), m.after(i+1))
	}
	return names
}

// isDone reports whether the batch is done in the target, and refuses it when it is
// not ours to do. The target is asked before the queue: a mark that is gone by then
// belongs to a batch that is finished, and the queue says so.
func (c *Consumer) isDone(ctx context.Context, tx *pg.Tx, m mark) (bool, error) {
	at, err := c.recall(ctx, tx, m.name())
	if err != nil || at != nil && *at == m.b.Tick {
		return err == nil, err
	}
	if err := c.verify(ctx, m.b); err != nil {
		return false, err
	}
	if at == nil {
		return false, c.formerlyDone(ctx, tx, m)
	}
	if !m.member && *at == m.b.PrevTick {
		return false, nil
	}
	return false, &PositionError{As: c.As, Prev: m.b.PrevTick, Tick: m.b.Tick, Done: *at}
}

// formerlyDone refuses a first batch that is done under the name of another consumer.
func (c *Consumer) formerlyDone(ctx context.Context, tx *pg.Tx, m mark) error {
	if c.Formerly == "" || m.member {
		return nil
	}
	at, err := recall(ctx, tx, c.Formerly, "")
	if err == nil && at != nil && *at == m.b.Tick {
		err = &FormerError{c.Formerly, m.b.ID, m.b.Tick}
	}
	return err
}

// recall is the value of one row, nil when there is none.
func (c *Consumer) recall(ctx context.Context, tx *pg.Tx, name string) (*int64, error) {
	return recall(ctx, tx, c.As, name)
}

func recall(ctx context.Context, tx *pg.Tx, as, name string) (*int64, error) {
	at, err := pg.One[*int64](ctx, tx, "select pgq_ext.get_last_tick($1, $2)", as, name)
	if err != nil {
		return nil, fmt.Errorf("ask the target what is done: %w", err)
	}
	return at, nil
}

// remembered are the events that a batch which is done has put aside.
func (c *Consumer) remembered(ctx context.Context, tx *pg.Tx, m mark) (aside []retry, err error) {
	for i := 1; ; i++ {
		event, err := c.recall(ctx, tx, m.event(i))
		if err != nil || event == nil {
			return aside, err
		}
		after, err := c.recall(ctx, tx, m.after(i))
		if err != nil {
			return nil, err
		}
		r := retry{event: *event}
		if after != nil {
			r.after = time.Duration(*after) * time.Microsecond
		}
		aside = append(aside, r)
	}
}

// remember marks the batch as done.
func (c *Consumer) remember(ctx context.Context, tx *pg.Tx, m mark, aside []retry) error {
	names, values := []string{m.name()}, []int64{m.b.Tick}
	for i, r := range aside {
		names = append(names, m.event(i+1), m.after(i+1))
		values = append(values, r.event, r.after.Microseconds())
	}
	_, err := tx.Exec(ctx, "select pgq_ext.set_last_tick($1, m.name, m.value) from unnest($2::text[], $3::int8[]) m (name, value)", c.As, names, values)
	if err != nil {
		return fmt.Errorf("record it in the target: %w", err)
	}
	return nil
}

// forget takes rows away.
func (c *Consumer) forget(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	_, err := c.work.Exec(ctx, "select pgq_ext.set_last_tick($1, m.name, null::int8) from unnest($2::text[]) m (name)", c.As, names)
	if err != nil {
		return fmt.Errorf("clean up in the target: %w", err)
	}
	return nil
}
