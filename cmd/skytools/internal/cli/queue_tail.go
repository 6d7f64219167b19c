package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/planner/render"
	"github.com/skytools-go/skytools/runners"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgq"
)

type tailFlags struct {
	follow, full, retried bool
	last                  int
	types, tables         []string
	where                 string
}

func (r *reach) tail() *cobra.Command {
	a := r.app
	var f tailFlags
	cmd := &cobra.Command{
		Use: "tail QUEUE", Short: "Print the newest events of a queue, and with -f those that come; reads only",
		Long: `Prints events as consumers would get them, from tick to tick, without being one: nothing
is registered and no rotation waits. Events after the newest tick are not shown yet.
-f goes on until interrupted (exit 130); where a rotation took events away meanwhile, it
says so.

--type and --table can be given several times. The type of a captured table's event is
its operation: INSERT, UPDATE, DELETE, or I, U, D. --where is SQL over ev_id, ev_time, ev_type,
ev_data, ev_extra1 to ev_extra4, such as: --where "ev_data::jsonb ->> 'id' = '7'"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.needFormat("text", "json"); err != nil {
				return err
			}
			if err := exactArgs(cmd, args, "QUEUE"); err != nil {
				return err
			}
			if f.last < 0 {
				return usage("queue tail: -n %d: it is a number of events, 0 or more", f.last)
			}
			q, err := r.open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			t := newTailer(q, f)
			defer t.close()
			t.print, t.say = a.eventPrinter(f.full), a.talk
			err = t.run(cmd.Context(), f.last, f.follow)
			if isInterrupt(cmd.Context(), err) {
				return &codeError{code: exitInterrupted}
			}
			return err
		},
	}
	fl := cmd.Flags()
	fl.BoolVarP(&f.follow, "follow", "f", false, "go on with what comes")
	fl.IntVarP(&f.last, "lines", "n", 10, "so many of the newest events")
	fl.StringArrayVar(&f.types, "type", nil, "only events of this type")
	fl.StringArrayVar(&f.tables, "table", nil, "only events of this captured table: SCHEMA.NAME")
	fl.StringVar(&f.where, "where", "", "only events for which this SQL condition holds")
	fl.BoolVar(&f.full, "full", false, "do not cut long lines to the width of the terminal")
	fl.BoolVar(&f.retried, "retried", false, "also events that are delivered to one consumer again")
	return cmd
}

// How a tailer reads: a page at a time, so that it keeps neither much memory nor, while
// somebody is slow to read what it prints, a transaction.
const (
	tailPage   = 2000            // events
	tailPoll   = time.Second     // where no notification comes: not all tickers send them
	tailRedial = 2 * time.Second // after a lost connection
)

// A tailer walks a queue from tick to tick.
//
//	at a tick -> Between that tick and one ahead -> page, page, ... -> at that tick
//	    |
//	    the tick is gone: say what was missed, go on at the oldest
//
// Between two pages it keeps only the ticks and the last event, so it goes on where it
// was after a lost connection.
type tailer struct {
	queue  *openQueue
	choose pgq.Selection
	print  func(pgq.Event) error
	say    func(format string, args ...any)
	page   int

	at    int64      // the tick up to which all is printed
	seq   int64      // the event sequence there
	to    *int64     // the tick that is being read up to; nil: none
	after *pgq.Event // the last one that was printed of those
	heard bool       // of a tick
}

func newTailer(q *openQueue, f tailFlags) *tailer {
	t := &tailer{queue: q, page: tailPage, choose: pgq.Selection{Types: f.types, Retried: f.retried, Where: f.where}}
	for _, name := range f.tables {
		t.choose.Tables = append(t.choose.Tables, sql.ParseName(name).String())
	}
	return t
}

func (t *tailer) close() { t.queue.conn.Close() }

// run prints the last n events and, if it is to follow, those that come until ctx ends.
func (t *tailer) run(ctx context.Context, n int, follow bool) error {
	if follow {
		if err := t.dial(ctx); err != nil {
			return err
		}
	}
	waiting, err := t.last(ctx, n)
	if err != nil {
		return t.failed(err)
	}
	if !follow {
		if waiting > 0 {
			t.say("About %s came after the newest tick; they are shown when the queue is ticked.", counted(int(waiting), "event"))
		}
		return nil
	}
	return t.goOn(ctx)
}

// goOn prints what comes until ctx ends.
func (t *tailer) goOn(ctx context.Context) error {
	for {
		more, err := t.step(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case pg.Lost(err):
			t.say("the connection is lost (%v); trying again", err)
			if err := t.redial(ctx); err != nil {
				return err
			}
		case err != nil:
			return t.failed(err)
		case !more:
			if err := t.wait(ctx); err != nil && ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
}

func (t *tailer) failed(err error) error {
	return fmt.Errorf("read queue %s: %w", t.queue.address(), t.queue.permit(err, "pgq_reader"))
}

// dial opens a session that hears of ticks. A standby cannot listen, and a pooler does
// not: polling is enough there.
func (t *tailer) dial(ctx context.Context) error {
	conn, err := t.queue.place.dial(ctx, pg.Options{App: "skytools queue tail", Notify: func(_, queue string) {
		t.heard = t.heard || queue == t.queue.Name
	}})
	if err != nil {
		return err
	}
	t.queue.conn.Close()
	t.queue.conn = conn
	if err := conn.Listen(ctx, "pgq_tick"); pg.Lost(err) {
		return err
	}
	return nil
}

// redial tries until the server is there again, or ctx ends.
func (t *tailer) redial(ctx context.Context) error {
	for runners.Sleep(ctx, tailRedial) {
		if t.dial(ctx) == nil {
			return nil
		}
	}
	return ctx.Err()
}

// wait returns when a tick was heard of, or it is time to look.
func (t *tailer) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, tailPoll)
	defer cancel()
	for t.heard = false; !t.heard; {
		if err := t.queue.conn.Wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// read calls f in a read-only snapshot that no rotation can take events out of.
func (t *tailer) read(ctx context.Context, f func(tx *pg.Tx, b pgq.TailBounds) error) error {
	return readEvents(ctx, t.queue, t.queue.conn.Read, f)
}

// readEvents locks the events of a queue before the snapshot is taken, see
// [pgq.LockEvents].
func readEvents(ctx context.Context, q *openQueue, read func(context.Context, func(*pg.Tx) error) error, f func(*pg.Tx, pgq.TailBounds) error) error {
	return read(ctx, func(tx *pg.Tx) error {
		lock, bounds := pgq.LockEvents(q.Prefix), pgq.Bounds(q.ID)
		if _, err := tx.Exec(ctx, lock.Text, lock.Args...); pg.Code(err) == "42P01" {
			return errQueueGone
		} else if err != nil {
			return err
		}
		b, err := pg.Struct[pgq.TailBounds](ctx, tx, bounds.Text, bounds.Args...)
		if errors.Is(err, pg.ErrNoRows) || err == nil && b.Name != q.Name {
			return errQueueGone
		}
		if err != nil {
			return err
		}
		return f(tx, b)
	})
}

var errQueueGone = errors.New("it was dropped")

// last prints the newest n events up to the newest tick, and stands there. It returns
// how many events wait for the next one.
func (t *tailer) last(ctx context.Context, n int) (waiting int64, err error) {
	var found []pgq.Event
	err = t.read(ctx, func(tx *pg.Tx, b pgq.TailBounds) (err error) {
		if waiting = b.NewEvents; b.Newest == nil {
			return nil
		}
		t.at, t.seq = *b.Newest, b.NewestSeq
		for reach := int64(n); n > 0; reach *= 10 {
			back := pgq.TickBack(t.queue.ID, reach)
			from, err := pg.One[int64](ctx, tx, back.Text, back.Args...)
			if err != nil {
				return err
			}
			choose := t.choose
			choose.Limit, choose.Newest = n, true
			if found, _, err = t.events(ctx, tx, from, t.at, choose); err != nil {
				return err
			}
			if len(found) == n || from == *b.Oldest {
				break
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	slices.Reverse(found)
	return waiting, t.show(found)
}

func (t *tailer) events(ctx context.Context, tx *pg.Tx, from, to int64, choose pgq.Selection) ([]pgq.Event, *pgq.Window, error) {
	between := pgq.Between(t.queue.ID, &from, &to)
	w, err := pg.Struct[pgq.Window](ctx, tx, between.Text, between.Args...)
	if err != nil {
		return nil, nil, err
	}
	query := pgq.EventsIn(t.queue.Prefix, &w, choose)
	found, err := pg.Structs[pgq.Event](ctx, tx, query.Text, query.Args...)
	return found, &w, err
}

func (t *tailer) show(found []pgq.Event) error {
	for _, e := range found {
		if err := t.print(e); err != nil {
			return err
		}
	}
	return nil
}

// step reads and prints one page. It reports whether there may be more to read at once.
func (t *tailer) step(ctx context.Context) (more bool, err error) {
	var found []pgq.Event
	var window *pgq.Window
	err = t.read(ctx, func(tx *pg.Tx, b pgq.TailBounds) (err error) {
		if b.Oldest == nil {
			return nil
		}
		if t.at < *b.Oldest {
			t.missed(b)
		}
		if t.to == nil {
			ahead := pgq.TickAhead(t.queue.ID, t.at, int64(t.page))
			if t.to, err = pg.One[*int64](ctx, tx, ahead.Text, ahead.Args...); err != nil || t.to == nil {
				return err
			}
		}
		choose := t.choose
		choose.Limit, choose.After = t.page, t.after
		found, window, err = t.events(ctx, tx, t.at, *t.to, choose)
		return err
	})
	if err != nil || window == nil {
		return false, err
	}
	if err := t.show(found); err != nil {
		return false, err
	}
	if len(found) == t.page {
		t.after = &found[len(found)-1]
		return true, nil
	}
	t.at, t.seq, t.to, t.after = *t.to, window.NextSeq, nil, nil
	return true, nil
}

// missed goes on at the oldest tick that is left.
func (t *tailer) missed(b pgq.TailBounds) {
	from := t.at
	if t.at, t.to, t.after = *b.Oldest, nil, nil; from == 0 {
		return // there was no tick yet
	}
	t.say("missed: the queue has rotated, and what came between ticks %d and %d, about %s, is not shown", from, t.at, counted(int(b.OldestSeq-t.seq), "event"))
	t.seq = b.OldestSeq
}

// eventPrinter returns what prints an event: a line for people, or JSON.
func (a *app) eventPrinter(full bool) func(pgq.Event) error {
	if a.format == "json" {
		enc := json.NewEncoder(a.Out)
		enc.SetEscapeHTML(false)
		return func(e pgq.Event) error { return enc.Encode(e) }
	}
	width, day, kinds := a.Width(), "", 12 // kinds: the columns that those took so far
	if full {
		width = 0
	}
	return func(e pgq.Event) error {
		date, clock, ok := strings.Cut(e.Time, "T")
		if !ok {
			date, clock = e.Time, "............"
		}
		if date != day {
			day = date
			if _, err := fmt.Fprintln(a.Out, a.painted("dim", date+" UTC")); err != nil {
				return err
			}
		}
		kind, data := eventWords(e)
		head := fmt.Sprintf("%s  %d  ", clock[:min(len(clock), 12)], e.ID)
		if width > 0 {
			kind = cut(kind, max(8, width/3))
		}
		if kinds = max(kinds, columns(kind)); width > 0 {
			data = cut(data, max(8, width-columns(head)-kinds-2))
		}
		_, err := fmt.Fprintf(a.Out, "%s%s  %s\n", a.painted("dim", head), a.painted("bold", pad(kind, min(kinds, 40))), data)
		return err
	}
}

// eventWords are what an event is about and what it holds. Of a captured table that is
// the operation and the table. The first extra is the table's name there.
func eventWords(e pgq.Event) (kind, data string) {
	kind = or(e.Type)
	var captured struct {
		Op string `json:"op"`
	}
	extras := []*string{e.Extra1, e.Extra2, e.Extra3, e.Extra4}
	if json.Unmarshal([]byte(kind), &captured) == nil && captured.Op != "" && e.Extra1 != nil {
		kind, extras[0] = captured.Op+" "+*e.Extra1, nil
	}
	if e.Data == nil {
		data = "(null)"
	} else {
		data = *e.Data
	}
	for i, extra := range extras {
		if extra != nil {
			data += fmt.Sprintf("  extra%d=%s", i+1, *extra)
		}
	}
	if e.Retry != nil {
		kind += fmt.Sprintf(" (retry %d)", *e.Retry)
	}
	return render.Clean(kind), render.Clean(data)
}
