package replay

import (
	"context"
	"fmt"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
)

// leaves reports a table whose changes nobody wants here.
func (t *Table) leaves() bool { return !t.Fills() && t.Queue == "" }

// calls reports a table whose events are a function's.
func (t *Table) calls() bool { return t.Function != nil || t.Newest != nil }

// pass takes an event that goes on as it is, to a queue or a function.
func (a *Applier) pass(ctx context.Context, t *target, e *Event) error {
	if len(t.events) == 0 {
		a.changed = append(a.changed, t)
	}
	t.events = append(t.events, e)
	return a.took(ctx, e)
}

// enqueue inserts the events into a queue here, in their order. They get new ids and
// keep their times. Source: contract/londiste.md section 4.2, qsplitter.
func (a *Applier) enqueue(ctx context.Context, t *load) error {
	arrays := make([][]*string, 7)
	for _, e := range t.events {
		for i, value := range [][]byte{e.When(), e.Type, e.Data, e.Extra[0], e.Extra[1], e.Extra[2], e.Extra[3]} {
			arrays[i] = append(arrays[i], textOrNull(value))
		}
	}
	args := []any{t.Queue}
	for _, texts := range arrays {
		args = append(args, texts)
	}
	_, err := pg.One[int64](ctx, a.tx, `
		select count(pgq.insert_event_raw($1, null, e.time::timestamptz, null, null, e.type, e.data, e.extra1, e.extra2, e.extra3, e.extra4))
		  from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])
		    as e (time, type, data, extra1, extra2, extra3, extra4)`, args...)
	if err != nil {
		return fmt.Errorf("events %d to %d: table %s: pass them on to queue %s: %w", t.events[0].ID, t.events[len(t.events)-1].ID, t.Name, t.Queue, err)
	}
	a.Stats.Passed.Add(int64(len(t.events)))
	return nil
}

// call calls the table's function with each event, in their order. The server finds the
// function by its name, as the arguments are texts of any type.
//
// Source: contract/londiste.md section 4.2, applyfn and multimaster.
func (a *Applier) call(ctx context.Context, t *load) error {
	name, conf := londiste.MergeOnTime, londiste.DictOf(t.Newest).String()
	if t.Function != nil {
		name, conf = t.Function.Name, t.Function.Conf
	}
	tick := ""
	if a.Batch != nil {
		tick = fmt.Sprint(a.Batch.Tick)
	}
	text := "select " + sql.ParseName(name).Ident() + "($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
	for start := 0; start < len(t.events); start += pipelined {
		part := t.events[start:min(start+pipelined, len(t.events))]
		var stmts []sql.Stmt
		for _, e := range part {
			stmts = append(stmts, sql.Exec(text, conf, tick, fmt.Sprint(e.ID), textOrNull(e.When()), fmt.Sprint(e.Txid), textOrNull(e.Retry),
				textOrNull(e.Type), textOrNull(e.Data), textOrNull(e.Extra[0]), textOrNull(e.Extra[1]), textOrNull(e.Extra[2]), textOrNull(e.Extra[3])))
		}
		done, err := a.tx.Pipeline(ctx, stmts)
		switch {
		case err != nil && len(done) < len(part) && pg.Code(err) != "":
			return fmt.Errorf("event %d: table %s: call %s: %w", part[len(done)].ID, t.Name, name, err)
		case err != nil:
			return fmt.Errorf("table %s: call %s: %w", t.Name, name, err)
		}
		a.Stats.Passed.Add(int64(len(part)))
	}
	return nil
}

func textOrNull(value []byte) *string {
	if value == nil {
		return nil
	}
	return new(string(value))
}
