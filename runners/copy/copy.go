// Package tablecopy brings one table of a subscriber in sync: it copies the rows
// from a node that has them, and replays what happened meanwhile, until the table
// is where the node's worker is and can be handed over to it.
//
// Where a copy stands is in londiste.table_info and in the position of the copy's
// own consumer, so that it can be killed and started again at any moment:
//
//	in-copy       the rows are copied, in one transaction with the step to the next
//	              state; or in pieces, see below
//	catching-up   first, the indexes that pieces have dropped are made again. Then the copy's consumer replays the table's events. Those that were
//	              copied with the rows are skipped by custom_snapshot, which is
//	              dropped at the first tick that covers it
//	wanna-sync:T  tick T is completed; the worker may take over
//	do-sync:T     the worker waits at tick T, the copy goes there
//	ok            the worker's
//
// A table that holds nothing here and much at the source is copied in pieces, by
// several sessions that read one snapshot and commit each on its own: one session
// would be as slow as one processor, and nobody else can write what a transaction
// does not show yet. Until the step to catching-up its rows are a part of what they
// will be; the state says so, and londiste.table_info.dropped_ddl has what is missing.
//
// When such a copy is interrupted before all rows are there, it begins again with an
// empty table. The snapshot ends with its session, and pieces of another one do not
// fit: an update moves a row to another page, so it could be in both or in none, and
// changes that no event tells of (of columns that are left out) cannot be replayed
// over it. What is not begun again are the tables that are copied already, and
// indexes: those that are made stay.
//
// A table may have several sources, each with its copy. Their rows come together: none
// empties the table, or drops its indexes, when another has rows in it. See merge.go.
//
// The worker alone makes the step to ok, when both have completed the same tick.
// No snapshot outlives catching-up: it means nothing on another node.
//
// Source: contract/londiste.md section 2.
package tablecopy

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/skytools-go/skytools/runners"
	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgqnode"
)

// States of a table, beside replay.StateOK and the empty one.
const (
	InCopy     = "in-copy"
	CatchingUp = "catching-up"
	WannaSync  = "wanna-sync:"
	DoSync     = "do-sync:"
)

// TickOf is the tick in a state such as wanna-sync:31; 0 if there is none.
func TickOf(state string) int64 {
	_, text, _ := strings.Cut(state, ":")
	tick, _ := strconv.ParseInt(text, 10, 64)
	return tick
}

// Consumer is the name of the consumer that copies a table for a worker.
func Consumer(worker, table string) string { return worker + ".copy." + table }

// Config says which table to copy, and who is replaying beside us.
type Config struct {
	Queue, Table string
	Worker       string // the node's consumer
	DSN          func(ctx context.Context) (string, error)
	Reach        func(ctx context.Context, node, location string) (string, error)
	MaskKey      func(ctx context.Context) ([]byte, error) // of masks' hashes; may be nil
	Sessions     int                                       // that copy parts of a large table, or make its indexes, at a time; 0: 4
	Piece        int64                                     // bytes of a large table that are copied at a time; 0: 128 MiB
	Limits       []*Limit                                  // beside the table's own
	Turn         Turn                                      // of who copies rows; may be nil
	Locked       func(waits bool)                          // called when it begins and ends to wait for a lock without its turn; may be nil
	Changed      func()                                    // called when the worker should look at the table's state; may be nil
	Log          hclog.Logger
	Stats        *replay.Stats // may be nil
}

// Small is how many bytes a table may have to be copied beside others without waiting
// for its turn: what takes time of such a copy is not the rows.
const Small = 1 << 20

// near is how many ticks behind the worker a copy may be when it asks to be handed
// over: the worker waits while they are replayed.
const near = 5

// soon is how long a batch that led to the newest tick may have taken, for the copy
// to be near however many ticks have come meanwhile: what they hold takes no longer.
const soon = time.Second

