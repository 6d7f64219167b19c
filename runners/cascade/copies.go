package cascade

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	tablecopy "github.com/skytools-go/skytools/runners/copy"
	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
)

// parkedAtMost is how long replay waits for one table. After that the table catches
// up once more: something else is wrong with it.
const parkedAtMost = 30 * time.Second

// copies starts the copies of tables and takes over what they have done.
type copies struct {
	w       *Worker
	changed chan struct{} // a copy went on

	all     context.Context // of everything that runs
	stopAll context.CancelFunc
	running map[string]*running // by table; touched by the worker alone
	waits   map[string]*backoff
	parked  map[string]time.Time // since when a table makes replay wait
	limits  []*tablecopy.Limit
	turns   chan struct{}   // one for each table whose rows are copied at a time
	locked  sync.Map        // tables whose copy waits for a lock, and not for its turn
	said    map[string]bool // that a table waits for its provider
}

// running is a copy, or the restoring of foreign keys.
type running struct {
	done chan struct{}
	err  error // after done
}

// backoff says when a copy that failed may start again.
type backoff struct {
	failures int
	until    time.Time
}

func (c *copies) init(w *Worker) {
	c.w, c.changed = w, make(chan struct{}, 1)
	c.turns = make(chan struct{}, w.Copies)
	c.running, c.waits = map[string]*running{}, map[string]*backoff{}
	if w.Rate > 0 {
		c.limits = []*tablecopy.Limit{tablecopy.NewLimit(w.Rate)}
	}
	c.parked, c.said = map[string]time.Time{}, map[string]bool{}
}

