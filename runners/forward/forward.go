// Package forward copies the events of a queue into another queue, or into the one
// that a field of each event names.
//
// It knows queues and what their events hold. How a batch is read, and how it is done
// exactly once, it leaves to package consume: in the queue's own database the events
// are written in the transaction that finishes the batch; in another one they commit
// together with the mark that the batch is done.
//
//	batch --piece--> events by their queue --one statement each--> target
//	  \------------- next piece, same transaction
//
// An event keeps its type, its data and its extra fields, and which of them are NULL.
// Its id, time and transaction are the target's. Within a queue of the target, events
// come in the order of the source; those of one batch are one transaction.
//
// # Which registration
//
// The target remembers a position under a name (consume.Config.As). Here the name says
// which registration of which queue of which server it is about: a forward that was
// taken away and comes back begins anew, and equal queues of many databases may go into
// one target.
//
// A registration that is there already is taken over where it stands: a forward called
// like the consumer of the original's queue_mover or queue_splitter goes on after it. Those
// remember in the target, too, under the consumer's name, which batch they have done; one
// that the queue does not know to be finished is left to a person.
//
// # What stays behind
//
// The events that a cascade writes for its own nodes (pgq.* and londiste.*) mean
// nothing elsewhere, and another cascade would take them for its own; see
// [Config.Cascade].
//
// Source: contract/pgq.md sections 2.2 and 6.5, contract/londiste.md section 8.
package forward

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"

	"github.com/skytools-go/skytools/runners/consume"
	"github.com/skytools-go/skytools/sql/pg"
)

// Config says what to copy, and where. Queue, Consumer, DSN and one of To and Split
// are required.
type Config struct {
	Queue    string
	Consumer string                                // registered already
	DSN      func(context.Context) (string, error) // of the queue's database

	// Target is the database that gets the events, which has schemas pgq and pgq_ext.
	// Nil: the queue's own.
	Target func(context.Context) (string, error)

	To    string // the queue that gets them
	Split string // or the field that names it: ev_type, ev_extra1 to ev_extra4
	Skip  bool   // with Split: pass over events whose queue is not there

	Cascade bool // the queue is a cascade's: leave out what it writes for its nodes

	// Only events that meet all of these are copied; see consume.Config.
	Types  []string
	Tables []string
	Where  string

	Fetch int          // events written at a time; 0: 2000
	Log   hclog.Logger // may be nil
	Stats *Stats       // may be nil
}

// Stats count what was done. They may be read at any time. What a batch wrote that is
// done again is counted again.
type Stats struct {
	consume.Stats
	Written atomic.Int64 // events
	Skipped atomic.Int64 // events whose queue was not there
}

// A Forward copies from one queue. Its methods are not safe for concurrent use.
type Forward struct {
	Config
	consumer *consume.Consumer // nil until it is known which registration this is
}

// New makes a forward. It connects in its first round.
func New(c Config) *Forward {
	if c.Fetch <= 0 {
		c.Fetch = 2000
	}
	if c.Stats == nil {
		c.Stats = &Stats{}
	}
	return &Forward{Config: c}
}

// Run copies until ctx ends, which is no error. A round that fails ends it. The batch
// in hand is finished; see [runners.Work].
func (f *Forward) Run(ctx context.Context) error {
	defer f.Close()
	if err := f.identify(ctx); err != nil {
		return err
	}
	return f.consumer.Run(ctx)
}

// RunOnce copies at most one batch, and reports whether there was one. After an error
// the next round starts with new sessions.
func (f *Forward) RunOnce(ctx context.Context) (worked bool, err error) {
	if err := f.identify(ctx); err != nil {
		return false, err
	}
	if worked, err = f.consumer.RunOnce(ctx); err != nil {
		f.Close()
	}
	return worked, err
}

// Close ends the sessions. The forward may be used again.
func (f *Forward) Close() {
	if f.consumer != nil {
		f.consumer.Close()
		f.consumer = nil
	}
}

// check reports a mistake of whoever wrote the configuration.
func (c *Config) check() error {
	switch {
	case (c.To == "") == (c.Split == ""):
		return errors.New("one of To and Split is needed")
	case c.Split != "" && !slices.Contains([]string{"ev_type", "ev_extra1", "ev_extra2", "ev_extra3", "ev_extra4"}, c.Split):
		return fmt.Errorf("%q is no field that names a queue", c.Split)
	}
	return nil
}

// identify makes the consumer, under a name for its registration.
func (f *Forward) identify(ctx context.Context) error {
	if f.consumer != nil {
		return nil
	}
	if err := f.check(); err != nil {
		return fmt.Errorf("forward %s/%s: %w", f.Queue, f.Consumer, err)
	}
	as, err := f.registration(ctx)
	if err != nil {
		return fmt.Errorf("consumer %s/%s: %w", f.Queue, f.Consumer, err)
	}
	f.consumer = consume.New(consume.Config{
		Queue: f.Queue, Consumer: f.Consumer, DSN: f.DSN, Target: f.Target, As: as, Formerly: f.Consumer,
		Types: f.Types, Tables: f.Tables, Where: f.condition(),
		Fetch: f.Fetch, Log: f.Log, Stats: &f.Stats.Stats,
	}, f.copy)
	return nil
}

