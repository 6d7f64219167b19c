// Package compare finds the rows of a subscriber's table that are not what they should
// be, while both sides are in use, and writes the statements that put them right.
//
// # One point on both sides
//
// No lock holds writers up and nothing is paused. A subscriber commits its rows together
// with the tick that it has completed, so a snapshot of it shows its rows exactly at a
// tick T, whatever the worker does. A younger snapshot S of the provider shows the rows at
// T, but for those that transactions have changed which S sees and T does not. Each such
// change left an event in the provider's queue in the same transaction, so S sees the
// event exactly when it sees the change, and the events of that window are read in S:
//
//	rows at T  =  rows in S, apart from the keys of the events between T and S
//
// The rows with these keys are busy: both sides leave them out of all sums, and every
// other row that differs does differ. Of a busy row the first event in the window tells
// whether it was there at T: not before an insert, and certainly before an update or a
// delete. So a busy row that is missing or extra is known at once, also where it has
// stopped the worker, and the event has the values to put it there. Whether the values of
// a busy row were the same is looked at in the next round, at a tick that covers S, by
// key; what is busy again waits for one more round. A row that changes in every round
// stays unsettled and is reported as such: replay has written it anew each time. After
// TRUNCATE or a script in the window nothing more can be said, and the round is repeated.
//
// The window is complete: ticks go before the events that lie after them, so as long as T
// is there all events since are; and both the events and the table are locked in ACCESS
// SHARE mode before S is taken, which holds off a rotation and TRUNCATE but no writer. The
// same holds for a branch, whose queue has its own events and ticks, and for the root of
// a node further down, as ticks have one id in the whole cascade.
//
// # Equal rows stay where they are
//
// The servers count and sum up 64-bit hashes of rows, for ranges of the primary key that
// the provider divides. Ranges that differ are divided until they are small, and then the
// keys and hashes of their rows are compared. See canonical for what is equal.
//
// The package does not know YAML, and it does not know what else should be replicated.
package compare

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/skytools-go/skytools/runners"
	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgqnode"
)

// A Place is a node's database.
type Place struct {
	Name string
	DSN  func(context.Context) (string, error)
}

// Config says what to compare. Queue, Table and the places are required.
type Config struct {
	Queue, Table string // the table's global name
	Subscriber   Place
	Provider     Place // or any node above it

	Ignore   []string      // columns that are not replicated, beside those that the provider's triggers leave out
	Max      int           // differing rows after which no more are looked for; 0: 1000
	Rounds   int           // to look at rows that were busy; 0: 8
	Patience time.Duration // how long a round waits until the subscriber has caught up; 0: 1 min

	// Progress is called with the rows that were compared and the provider's estimate
	// of how many there are. It may be nil.
	Progress func(done, estimate int64)
	Hooks    Hooks
}

// Hooks are for tests. Each is called at its moment, if it is set.
type Hooks struct {
	Opened func(round int) // both snapshots are taken
}

// A comparison is one table's. It has two sessions and is not safe for concurrent use.
type comparison struct {
	Config
	here, above  *pg.Conn
	source, dest sql.Name
	queueID      int32
	prefix       string // of the tables with events
	ignored      []string
	left         bool   // the changes are not applied here: there is nothing to compare
	others       string // sources whose rows are in the table, too, and cannot be told from ours
	root         bool   // the provider is the root
	forced       time.Time
	stuck        time.Duration // see [stuck]
}

// Table compares one table.
func Table(ctx context.Context, c Config) (*Result, error) {
	began := time.Now()
	t, err := open(ctx, c)
	if err != nil {
		return nil, err
	}
	defer t.close()
	if note := t.incomparable(); note != "" {
		return &Result{Provider: t.Provider.Name, Subscriber: t.Subscriber.Name, Source: t.source.String(), Dest: t.dest.String(),
			Differences: []Difference{}, Unsettled: []Key{}, Notes: []string{note + ", and nothing was compared"}}, nil
	}
	r, err := t.run(ctx, nil)
	if err != nil {
		return nil, err
	}
	r.Seconds = time.Since(began).Seconds()
	return r, nil
}

