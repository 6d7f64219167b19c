package cascade

import (
	"context"
	"fmt"
	"time"

	"github.com/skytools-go/skytools/runners"
	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgqnode"
)

// A Worker is the worker of one node. Its methods are not safe for concurrent use.
type Worker struct {
	Config
	here     *pg.Conn // the node's own database
	isRoot   bool     // what the session here was made for
	replica  bool
	londiste bool // is installed here
	above    *pg.Conn
	location string // that above was made for
	ticked   bool   // a tick was announced since the last look
	node     string
	worker   string

	applier  replay.Applier
	prefetch replay.Prefetch // while batch follows batch
	weight   replay.Weight   // of events
	skips    replay.Skips
	copies   copies
	failed   bool      // a round, or the worker before this one, and none has been done since
	busy     bool      // the last round had a batch, or there was none yet
	parked   bool      // replay waits for a table's hand-over
	reported time.Time // the watermark
	behind   bool      // a merged leaf whose provider may offer what has been applied already
	sayQuiet bool      // what it means to replay without the replica role has been said
}

// New makes a worker. It connects in its first round.
func New(c Config) *Worker {
	w := &Worker{Config: c.filled(), failed: true, busy: true}
	w.applier = replay.Applier{Find: w.find, Stats: w.Stats}
	w.copies.init(w)
	return w
}

// Run does rounds until ctx ends, which is no error. A round that fails ends it.
// The batch in hand is finished; see [runners.Work].
func (w *Worker) Run(ctx context.Context) error {
	defer w.Close()
	w.Log.Debug("cascade worker starts", "queue", w.Queue)
	defer w.Log.Debug("cascade worker stops", "queue", w.Queue)
	for ctx.Err() == nil {
		worked, err := w.RunOnce(ctx)
		if err != nil {
			return err
		}
		if !worked {
			w.wait(ctx)
		}
	}
	return nil
}

// RunOnce does one round: at most one batch. It reports whether there was
// something to do. After an error, which is also stored in the node's state, the
// next round starts with new sessions. Copies go on between rounds, until Close.
func (w *Worker) RunOnce(ctx context.Context) (worked bool, err error) {
	work := runners.Work(ctx)
	worked, err = w.round(work)
	if err == nil {
		return worked, nil
	}
	err = fmt.Errorf("queue %s: %w", w.Queue, err)
	w.fail(work, err)
	return false, err
}

// Close ends copies and sessions. The worker may be used again.
func (w *Worker) Close() {
	w.copies.stop()
	w.drop()
}

func (w *Worker) drop() {
	w.dropAbove()
	w.here.Close()
	w.here = nil
}

func (w *Worker) dropAbove() {
	w.prefetch.Drop()
	w.above.Close()
	w.above, w.location = nil, ""
}

// fail stores the error where status shows it. What fails here is not worth a word:
// the node's database may be what is gone.
func (w *Worker) fail(ctx context.Context, err error) {
	w.failed, w.busy = true, false
	message := err.Error()
	w.drop()
	if w.worker == "" || ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	dsn, err := w.DSN(ctx)
	if err != nil {
		return
	}
	conn, err := pg.Dial(ctx, dsn, pg.Options{App: "skytools replay " + w.Queue})
	if err != nil {
		return
	}
	defer conn.Close()
	replay.Call(ctx, conn, pgqnode.SetConsumerError(w.Queue, w.worker, message))
}

// wait returns when there may be something to do: after a tick was announced, a
// copy went on, or Poll.
func (w *Worker) wait(ctx context.Context) {
	d := w.Poll
	if w.parked {
		d = min(d, 50*time.Millisecond)
	}
	if w.ticked { // once: a paused worker does not look at what was announced
		w.ticked = false
		return
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	if w.above == nil {
		select {
		case <-ctx.Done():
		case <-w.copies.changed:
		}
		return
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-ctx.Done():
		case <-w.copies.changed:
			cancel()
		}
	}()
	for ctx.Err() == nil && !w.ticked {
		if err := w.above.Wait(ctx); err != nil {
			if ctx.Err() == nil { // the next round finds out and says so
				runners.Sleep(ctx, d)
			}
			break
		}
	}
	cancel()
	<-ended
}