// condition is the part of the filter that is SQL.
func (f *Forward) condition() string {
	const ours = "ev_type is null or ev_type not like 'pgq.%' and ev_type not like 'londiste.%'"
	switch {
	case !f.Cascade:
		return f.Where
	case f.Where == "":
		return ours
	}
	return "(" + ours + ") and (\n" + f.Where + "\n)"
}

// registration names the registration of the consumer: its number never comes again
// in the queue's database.
func (f *Forward) registration(ctx context.Context) (string, error) {
	dsn, err := f.DSN(ctx)
	if err != nil {
		return "", err
	}
	conn, err := pg.Dial(ctx, dsn, pg.Options{App: "forward " + f.Queue + "/" + f.Consumer})
	if err != nil {
		return "", err
	}
	defer conn.Close()
	as, err := pg.One[string](ctx, conn, `
		select format('%s/%s %s of %s on %s', q.queue_name, c.co_name, s.sub_id, current_database(), p.system_identifier)
		  from pgq.subscription s
		  join pgq.queue q on q.queue_id = s.sub_queue
		  join pgq.consumer c on c.co_id = s.sub_consumer
		 cross join pg_catalog.pg_control_system() p
		 where q.queue_name = $1 and c.co_name = $2`, f.Queue, f.Consumer)
	if errors.Is(err, pg.ErrNoRows) {
		return "", errors.New("it is not registered; what registers it: skytools apply")
	}
	return as, err
}

// copy is the handler of a batch.
func (f *Forward) copy(ctx context.Context, tx *pg.Tx, b *consume.Batch) error {
	w := &writer{tx: tx, queues: map[string]*queue{}, here: f.Target == nil, source: f.Queue}
	for piece, err := range b.Pieces(ctx) {
		if err != nil {
			return err
		}
		if err := f.write(ctx, w, piece); err != nil {
			return err
		}
	}
	f.Stats.Written.Add(w.written)
	f.Stats.Skipped.Add(w.skipped)
	return nil
}

// write writes the events of a piece, those of each queue in one statement.
func (f *Forward) write(ctx context.Context, w *writer, piece []consume.Event) error {
	if f.Split == "" {
		if err := w.meet(ctx, []string{f.To}); err != nil {
			return err
		}
		if q := w.queues[f.To]; q != nil {
			return w.write(ctx, q, piece)
		}
		return &QueueError{Queue: f.To, Reason: missing, Try: "declare it, or name another one"}
	}
	var names []string // in the order in which they are met
	by := map[string][]consume.Event{}
	for i := range piece {
		name := f.goal(&piece[i])
		if by[name] == nil {
			names = append(names, name)
		}
		by[name] = append(by[name], piece[i])
	}
	if err := w.meet(ctx, names); err != nil {
		return err
	}
	for _, name := range names {
		switch q := w.queues[name]; {
		case q != nil:
			if err := w.write(ctx, q, by[name]); err != nil {
				return err
			}
		case f.Skip:
			w.skipped += int64(len(by[name]))
		default:
			return f.nowhere(name, by[name][0].ID)
		}
	}
	return nil
}

// goal is the name of the queue that an event goes to; empty where it names none.
func (f *Forward) goal(e *consume.Event) string {
	switch f.Split {
	case "ev_type":
		return e.Type
	case "ev_extra1":
		return e.Extra1
	case "ev_extra2":
		return e.Extra2
	case "ev_extra3":
		return e.Extra3
	}
	return e.Extra4
}

func (f *Forward) nowhere(name string, event int64) error {
	if name == "" {
		return &QueueError{Event: event, Reason: "its " + f.Split + " names no queue",
			Try: "choose events with where: " + f.Split + " <> '', or leave them out with missing: skip"}
	}
	return &QueueError{Queue: name, Event: event, Reason: missing + ", but its " + f.Split + " names it",
		Try: fmt.Sprintf("declare queue %q for the target, or leave such events out with missing: skip", name)}
}

const missing = "the target has no such queue"

// A QueueError says that events cannot be written as they are. Nothing of their batch
// was; it comes again.
type QueueError struct {
	Queue  string // of the target; empty: the event names none
	Event  int64  // the first that it is about, by its id in the source; 0: all
	Reason string
	Try    string // what a person can do
}

func (e *QueueError) Error() string {
	var about []string
	if e.Event != 0 {
		about = append(about, fmt.Sprintf("event %d", e.Event))
	}
	if e.Queue != "" {
		about = append(about, fmt.Sprintf("queue %q", e.Queue))
	}
	return strings.Join(append(about, e.Reason), ": ")
}

// Hint is what a person can try.
func (e *QueueError) Hint() string { return e.Try }