// A Copy is one table's copy. It is not safe for concurrent use.
type Copy struct {
	Config
	consumer string
	limits   []*Limit
	endTurn  func() // nil: it has no turn, needs none, or has given it up
	here     *pg.Conn
	above    *pg.Conn
	source   string // node that above leads to
	weight   replay.Weight
	root     *pg.Conn
	forced   time.Time
	replica  atomic.Bool // of the sessions here
	close    bool        // the last batch led to the newest tick, soon
}

// Run goes on until the table needs no copy any more: then the copy's consumer is
// gone. An error leaves everything as it was for another Run.
func Run(ctx context.Context, c Config) error {
	t := &Copy{Config: c, consumer: Consumer(c.Worker, c.Table)}
	if t.Sessions == 0 {
		t.Sessions = 4
	}
	if t.Piece == 0 {
		t.Piece = 128 << 20
	}
	if t.Log == nil {
		t.Log = hclog.NewNullLogger()
	}
	if t.Changed == nil {
		t.Changed = func() {}
	}
	if t.Locked == nil {
		t.Locked = func(bool) {}
	}
	defer t.hangUp()
	for {
		if ctx.Err() != nil {
			return nil
		}
		wait, done, err := t.step(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			t.store(ctx, err)
			return fmt.Errorf("copy table %s of queue %s: %w", t.Table, t.Queue, err)
		}
		if done {
			return nil
		}
		if wait > 0 {
			runners.Sleep(ctx, wait)
		}
	}
}

func (t *Copy) hangUp() {
	t.here.Close()
	t.above.Close()
	t.root.Close()
}

// store shows the error beside the copy's position.
func (t *Copy) store(ctx context.Context, err error) {
	if t.here == nil || t.here.Closed() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	replay.Call(ctx, t.here, pgqnode.SetConsumerError(t.Queue, t.consumer, err.Error()))
}

// A stand is where the copy and the worker are.
type stand struct {
	Registered *replay.Registered
	Provider   string // of the worker
	Worker     int64  // tick that it has completed
	Source     string // node that the copy's consumer reads from; empty: it has no position
	Completed  int64  // tick that the copy has completed
}

func (t *Copy) look(ctx context.Context) (*stand, error) {
	if t.here == nil {
		here, err := t.dialHere(ctx)
		if err != nil {
			return nil, err
		}
		t.here = here
	}
	r, err := replay.Lookup(ctx, t.here, t.Queue, t.Table)
	if err != nil {
		return nil, err
	}
	type row struct {
		Provider, Source  string
		Worker, Completed int64
	}
	p, err := pg.Struct[row](ctx, t.here, `
		select w.provider_node as provider, w.last_tick_id as worker,
		       coalesce(c.provider_node, '') as source, coalesce(c.last_tick_id, 0) as completed
		  from pgq_node.local_state w
		  left join pgq_node.local_state c on c.queue_name = w.queue_name and c.consumer_name = $3
		 where w.queue_name = $1 and w.consumer_name = $2`, t.Queue, t.Worker, t.consumer)
	if err != nil {
		return nil, fmt.Errorf("read the positions of worker and copy: %w", err)
	}
	return &stand{r, p.Provider, p.Worker, p.Source, p.Completed}, nil
}

