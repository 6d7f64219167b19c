package forward

import (
	"context"
	"fmt"

	"github.com/skytools-go/skytools/runners/consume"
	"github.com/skytools-go/skytools/sql/pg"
)

// A writer writes events in one transaction of the target.
type writer struct {
	tx      *pg.Tx
	queues  map[string]*queue // those looked for; nil: not there
	here    bool              // the target is the source's database
	source  string            // the queue that is read
	bulk    *bool             // the target has pgq.insert_events; nil: nobody has looked
	written int64
	skipped int64
}

// A queue gets events.
type queue struct {
	Name     string
	Closed   bool
	Limit    *int32 // most events of one transaction
	received int64  // in this one
}

// meet looks for queues, each once in a transaction.
func (w *writer) meet(ctx context.Context, names []string) error {
	var unknown []string
	for _, name := range names {
		if _, ok := w.queues[name]; !ok {
			unknown = append(unknown, name)
			w.queues[name] = nil
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	found, err := pg.Structs[struct {
		Name   string
		Closed bool
		Limit  *int32
	}](ctx, w.tx, `
		select queue_name as name, queue_disable_insert as closed, queue_per_tx_limit as limit
		  from pgq.queue
		 where queue_name = any($1)`, unknown)
	if err != nil {
		return fmt.Errorf("look for queues in the target: %w", err)
	}
	for _, q := range found {
		w.queues[q.Name] = &queue{Name: q.Name, Closed: q.Closed, Limit: q.Limit}
	}
	return nil
}

// write writes events into a queue, in their order.
func (w *writer) write(ctx context.Context, q *queue, events []consume.Event) error {
	if err := w.refuse(q, events); err != nil {
		return err
	}
	if w.bulk == nil {
		bulk, err := pg.One[bool](ctx, w.tx, `select to_regprocedure('pgq.insert_events(text, text[], text[], text[], text[], text[], text[])') is not null`)
		if err != nil {
			return fmt.Errorf("ask the target what it can do: %w", err)
		}
		w.bulk = &bulk
	}
	text := insertEach
	if *w.bulk {
		text = insertAll
	}
	n, err := pg.One[int64](ctx, w.tx, text, append([]any{q.Name}, columns(events)...)...)
	if err != nil {
		return fmt.Errorf("write %d events to queue %q: %w", len(events), q.Name, err)
	}
	q.received += n
	w.written += n
	return nil
}

// refuse says before the server does why a queue takes no events.
//
// Source: contract/pgq.md section 2.2.
func (w *writer) refuse(q *queue, events []consume.Event) error {
	switch {
	case w.here && q.Name == w.source:
		return &QueueError{Queue: q.Name, Event: events[0].ID, Reason: "it would come back to the queue that it comes from, without end",
			Try: "leave such events out with where:"}
	case q.Closed:
		return &QueueError{Queue: q.Name, Reason: "it is closed",
			Try: "events enter a cascade at its root; if it is no cascade, open it: update pgq.queue set queue_disable_insert = false"}
	case q.Limit != nil && q.received+int64(len(events)) > int64(*q.Limit):
		return &QueueError{Queue: q.Name, Event: events[0].ID, Reason: fmt.Sprintf("the batch has more events for it than its per_tx_limit of %d", *q.Limit),
			Try: "raise per_tx_limit of that queue; smaller batches come of a smaller ticker_max_count of the source"}
	}
	return nil
}

const (
	insertAll = `select count(*) from pgq.insert_events($1, $2, $3, $4, $5, $6, $7)`

	// For the original, which writes one event at a time.
	insertEach = `
		select count(pgq.insert_event($1, e.type, e.data, e.extra1, e.extra2, e.extra3, e.extra4))
		  from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
		    as e (type, data, extra1, extra2, extra3, extra4)`
)

// columns are the texts of events as arrays: those of types always, others where any
// event has one.
func columns(events []consume.Event) []any {
	fields := []struct {
		null consume.Field
		of   func(*consume.Event) *string
	}{
		{consume.Type, func(e *consume.Event) *string { return &e.Type }},
		{consume.Data, func(e *consume.Event) *string { return &e.Data }},
		{consume.Extra1, func(e *consume.Event) *string { return &e.Extra1 }},
		{consume.Extra2, func(e *consume.Event) *string { return &e.Extra2 }},
		{consume.Extra3, func(e *consume.Event) *string { return &e.Extra3 }},
		{consume.Extra4, func(e *consume.Event) *string { return &e.Extra4 }},
	}
	arrays := make([]any, len(fields))
	for i, f := range fields {
		texts, any := make([]*string, len(events)), i == 0
		for n := range events {
			if e := &events[n]; !e.IsNull(f.null) {
				texts[n], any = f.of(e), true
			}
		}
		if arrays[i] = []*string(nil); any {
			arrays[i] = texts
		}
	}
	return arrays
}
