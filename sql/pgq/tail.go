package pgq

import (
	_ "embed"
	"strings"

	"github.com/skytools-go/skytools/sql"
)

// Reading a queue without being its consumer.
//
// Whoever walks from tick to tick sees each event once, in whatever order the
// transactions that wrote them have ended: an event belongs between two ticks when its
// transaction is not visible at the first and is at the second. A rotation deletes the
// ticks before the events that lie after them, so while both ticks are there, all
// events between them are. [LockEvents] comes first, before the snapshot that the ticks
// and the events are read in: a table that is emptied is empty in older snapshots, too.
//
// Source: contract/pgq.md sections 4.3, 4.4, 4.7; PostgreSQL documentation, 13.6
// Caveats.

//go:embed tail_bounds.sql
var tailBoundsSQL string

//go:embed tail_back.sql
var tailBackSQL string

//go:embed tail_ahead.sql
var tailAheadSQL string

//go:embed tail_window.sql
var tailWindowSQL string

//go:embed tail_events.sql
var tailEventsSQL string

//go:embed tail_count.sql
var tailCountSQL string

// LockEvents keeps a rotation from emptying the tables of a queue until the
// transaction ends; producers, consumers and tickers are not in its way. A rotation
// does not wait for it: it comes again in the next round of the upkeep.
func LockEvents(prefix string) sql.Stmt {
	return sql.Exec("lock table " + sql.ParseName(prefix).Ident() + " in access share mode")
}

// Bounds reads the [TailBounds] of the queue with this id; no row: it is gone.
func Bounds(queue int32) sql.Stmt { return sql.Exec(tailBoundsSQL, queue) }

// TailBounds say between which ticks a queue can be read, with the event sequence at
// each.
type TailBounds struct {
	Name      string
	Prefix    string
	Oldest    *int64 // nil: it has no ticks
	OldestSeq int64
	Newest    *int64
	NewestSeq int64
	NewEvents int64 // after the newest tick
}

// TickBack finds the newest tick that has about n events after it.
func TickBack(queue int32, n int64) sql.Stmt { return sql.Exec(tailBackSQL, queue, n) }

// TickAhead finds the tick up to which to read after tick last: about n events, one
// tick at least. Null: there is nothing to read yet.
func TickAhead(queue int32, last, n int64) sql.Stmt { return sql.Exec(tailAheadSQL, queue, last, n) }

// Between reads the [Window] between two ticks; nil is no bound. No row: one of them is
// gone.
func Between(queue int32, last, next *int64) sql.Stmt {
	return sql.Exec(tailWindowSQL, queue, last, next)
}

// A Window is what lies between two ticks.
type Window struct {
	Last, Next                 *int64
	LastSeq, NextSeq           int64
	Low, High                  int64
	LastSnapshot, NextSnapshot *string
	Late                       []int64
}

// An Event is one row of the query of [EventsIn].
type Event struct {
	ID     int64   `json:"id"`
	Time   string  `json:"time"` // RFC 3339 with microseconds, in UTC
	TxID   int64   `json:"txid"`
	Owner  *int32  `json:"-"` // the consumer that it is delivered to again; nil: it is for all
	Retry  *int32  `json:"retry,omitempty"`
	Type   *string `json:"type"`
	Data   *string `json:"data"`
	Extra1 *string `json:"extra1,omitempty"`
	Extra2 *string `json:"extra2,omitempty"`
	Extra3 *string `json:"extra3,omitempty"`
	Extra4 *string `json:"extra4,omitempty"`

	TableID int64  `json:"-"`
	Place   string `json:"-"` // of the row in its table
}

// Selection says which events of a window to read.
type Selection struct {
	Types   []string // empty: all
	Tables  []string // schema.name; empty: all
	Retried bool     // also those that are delivered again
	Where   string   // SQL over the columns of pgq.event_template, run as it is; empty: all
	After   *Event   // what comes after this one; nil: from the start
	Limit   int      // at most so many; 0: all
	Newest  bool     // from the end, the newest first
}

// EventsIn reads events of a window, by id.
func EventsIn(prefix string, w *Window, s Selection) sql.Stmt {
	direction, condition := "", "true"
	if s.Newest {
		direction = "desc"
	}
	if s.Where != "" {
		condition = s.Where
	}
	text := strings.NewReplacer(":events", sql.ParseName(prefix).Ident(), ":condition", condition, ":direction", direction).Replace(withoutComment(tailEventsSQL))
	args := append(w.args(), s.Retried, orEmpty(s.Types), orEmpty(s.Tables))
	if s.After != nil {
		args = append(args, s.After.ID, s.After.TableID, s.After.Place)
	} else {
		args = append(args, (*int64)(nil), (*int64)(nil), (*string)(nil))
	}
	if s.Limit > 0 {
		text, args = text+" limit $12", append(args, s.Limit)
	}
	return sql.Stmt{Text: text, Args: args}
}

// CountIn counts the events of a window.
func CountIn(prefix string, w *Window) sql.Stmt {
	text := strings.ReplaceAll(withoutComment(tailCountSQL), ":events", sql.ParseName(prefix).Ident())
	return sql.Stmt{Text: text, Args: w.args()}
}

func (w *Window) args() []any {
	return []any{w.Low, w.High, w.NextSnapshot, w.LastSnapshot, orEmpty(w.Late)}
}

// withoutComment is a query from its first line that is none: marks in the comment
// above it are not to be replaced.
func withoutComment(text string) string {
	for strings.HasPrefix(text, "--") {
		_, text, _ = strings.Cut(text, "\n")
	}
	return text
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
