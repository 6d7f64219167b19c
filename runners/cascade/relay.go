package cascade

import (
	"bytes"
	"context"
	"fmt"
	"strconv"

	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgqnode"
)

// relayBytes is how much a relay holds before it sends it on.
const relayBytes = 4 << 20

// A relay copies events into a queue here, inside one transaction: all of them, as they
// are, into a branch's own, and with new ids into the one that a leaf is merged into.
type relay struct {
	tx     *pg.Tx
	queue  string
	part   string // queue that is merged into the other; empty: a branch's
	table  string
	lines  bytes.Buffer
	tables map[string]*replay.Table // those whose events do not all go on as they are

	scripts bool // run here, once each, however many queues they come by
}

// newRelay finds the table that takes events now. The transaction gets its id
// before that: then a rotation from now on is younger, and readers still look into
// the table that was current.
//
// The table is found without pgq.current_event_table, which refuses a closed queue
// to sessions that may not take the replica role.
//
// It returns nil on a node that copies no events.
func (w *Worker) newRelay(ctx context.Context, tx *pg.Tx, s *state) (*relay, error) {
	queue, part := w.Queue, ""
	switch {
	case s.feeds():
		queue, part = s.Combined, w.Queue
	case s.Type != pgqnode.Branch:
		return nil, nil
	}
	if _, err := tx.Exec(ctx, "select txid_current()"); err != nil {
		return nil, err
	}
	name, err := pg.One[string](ctx, tx, "select queue_data_pfx || '_' || queue_cur_table from pgq.queue where queue_name = $1", queue)
	if err != nil {
		return nil, fmt.Errorf("find the event table of queue %s: %w", queue, err)
	}
	r := &relay{tx: tx, queue: queue, part: part, table: dataTable(name), tables: map[string]*replay.Table{}, scripts: w.londiste}
	if part != "" {
		if err := r.enter(ctx); err != nil {
			return nil, err
		}
	}
	if !w.londiste {
		return r, nil
	}
	return r, w.choose(ctx, r)
}

// choose finds the tables whose events do not all go on as they are, whether or not they
// are in sync.
func (w *Worker) choose(ctx context.Context, r *relay) error {
	names, err := pg.Rows[string](ctx, r.tx, `
		select table_name
		  from londiste.table_info
		 where queue_name = $1 and local and table_attrs ~ '(^|&)(skytools_shard=|skytools_mask=|handlers?=((shard|part)[(%]|obfuscate))'`, w.Queue)
	if err != nil {
		return fmt.Errorf("look for tables that are sharded or masked: %w", err)
	}
	for _, name := range names {
		registered, err := replay.Lookup(ctx, r.tx, w.Queue, name)
		if err == nil && registered != nil {
			r.tables[name], err = replay.LoadKeyed(ctx, r.tx, registered, w.MaskKey)
		}
		if err != nil {
			return fmt.Errorf("table %s: %w", name, err)
		}
	}
	return nil
}

// pass copies an event as this node may see it, unless its row belongs to another shard:
// what is below this node sees what this node has, and no more. Source: contract/londiste.md section 4.3.
func (r *relay) pass(ctx context.Context, e *replay.Event) error {
	if r.part != "" && !r.merges(e) {
		return nil
	}
	if len(r.tables) > 0 && e.IsData() {
		if t := r.tables[e.Table()]; t != nil {
			ours, err := t.Chooses(e)
			if err != nil {
				return fmt.Errorf("event %d: table %s: %w", e.ID, t.Name, err)
			}
			if !ours {
				return nil
			}
			if t.Mask != nil {
				if e, err = t.Masked(e); err != nil {
					return fmt.Errorf("event of table %s: %w", t.Name, err)
				}
			}
		}
	}
	return r.add(ctx, e)
}

func dataTable(name string) string { return sql.ParseName(name).Ident() }

func (r *relay) add(ctx context.Context, e *replay.Event) error {
	if r.part == "" {
		r.lines.WriteString(strconv.FormatInt(e.ID, 10))
		r.lines.WriteByte('\t')
	}
	for i, value := range [][]byte{e.When(), e.Type, e.Data, e.Extra[0], e.Extra[1], e.Extra[2], e.Extra[3]} {
		if i > 0 {
			r.lines.WriteByte('\t')
		}
		copyText(&r.lines, value)
	}
	r.lines.WriteByte('\n')
	if r.lines.Len() >= relayBytes {
		return r.flush(ctx)
	}
	return nil
}

// copyText writes a value in COPY's text format.
// Source: PostgreSQL documentation, COPY, Text Format.
func copyText(out *bytes.Buffer, value []byte) {
	if value == nil {
		out.WriteString(`\N`)
		return
	}
	for start, i := 0, 0; ; i++ {
		if i == len(value) {
			out.Write(value[start:])
			return
		}
		var c byte
		switch value[i] {
		case '\\':
			c = '\\'
		case '\n':
			c = 'n'
		case '\r':
			c = 'r'
		case '\t':
			c = 't'
		default:
			continue
		}
		out.Write(value[start:i])
		out.WriteByte('\\')
		out.WriteByte(c)
		start = i + 1
	}
}

func (r *relay) flush(ctx context.Context) error {
	if r.lines.Len() == 0 {
		return nil
	}
	columns := "ev_time, ev_type, ev_data, ev_extra1, ev_extra2, ev_extra3, ev_extra4"
	if r.part == "" {
		columns = "ev_id, " + columns
	}
	_, err := r.tx.CopyIn(ctx, &r.lines, "copy "+r.table+" ("+columns+") from stdin")
	if err != nil {
		return fmt.Errorf("copy events into queue %s: %w", r.queue, err)
	}
	r.lines.Reset()
	return nil
}