func (c *copies) poke() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// turn waits until the rows of another table may be copied.
func (c *copies) turn(ctx context.Context) (end func(), err error) {
	select {
	case c.turns <- struct{}{}:
		return func() { <-c.turns }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// waitsForLock keeps account of a copy that others need not wait for.
func (c *copies) waitsForLock(table string) func(bool) {
	return func(waits bool) {
		if waits {
			c.locked.Store(table, true)
		} else {
			c.locked.Delete(table)
		}
		c.poke()
	}
}

// stop ends all copies. They can be started again.
func (c *copies) stop() {
	if c.stopAll != nil {
		c.stopAll()
		c.stopAll = nil
	}
	for name, r := range c.running {
		<-r.done
		delete(c.running, name)
	}
}

// unfinished is a table that the worker does not have yet, or a consumer of a copy
// that is left over.
type unfinished struct {
	Table    string
	Local    bool
	State    string
	Snapshot string
	Attrs    string
	Tick     *int64 // completed by the copy
	Fkeys    bool   // instead of a table: some foreign key waits to be put back
}

const unfinishedSQL = `
with copy as (
    select substr(s.consumer_name, length($2) + 7) as table_name, s.last_tick_id
      from pgq_node.local_state s
     where s.queue_name = $1 and starts_with(s.consumer_name, $2 || '.copy.')
)
select coalesce(t.table_name, copy.table_name, '') as table, coalesce(t.local, false) as local,
       coalesce(t.merge_state, '') as state, coalesce(t.custom_snapshot, '') as snapshot,
       coalesce(t.table_attrs, '') as attrs, copy.last_tick_id as tick, false as fkeys
  from (select * from londiste.table_info where queue_name = $1) t
  full join copy on copy.table_name = t.table_name
 where copy.table_name is not null
    or t.local and (t.merge_state is distinct from 'ok' or t.custom_snapshot is not null)
 union all
select '', false, '', '', '', null, true
 where exists (select 1 from londiste.pending_fkeys)`

// approach is how many ticks before the hand-over of a table the worker begins to
// take one at a time, so that it meets the tick of the copy. A tick that was passed
// is no harm: the copy comes after.
const approach = 50

// readyAtMost is how many large tables, for each that may be copied at a time, wait for
// their turn with sessions open and registered, the one that has its turn among them:
// its rows are followed by those of another at once.
const readyAtMost = 2

// waitAtMost is how many tables, for each that may be copied at a time, are on their
// way at once: those that have their rows wait for ticks more than they work, and
// others need not wait for that.
const waitAtMost = 8

// look goes over all unfinished tables. It reports whether batches may span ticks,
// which they may not while a table is about to be handed over; it parks the worker
// until one is.
//
// Source: contract/londiste.md sections 2.3 and 2.6.
func (c *copies) look(ctx context.Context, s *state) (whole bool, err error) {
	w := c.w
	whole = true
	if !w.londiste {
		return true, nil
	}
	select {
	case <-c.changed:
	default:
	}
	rows, err := pg.Structs[unfinished](ctx, w.here, unfinishedSQL, w.Queue, s.Worker)
	if err != nil {
		return false, fmt.Errorf("list the tables to copy: %w", err)
	}
	c.collect()
	waiting := c.parked
	c.parked = map[string]time.Time{}
	active := 0
	var missing, copying []unfinished
	for _, t := range rows {
		if t.Table == "" {
			if t.Fkeys {
				c.start(ctx, "", w.restoreFkeys)
			}
			continue
		}
		if !t.Local || t.State == replay.StateOK && t.Snapshot == "" {
			c.copy(ctx, s, t) // only cleans up
			continue
		}
		switch {
		case t.State == "":
			missing = append(missing, t)
		case t.State == replay.StateOK || t.State == "?":
			err = c.dropSnapshot(ctx, s, t)
		default:
			active++
			if t.State == tablecopy.InCopy {
				copying = append(copying, t)
			}
			if wantsHandOver(t.State) && tablecopy.TickOf(t.State) <= s.Completed+approach {
				whole = false
			}
			err = c.handOver(ctx, s, t, waiting[t.Table])
			c.copy(ctx, s, t)
		}
		if err != nil {
			return false, err
		}
	}
	if err := c.begin(ctx, s, missing, copying, waitAtMost*w.Copies-active); err != nil {
		return false, err
	}
	for name := range c.parked {
		w.parked = true
		if time.Since(c.parked[name]) > parkedAtMost {
			w.Log.Warn("replay waited too long for a copy: the table catches up once more", "queue", w.Queue, "table", name)
			delete(c.parked, name)
			if err := c.again(ctx, rows, name); err != nil {
				return false, err
			}
		}
	}
	return whole, nil
}

func (c *copies) again(ctx context.Context, rows []unfinished, name string) error {
	for _, t := range rows {
		if t.Table == name && strings.HasPrefix(t.State, tablecopy.DoSync) {
			_, err := replay.SetState(ctx, c.w.here, c.w.Queue, name, t.State, tablecopy.CatchingUp, t.Snapshot)
			return err
		}
	}
	return nil
}

func wantsHandOver(state string) bool {
	return strings.HasPrefix(state, tablecopy.WannaSync) || strings.HasPrefix(state, tablecopy.DoSync)
}

// handOver takes a table over when its copy has completed the tick that the worker
// has completed. A copy that is behind is asked to come, and replay waits for it.
func (c *copies) handOver(ctx context.Context, s *state, t unfinished, since time.Time) error {
	if !wantsHandOver(t.State) || t.Snapshot != "" || t.Tick == nil {
		return nil
	}
	to := ""
	switch {
	case *t.Tick == s.Completed:
		to = replay.StateOK
	case *t.Tick > s.Completed:
		to = tablecopy.WannaSync + strconv.FormatInt(*t.Tick, 10)
	default:
		to = tablecopy.DoSync + strconv.FormatInt(s.Completed, 10)
		if since.IsZero() {
			since = time.Now()
		}
		c.parked[t.Table] = since
	}
	if to == t.State {
		return nil
	}
	done, err := replay.SetState(ctx, c.w.here, c.w.Queue, t.Table, t.State, to, "")
	if err == nil && done && to == replay.StateOK {
		c.w.Log.Info("table is in sync", "queue", c.w.Queue, "table", t.Table, "tick", s.Completed)
	}
	return err
}

// begin starts copies of tables that wait for one, as many as there is room for: small
// ones beside each other, and large ones as many as can have their turn soon. Foreign
// keys are taken off by the copy.
func (c *copies) begin(ctx context.Context, s *state, missing, copying []unfinished, room int) error {
	if len(missing) == 0 || room <= 0 {
		return nil
	}
	var names []string
	for _, t := range slices.Concat(missing, copying) {
		names = append(names, t.Table)
	}
	type row struct {
		Name         string
		Ready, Small bool
		Size         int64
	}
	// Sizes are those of the statistics: to ask for the true ones would wait for a table
	// that somebody has locked, and replay with it.
	tables, err := pg.Structs[row](ctx, c.w.above, `
		select t.table_name as name, t.merge_state in ('ok', '?') and `+tablecopy.PartsReady+` as ready,
		       coalesce(s.bytes, 0) as size,
		       coalesce(c.relkind = 'r' and c.reltuples >= 0 and s.bytes <= $3, false) as small
		  from londiste.table_info t
		  left join pg_class c on c.oid = londiste.find_table_oid(coalesce(t.dest_table, t.table_name))
		  left join pg_class toast on toast.oid = c.reltoastrelid
		 cross join lateral (
		        select (c.relpages + coalesce(toast.relpages, 0))::int8 * current_setting('block_size')::int8 as bytes) s
		 where t.queue_name = $1 and t.table_name = any($2) and t.local and t.merge_state is not null`,
		c.w.Queue, names, tablecopy.Small)
	if err != nil {
		return fmt.Errorf("provider %s: list its tables: %w", s.Provider, err)
	}
	at := make(map[string]row, len(tables))
	for _, t := range tables {
		at[t.Name] = t
	}
	large := readyAtMost * c.w.Copies
	for _, t := range copying {
		if _, waits := c.locked.Load(t.Table); !at[t.Table].Small && !waits {
			large--
		}
	}
	// The largest first: begun last it would be what all wait for in the end.
	slices.SortStableFunc(missing, func(a, b unfinished) int { return cmp.Compare(at[b.Table].Size, at[a.Table].Size) })
	for _, t := range missing {
		attrs, err := londiste.ParseDict(t.Attrs)
		if err != nil {
			return fmt.Errorf("table %s: table_attrs: %w", t.Table, err)
		}
		if attrs.Get("copy_node") == "" && !at[t.Table].Ready {
			if !c.said[t.Table] {
				c.said[t.Table] = true
				c.w.Log.Info("table waits until its provider has it in sync", "queue", c.w.Queue, "table", t.Table, "provider", s.Provider)
			}
			continue
		}
		delete(c.said, t.Table)
		if !at[t.Table].Small {
			if large <= 0 {
				continue
			}
			large--
		}
		if room--; room < 0 {
			return nil
		}
		if _, err := replay.SetState(ctx, c.w.here, c.w.Queue, t.Table, "", tablecopy.InCopy, ""); err != nil {
			return err
		}
		c.copy(ctx, s, t)
	}
	return nil
}

// copy starts the copy of a table, unless it is running or has failed just now.
func (c *copies) copy(ctx context.Context, s *state, t unfinished) {
	config := tablecopy.Config{
		Queue: c.w.Queue, Table: t.Table, Worker: s.Worker,
		Sessions: c.w.Sessions, Piece: c.w.Piece, Limits: c.limits, Turn: c.turn, Locked: c.waitsForLock(t.Table),
		DSN: c.w.DSN, Reach: c.w.Reach, MaskKey: c.w.MaskKey, Changed: c.poke, Log: c.w.Log, Stats: c.w.Stats,
	}
	c.start(ctx, t.Table, func(ctx context.Context) error { return tablecopy.Run(ctx, config) })
}

func (c *copies) start(ctx context.Context, name string, f func(context.Context) error) {
	if c.running[name] != nil {
		return
	}
	if b := c.waits[name]; b != nil && time.Now().Before(b.until) {
		return
	}
	if c.stopAll == nil {
		c.all, c.stopAll = context.WithCancel(context.WithoutCancel(ctx))
	}
	r := &running{done: make(chan struct{})}
	c.running[name] = r
	all := c.all
	go func() {
		defer c.poke()
		defer close(r.done)
		r.err = f(all)
	}()
}

// collect looks after copies that have ended.
func (c *copies) collect() {
	for name, r := range c.running {
		select {
		case <-r.done:
		default:
			continue
		}
		delete(c.running, name)
		if r.err == nil {
			delete(c.waits, name)
			continue
		}
		b := c.waits[name]
		if b == nil {
			b = &backoff{}
			c.waits[name] = b
		}
		wait := min(30*time.Second, c.w.Poll<<min(b.failures, 10))
		b.failures, b.until = b.failures+1, time.Now().Add(wait)
		c.w.Log.Error("copy failed, it starts again", "queue", c.w.Queue, "table", name, "error", r.err, "in", wait, "failures", b.failures)
	}
}

// dropSnapshot ends the filter of a table that another program has copied. The
// snapshot is compared with the node that it may have been taken on; our own copies
// leave none.
func (c *copies) dropSnapshot(ctx context.Context, s *state, t unfinished) error {
	attrs, err := londiste.ParseDict(t.Attrs)
	if err != nil {
		return fmt.Errorf("table %s: table_attrs: %w", t.Table, err)
	}
	if node := attrs.Get("copy_node"); node != "" && node != s.Provider {
		return fmt.Errorf("table %s: its copy from node %s left the snapshot %s, which means nothing on provider %s, whose events are replayed: copy the table again (resync)", t.Table, node, t.Snapshot, s.Provider)
	}
	covered, err := replay.Covers(ctx, c.w.above, c.w.Queue, s.Completed, t.Snapshot)
	if err != nil || !covered {
		return err
	}
	_, err = replay.SetState(ctx, c.w.here, c.w.Queue, t.Table, t.State, replay.StateOK, "")
	return err
}