// incomparable says why there is nothing to compare; empty: there is.
func (t *comparison) incomparable() string {
	switch {
	case t.left:
		return "its changes are not applied here"
	case t.others != "":
		return "it holds rows of " + t.others + ", too"
	}
	return ""
}

func open(ctx context.Context, c Config) (*comparison, error) {
	if c.Max == 0 {
		c.Max = 1000
	}
	if c.Rounds == 0 {
		c.Rounds = 8
	}
	if c.Patience == 0 {
		c.Patience = time.Minute
	}
	if c.Progress == nil {
		c.Progress = func(int64, int64) {}
	}
	if c.Hooks.Opened == nil {
		c.Hooks.Opened = func(int) {}
	}
	t := &comparison{Config: c, stuck: stuck}
	if err := t.connect(ctx); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *comparison) connect(ctx context.Context) (err error) {
	if t.here, err = t.dial(ctx, t.Subscriber); err == nil {
		t.dest, t.left, err = destOf(ctx, t.here, t.Queue, t.Table)
	}
	if err == nil {
		t.others, err = othersOf(ctx, t.here, t.Queue, t.dest)
	}
	if err != nil {
		return fmt.Errorf("subscriber %s: %w", t.Subscriber.Name, err)
	}
	if t.above, err = t.dial(ctx, t.Provider); err == nil {
		err = t.lookAbove(ctx)
	}
	if err != nil {
		return fmt.Errorf("provider %s: %w", t.Provider.Name, err)
	}
	return nil
}

func (t *comparison) close() {
	t.here.Close()
	t.above.Close()
}

func (t *comparison) dial(ctx context.Context, p Place) (*pg.Conn, error) {
	dsn, err := p.DSN(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := replay.Dial(ctx, dsn, pg.Options{App: "skytools compare " + t.Queue + " " + t.Table})
	if err != nil {
		return nil, err
	}
	// A long list of keys is only fast as a constant.
	_, err = conn.Exec(ctx, "select set_config('plan_cache_mode', 'force_custom_plan', false), set_config('lock_timeout', '10s', false), set_config('lc_monetary', 'C', false), set_config('client_encoding', 'UTF8', false)")
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("set up the session: %w", err)
	}
	return conn, nil
}

func (t *comparison) lookAbove(ctx context.Context) error {
	s, err := readStanding(ctx, t.above, t.Queue, t.Table)
	if err != nil {
		return err
	}
	t.source, t.root = s.Registered.Dest, s.Type == pgqnode.Root
	type row struct {
		ID     int32
		Prefix string
	}
	q, err := pg.Struct[row](ctx, t.above, "select queue_id as id, queue_data_pfx as prefix from pgq.queue where queue_name = $1", t.Queue)
	if errors.Is(err, pg.ErrNoRows) {
		return fmt.Errorf("it has no queue %s to read from", t.Queue)
	}
	if err != nil {
		return err
	}
	t.queueID, t.prefix = q.ID, q.Prefix
	t.ignored, err = ignoredBy(ctx, t.above, t.Queue, t.Table)
	return err
}