// dialHere opens a session of the node that writes rows. It is safe for concurrent
// use.
func (t *Copy) dialHere(ctx context.Context) (*pg.Conn, error) {
	dsn, err := t.DSN(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := replay.Dial(ctx, dsn, pg.Options{App: t.app()})
	if err != nil {
		return nil, err
	}
	replica, err := replay.Become(ctx, conn, t.Queue)
	if err != nil {
		conn.Close()
		return nil, err
	}
	t.replica.Store(replica)
	return conn, nil
}

func (t *Copy) app() string { return "skytools copy " + t.Queue + " " + t.Table }

// step does the next thing. It reports how long to wait before another one.
func (t *Copy) step(ctx context.Context) (wait time.Duration, done bool, err error) {
	s, err := t.look(ctx)
	if err != nil {
		return 0, false, err
	}
	r := s.Registered
	if r == nil || !r.Local || r.State == "" || r.State == replay.StateOK {
		return 0, true, t.leave(ctx, s)
	}
	if r.State != InCopy && s.Source == "" {
		t.Log.Warn("the position of a copy is gone: it starts again", "queue", t.Queue, "table", t.Table, "state", r.State)
		return 0, false, t.restart(ctx, r)
	}
	switch {
	case r.State == InCopy:
		return t.copy(ctx, s)
	case r.State == CatchingUp:
		return t.catchUp(ctx, s)
	case r.Snapshot != "": // another program's
		_, err := replay.SetState(ctx, t.here, t.Queue, t.Table, r.State, CatchingUp, r.Snapshot)
		return 0, false, err
	case strings.HasPrefix(r.State, WannaSync):
		return 50 * time.Millisecond, false, nil
	case strings.HasPrefix(r.State, DoSync):
		if s.Completed >= TickOf(r.State) {
			t.Changed()
			return 20 * time.Millisecond, false, nil
		}
		return t.replayBatch(ctx, s, TickOf(r.State))
	}
	return 0, false, fmt.Errorf("its state %q is unknown", r.State)
}

func (t *Copy) restart(ctx context.Context, r *replay.Registered) error {
	_, err := replay.SetState(ctx, t.here, t.Queue, t.Table, r.State, InCopy, "")
	return err
}

// leave gives up the copy's position, on the source first: a crash in between is
// found by what is left here.
func (t *Copy) leave(ctx context.Context, s *stand) error {
	if s.Source == "" {
		return nil
	}
	err := t.connect(ctx, s.Source)
	if err == nil {
		err = t.unregister(ctx)
	}
	if err != nil && !errors.Is(err, errGone) {
		return fmt.Errorf("unregister %s on node %s: %w", t.consumer, s.Source, err)
	}
	return replay.Call(ctx, t.here, pgqnode.UnregisterConsumer(t.Queue, t.consumer))
}

func (t *Copy) unregister(ctx context.Context) error {
	_, err := t.above.Exec(ctx, "select pgq.unregister_consumer($1, $2) from pgq.queue where queue_name = $1", t.Queue, t.consumer)
	return err
}

// errGone says that a node is not a part of the cascade any more, or is dead.
var errGone = errors.New("the cascade does not know such a node, or it is dead")

// connect opens the session to a node to copy from.
func (t *Copy) connect(ctx context.Context, node string) error {
	if t.above != nil && t.source == node && !t.above.Closed() {
		return nil
	}
	t.above.Close()
	t.above = nil
	conn, err := t.dial(ctx, node, t.app())
	if err != nil {
		return err
	}
	t.above, t.source = conn, node
	return nil
}

func (t *Copy) dial(ctx context.Context, node, app string) (*pg.Conn, error) {
	locations, err := pg.Rows[string](ctx, t.here,
		"select node_location from pgq_node.get_queue_locations($1) where node_name = $2 and not dead", t.Queue, node)
	if err != nil {
		return nil, err
	}
	if len(locations) == 0 {
		return nil, fmt.Errorf("node %s: %w", node, errGone)
	}
	return t.dialAt(ctx, node, locations[0], app)
}

func (t *Copy) dialAt(ctx context.Context, node, location, app string) (*pg.Conn, error) {
	dsn := location
	if t.Reach != nil {
		var err error
		if dsn, err = t.Reach(ctx, node, location); err != nil {
			return nil, fmt.Errorf("node %s: %w", node, err)
		}
	}
	conn, err := replay.Dial(ctx, dsn, pg.Options{App: app})
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", node, err)
	}
	return conn, nil
}

// only selects the table's events.
func (t *Copy) only() string {
	names := sql.Literal(t.Table)
	if bare, isPublic := strings.CutPrefix(t.Table, "public."); isPublic {
		names += ", " + sql.Literal(bare)
	}
	return "ev_extra1 in (" + names + ")"
}