// round is one round. Source: contract/pgq.md section 6.7.
func (w *Worker) round(ctx context.Context) (bool, error) {
	s, err := w.arrive(ctx)
	if err != nil {
		return false, err
	}
	if err := w.acknowledge(ctx, s); err != nil {
		return false, err
	}
	if s.Error != "" || w.skips.Unread() { // somebody may have answered the error
		if w.skips, err = replay.ReadSkips(ctx, w.here, w.Queue, s.Worker); err != nil {
			return false, err
		}
	}
	w.parked = false
	if s.Paused {
		w.busy = false
		w.prefetch.Drop()
		return false, nil
	}
	if w.isRoot {
		w.dropAbove()
		err := w.root(ctx)
		w.failed = err != nil
		return false, err
	}
	if err := w.connect(ctx, s); err != nil {
		return false, err
	}
	if err := w.healTick(ctx, s); err != nil {
		return false, err
	}
	if s.Combined != "" {
		if worked, ready, err := w.waitBehind(ctx, s); err != nil || !ready {
			w.prefetch.Drop()
			return worked, err
		}
	}
	whole, err := w.copies.look(ctx, s)
	if err != nil {
		return false, err
	}
	if w.parked {
		w.prefetch.Drop()
		return false, nil
	}
	worked, err := w.batch(ctx, s, whole)
	w.busy, w.failed = worked, err != nil
	return worked, err
}

// arrive connects to the node, as what it is now.
func (w *Worker) arrive(ctx context.Context) (*state, error) {
	for {
		if w.here == nil {
			if err := w.dialHere(ctx); err != nil {
				return nil, err
			}
		}
		s, err := readState(ctx, w.here, w.Queue)
		if err != nil {
			return nil, err
		}
		w.node, w.worker = s.Node, s.Worker
		if isRoot := s.Type == pgqnode.Root; isRoot != w.isRoot {
			// A root's session must respect a closed queue, a replaying one must not.
			w.isRoot = isRoot
			w.drop()
			continue
		}
		return s, nil
	}
}

func (w *Worker) dialHere(ctx context.Context) error {
	dsn, err := w.DSN(ctx)
	if err != nil {
		return err
	}
	conn, err := replay.Dial(ctx, dsn, pg.Options{App: "skytools replay " + w.Queue})
	if err != nil {
		return err
	}
	w.here = conn
	if w.londiste, err = pg.One[bool](ctx, conn, "select to_regclass('londiste.table_info') is not null"); err != nil {
		return err
	}
	if w.isRoot {
		return nil
	}
	if w.replica, err = replay.Become(ctx, conn, w.Queue); err != nil {
		return err
	}
	w.applier.Ordered = !w.replica
	if !w.replica && !w.sayQuiet {
		w.sayQuiet = true
		w.Log.Warn("session_replication_role cannot be set: triggers of users and foreign keys fire on this subscriber, and changes keep their order between tables",
			"queue", w.Queue, "try", "grant set on parameter session_replication_role to the worker's role (PostgreSQL 15), or let a superuser own londiste.set_session_replication_role")
	}
	return nil
}

// connect opens the session to the provider, or another one when it has moved.
func (w *Worker) connect(ctx context.Context, s *state) error {
	if w.above != nil && w.location == s.Provider+" "+s.Location {
		return nil
	}
	w.dropAbove()
	dsn, err := w.Reach(ctx, s.Provider, s.Location)
	if err != nil {
		return fmt.Errorf("provider %s: %w", s.Provider, err)
	}
	conn, err := replay.Dial(ctx, dsn, pg.Options{
		App: "skytools replay " + w.Queue + "@" + s.Node,
		Notify: func(_, queue string) {
			if queue == w.Queue {
				w.ticked = true
			}
		},
	})
	if err != nil {
		return fmt.Errorf("provider %s: %w", s.Provider, err)
	}
	w.above, w.location = conn, s.Provider+" "+s.Location
	w.prefetch.Dial = func(ctx context.Context) (*pg.Conn, error) {
		return replay.Dial(ctx, dsn, pg.Options{App: "skytools replay " + w.Queue + "@" + s.Node})
	}
	if err := conn.Listen(ctx, "pgq_tick"); err != nil {
		return fmt.Errorf("provider %s: %w", s.Provider, err)
	}
	w.reported, w.behind = time.Time{}, true
	return w.register(ctx, s)
}

// register corrects the provider's registration of this node at the start of a
// session: without a batch nobody would notice that it is ahead of us.
func (w *Worker) register(ctx context.Context, s *state) error {
	at, err := pg.Rows[*int64](ctx, w.above, "select last_tick from pgq.get_consumer_info($1, $2)", w.Queue, s.Worker)
	if err != nil {
		return fmt.Errorf("provider %s: %w", s.Provider, err)
	}
	if len(at) == 0 {
		return fmt.Errorf("provider %s does not know this node: there is no consumer %s on its queue; register the node there (pgq_node.register_subscriber at tick %d)", s.Provider, s.Worker, s.Completed)
	}
	if at[0] != nil && *at[0] > s.Completed {
		_, err = w.source(s).MoveTo(ctx, s.Completed)
	}
	return err
}

func (w *Worker) source(s *state) *replay.Source {
	return &replay.Source{Conn: w.above, Queue: w.Queue, Consumer: s.Worker, Weight: &w.weight}
}