// run does rounds until every row is settled. With only, these rows alone are looked at.
func (t *comparison) run(ctx context.Context, only []Key) (*Result, error) {
	r := &Result{Provider: t.Provider.Name, Subscriber: t.Subscriber.Name, Source: t.source.String(), Dest: t.dest.String(),
		Differences: []Difference{}, Unsettled: []Key{}, Notes: []string{}}
	left, why := only, ""
	all := only == nil
	for r.Rounds < t.Rounds && (all || len(left) > 0) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var reached *point
		err := t.at(ctx, func(p *point) (err error) {
			r.Rounds++
			t.Hooks.Opened(r.Rounds)
			reached, why = p, p.whole
			switch {
			case p.whole != "" && all:
				left, err = t.present(ctx, p, p.busy, r)
			case p.whole != "":
				left, err = t.again(ctx, p, left, r)
			case all:
				left, err = t.everything(ctx, p, r)
				all = false
			default:
				left, err = t.again(ctx, p, left, r)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		if !all && len(left) == 0 || r.Rounds == t.Rounds {
			break
		}
		if err := t.passed(ctx, reached); err != nil {
			if !errors.Is(err, errStands) {
				return nil, err
			}
			r.Notes = append(r.Notes, err.Error())
			break
		}
	}
	if all {
		r.Notes = append(r.Notes, "only rows with changes under way could be looked at: "+why)
		if len(r.Differences) == 0 {
			return nil, fmt.Errorf("the rows could not be compared at one point: %s", strings.Join(r.Notes, "; "))
		}
		r.More = true
	}
	r.Unsettled = append(r.Unsettled, left...)
	return r, nil
}

// everything compares all rows that are not busy, and returns the keys that are.
func (t *comparison) everything(ctx context.Context, p *point, r *Result) ([]Key, error) {
	r.Tick, r.Notes = p.tick, append(r.Notes, p.provider.shape.notes...)
	estimate, err := p.provider.estimate(ctx)
	if err != nil {
		return nil, err
	}
	kinds, keys := map[string]string{}, []Key{}
	s := search{
		provider: p.provider, subscriber: p.subscriber,
		full: func() bool { return len(keys) >= t.Max },
		found: func(kind string, key Key) {
			if kinds[key.id()] == "" {
				keys = append(keys, key)
			}
			kinds[key.id()] = kind
		},
		done: func(provider, subscriber int64) {
			r.Rows, r.Here = r.Rows+provider, r.Here+subscriber
			t.Progress(r.Rows, max(estimate, r.Rows))
		},
	}
	if len(p.provider.shape.bytewise) > 0 {
		s.step = int(max(chunk, estimate/64)) // each one is a sort
	}
	if err := s.run(ctx); err != nil {
		return nil, err
	}
	r.More = s.skipped > 0 || len(keys) > t.Max
	if len(keys) > t.Max {
		keys = keys[:t.Max]
	}
	if err := t.explain(ctx, p, keys, kinds, r); err != nil {
		return nil, err
	}
	return t.present(ctx, p, p.busy, r)
}

// again compares rows by key and returns the keys that are busy now.
func (t *comparison) again(ctx context.Context, p *point, keys []Key, r *Result) (busy []Key, err error) {
	now := map[string]bool{}
	for _, k := range p.busy {
		now[k.id()] = true
	}
	var settled, unknown []Key
	for _, k := range keys {
		switch {
		case now[k.id()]:
			busy = append(busy, k)
		case p.whole != "":
			unknown = append(unknown, k)
		default:
			settled = append(settled, k)
		}
	}
	if busy, err = t.present(ctx, p, busy, r); err != nil {
		return nil, err
	}
	r.Rechecked += len(settled)
	if r.Tick == 0 {
		r.Tick = p.tick
	}
	for part := range slices.Chunk(settled, 5000) {
		a, b, err := both(func() ([]hashed, error) { return p.provider.rowsOf(ctx, part) }, func() ([]hashed, error) { return p.subscriber.rowsOf(ctx, part) })
		if err != nil {
			return nil, err
		}
		kinds, differing := map[string]string{}, []Key{}
		differ(a, b, func(kind string, key Key) { kinds[key.id()] = kind; differing = append(differing, key) })
		if room := max(0, t.Max-len(r.Differences)); len(differing) > room {
			differing, r.More = differing[:room], true
		}
		if err := t.explain(ctx, p, differing, kinds, r); err != nil {
			return nil, err
		}
	}
	return append(busy, unknown...), nil
}

// present looks whether busy rows are there as they should be before the events that make
// them busy, and returns the keys of those that are.
func (t *comparison) present(ctx context.Context, p *point, keys []Key, r *Result) (fine []Key, err error) {
	for part := range slices.Chunk(keys, 5000) {
		have, err := p.subscriber.rowsOf(ctx, part)
		if err != nil {
			return nil, fmt.Errorf("subscriber %s: %w", t.Subscriber.Name, err)
		}
		there := map[string]bool{}
		for _, row := range have {
			there[row.key.id()] = true
		}
		kinds, differing := map[string]string{}, []Key{}
		for _, k := range part {
			first := p.first[k.id()]
			switch {
			case first.insert && there[k.id()]:
				kinds[k.id()] = Extra
			case !first.insert && !there[k.id()] && p.table.Selected() == "":
				kinds[k.id()] = Missing
			default:
				fine = append(fine, k)
				continue
			}
			if len(r.Differences)+len(differing) >= t.Max {
				r.More = true
				continue
			}
			differing = append(differing, k)
		}
		if err := t.explain(ctx, p, differing, kinds, r); err != nil {
			return nil, err
		}
	}
	return fine, nil
}

// explain reads the values of rows that differ.
func (t *comparison) explain(ctx context.Context, p *point, keys []Key, kinds map[string]string, r *Result) error {
	for part := range slices.Chunk(keys, 1000) {
		want, have, err := both(func() (map[string][]value, error) { return p.provider.valuesOf(ctx, part) }, func() (map[string][]value, error) { return p.subscriber.valuesOf(ctx, part) })
		if err != nil {
			return err
		}
		for _, k := range part {
			id := k.id()
			if first, busy := p.first[id]; busy { // what the provider has now comes later
				if want[id], err = p.provider.before(first, want[id]); err != nil {
					return err
				}
			}
			r.Differences = append(r.Differences, p.difference(kinds[id], k, want[id], have[id]))
		}
	}
	r.here = p.subscriber
	if len(r.Differences) == 0 || r.parents != nil {
		return nil
	}
	var err error
	r.parents, err = pg.Rows[string](ctx, p.subscriber.tx, parentsSQL, t.dest.Schema, t.dest.Rel)
	if err != nil {
		return fmt.Errorf("read the foreign keys of %s: %w", t.dest, err)
	}
	return nil
}

const parentsSQL = `
select distinct pn.nspname || '.' || p.relname
  from pg_catalog.pg_constraint f
  join pg_catalog.pg_class c on c.oid = f.conrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_class p on p.oid = f.confrelid
  join pg_catalog.pg_namespace pn on pn.oid = p.relnamespace
 where f.contype = 'f' and n.nspname = $1 and c.relname = $2
 order by 1`

func (s *server) estimate(ctx context.Context) (int64, error) {
	n, err := pg.One[int64](ctx, s.tx, `
		select coalesce(sum(greatest(c.reltuples, 0)), 0)::int8
		  from pg_catalog.pg_class c
		 where c.oid in (select $1::text::regclass union all select i.relid from pg_catalog.pg_partition_tree($1::text::regclass) i)`, s.name.Ident())
	if err != nil {
		return 0, fmt.Errorf("estimate the rows of %s: %w", s.name, err)
	}
	return n, nil
}

// stuck is how long a worker that reports an error may stand still before nobody waits for
// it any more; retried is the same where a repair may have removed the reason: the worker
// pauses for up to half a minute between two attempts.
const (
	stuck   = 3 * time.Second
	retried = 35 * time.Second
)

// errStands says that a subscriber does not go on.
var errStands = errors.New("the subscriber did not catch up in time: is its worker running, and not paused?")

// passed waits until the subscriber has completed a tick that covers the provider's
// snapshot: then no event is in the window any more that was in it.
func (t *comparison) passed(ctx context.Context, p *point) error {
	began, moved, tick := time.Now(), time.Now(), p.tick
	for {
		s, err := readStanding(ctx, t.here, t.Queue, t.Table)
		if err != nil {
			return fmt.Errorf("subscriber %s: %w", t.Subscriber.Name, err)
		}
		covers, err := replay.Covers(ctx, t.above, t.Queue, s.Tick, p.snapshot)
		if err != nil {
			return fmt.Errorf("provider %s: %w", t.Provider.Name, err)
		}
		if covers {
			return nil
		}
		if s.Tick != tick {
			moved, tick = time.Now(), s.Tick
		}
		switch {
		case s.Error != "" && time.Since(moved) > t.stuck:
			return fmt.Errorf("%w (its worker says: %s)", errStands, s.Error)
		case time.Since(began) > t.Patience:
			return errStands
		}
		t.forceTick(ctx)
		if !runners.Sleep(ctx, 100*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// forceTick asks the root for a tick, where it may: an idle queue would make us wait for
// its idle period.
func (t *comparison) forceTick(ctx context.Context) {
	if !t.root || time.Since(t.forced) < time.Second {
		return
	}
	t.forced = time.Now()
	if _, err := t.above.Exec(ctx, "select pgq.force_tick($1)", t.Queue); err != nil {
		t.root = false // may not, or only reads: the ticker comes by itself
	}
}
