package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/hashicorp/go-hclog"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/meta"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgqnode"
)

// Skips are the events that somebody had a consumer leave out. The zero value has none,
// and has not been read.
type Skips struct {
	queue, consumer string
	events          map[int64]skip
	left            []*Event // in the transaction in hand
}

type skip struct {
	Event           int64
	Because, Person string
}

// ReadSkips reads what is recorded in skytools.skipped_event and not done yet.
func ReadSkips(ctx context.Context, conn *pg.Conn, queue, consumer string) (Skips, error) {
	s := Skips{queue: queue, consumer: consumer, events: map[int64]skip{}}
	there, err := pg.One[bool](ctx, conn, "select to_regclass('skytools.skipped_event') is not null")
	if err != nil || !there {
		return s, err
	}
	rows, err := pg.Structs[skip](ctx, conn, `
		select event_id as event, because, by as person
		  from skytools.skipped_event
		 where queue_name = $1 and consumer = $2 and skipped is null`, queue, consumer)
	if err != nil {
		return s, fmt.Errorf("read which events to leave out: %w", err)
	}
	for _, row := range rows {
		s.events[row.Event] = row
	}
	return s, nil
}

// Unread reports that nobody has read them yet.
func (s *Skips) Unread() bool { return s.events == nil }

// Has reports whether an event is to be left out.
func (s *Skips) Has(e *Event) bool { _, has := s.events[e.ID]; return has }

// Leave records, in the transaction that goes on without it, that an event was left out.
// A role that may not write that down leaves it out all the same.
func (s *Skips) Leave(ctx context.Context, tx *pg.Tx, e *Event, tick int64) error {
	err := tx.Attempt(ctx, func() error {
		_, err := tx.Exec(ctx, "update skytools.skipped_event set skipped = now(), tick = $4 where queue_name = $1 and consumer = $2 and event_id = $3",
			s.queue, s.consumer, e.ID, tick)
		return err
	})
	if err != nil && pg.Code(err) != "42501" {
		return fmt.Errorf("event %d: record that it is left out: %w", e.ID, err)
	}
	s.left = append(s.left, e)
	return nil
}

// Say logs what was left out, after the transaction has committed.
func (s *Skips) Say(log hclog.Logger) {
	for _, e := range s.left {
		log.Warn("an event was left out", "queue", s.queue, "event", e.ID, "table", e.Table(), "by", s.events[e.ID].Person, "because", s.events[e.ID].Because)
		delete(s.events, e.ID)
	}
	s.left = nil
}

// A Skipping asks to leave out one event of a table.
type Skipping struct {
	Queue, Table string
	Event        int64
	Because, By  string // why, and who says so
}

// A SkipRefused says why an event is not left out.
type SkipRefused struct{ Reason string }

func (e *SkipRefused) Error() string { return e.Reason }

// Hint is what to try instead.
func (e *SkipRefused) Hint() string { return "skytools status shows the error that a node has stored" }

var eventOf = regexp.MustCompile(`\bevent (\d+)\b`)

// Skip records that an event is to be left out on the node that here leads to. It is
// refused unless a consumer of the node has stored an error that is about that event, and
// the event, which is read on the provider, is one of the table. It returns the error.
func Skip(ctx context.Context, here, above *pg.Conn, s Skipping) (stored string, err error) {
	if strings.TrimSpace(s.Because) == "" {
		return "", &SkipRefused{"somebody will want to know why: give a reason"}
	}
	consumer, stored, err := failing(ctx, here, s)
	if err != nil {
		return "", err
	}
	event, err := eventText(ctx, above, s)
	if err != nil {
		return "", err
	}
	return stored, here.Write(ctx, func(tx *pg.Tx) error {
		if _, err := tx.Run(ctx, meta.SkippedEvents); err != nil {
			return fmt.Errorf("make skytools.skipped_event: %w", err)
		}
		// Held until the commit, the row of the consumer cannot say something else meanwhile.
		if _, err := tx.Run(ctx, pgqnode.SetConsumerError(s.Queue, consumer, stored)); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `
			insert into skytools.skipped_event (queue_name, event_id, table_name, consumer, because, by, error, event)
			values ($1, $2, $3, $4, $5, $6, $7, $8::text::jsonb)
			on conflict (queue_name, event_id, consumer) do update
			   set because = excluded.because, by = excluded.by, at = now(), error = excluded.error, skipped = null, tick = null`,
			s.Queue, s.Event, s.Table, consumer, s.Because, s.By, stored, event)
		if err != nil {
			return fmt.Errorf("record that event %d is left out: %w", s.Event, err)
		}
		return nil
	})
}

// failing finds the consumer that is stopped by the event.
func failing(ctx context.Context, here *pg.Conn, s Skipping) (consumer, stored string, err error) {
	type row struct{ Consumer, Error string }
	rows, err := pg.Structs[row](ctx, here, `
		select consumer_name as consumer, cur_error as error
		  from pgq_node.local_state where queue_name = $1 and cur_error is not null order by consumer_name`, s.Queue)
	if err != nil {
		return "", "", fmt.Errorf("read the errors of the node: %w", err)
	}
	var about []string
	for _, r := range rows {
		m := eventOf.FindStringSubmatch(r.Error)
		if m != nil && m[1] == strconv.FormatInt(s.Event, 10) {
			return r.Consumer, r.Error, nil
		}
		about = append(about, r.Consumer+": "+r.Error)
	}
	if len(about) == 0 {
		return "", "", &SkipRefused{"the node has stored no error: nothing stops it"}
	}
	return "", "", &SkipRefused{fmt.Sprintf("the node's error is not about event %d: %s", s.Event, strings.Join(about, "; "))}
}

// eventText reads the event on the provider, as JSON, and checks what it is about.
func eventText(ctx context.Context, above *pg.Conn, s Skipping) (string, error) {
	parent, err := pg.One[string](ctx, above, "select queue_data_pfx from pgq.queue where queue_name = $1", s.Queue)
	if err != nil {
		return "", fmt.Errorf("find the events of queue %s on the provider: %w", s.Queue, err)
	}
	text, err := pg.One[string](ctx, above, "select to_json(e)::text from "+sql.ParseName(parent).Ident()+" e where ev_id = $1 limit 1", s.Event)
	if errors.Is(err, pg.ErrNoRows) {
		return "", &SkipRefused{fmt.Sprintf("the provider has no event %d", s.Event)}
	}
	if err != nil {
		return "", fmt.Errorf("read event %d on the provider: %w", s.Event, err)
	}
	var found struct {
		Extra1 *string `json:"ev_extra1"`
	}
	if err := json.Unmarshal([]byte(text), &found); err != nil {
		return "", fmt.Errorf("read event %d: %w", s.Event, err)
	}
	var e Event
	if found.Extra1 != nil {
		e.Extra[0] = []byte(*found.Extra1)
	}
	if e.Table() != s.Table {
		return "", &SkipRefused{fmt.Sprintf("event %d is about %s, not %s", s.Event, e.Table(), s.Table)}
	}
	return text, nil
}
