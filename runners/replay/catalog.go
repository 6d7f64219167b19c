package replay

import (
	"context"
	"fmt"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
)

// Registered is a row of londiste.table_info.
type Registered struct {
	Name     string
	Dest     sql.Name
	Local    bool
	State    string // empty: NULL, waits for its copy
	Snapshot string // empty: NULL
	Attrs    londiste.Dict
}

// StateOK is the state of a table whose copy is done.
const StateOK = "ok"

// Lookup reads how a table is registered here; nil when it is not.
func Lookup(ctx context.Context, q pg.Queryer, queue, table string) (*Registered, error) {
	type row struct {
		Dest, State, Snapshot, Attrs string
		Local                        bool
	}
	rows, err := pg.Structs[row](ctx, q, `
		select coalesce(dest_table, table_name) as dest, local, coalesce(merge_state, '') as state,
		       coalesce(custom_snapshot, '') as snapshot, coalesce(table_attrs, '') as attrs
		  from londiste.table_info
		 where queue_name = $1 and table_name = $2`, queue, table)
	if err != nil {
		return nil, fmt.Errorf("look up how the table is registered: %w", err)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	r := rows[0]
	attrs, err := londiste.ParseDict(r.Attrs)
	if err != nil {
		return nil, fmt.Errorf("table_attrs: %w", err)
	}
	state := r.State
	if state == "?" { // old data
		state = StateOK
	}
	return &Registered{table, sql.ParseName(r.Dest), r.Local, state, r.Snapshot, attrs}, nil
}

// Table is how the registered table's changes are applied. It fails when its attributes
// ask for what is not known here.
//
// Source: contract/londiste.md sections 1.5 and 4.
func (r *Registered) Table() (t *Table, err error) {
	t = &Table{Name: r.Name, Dest: r.Dest, Where: r.Attrs.Get(londiste.AttrWhere)}
	if t.Handling, err = londiste.ParseHandling(r.Attrs); err != nil {
		return nil, err
	}
	if t.Mapping, err = readMapping(r.Attrs); err != nil {
		return nil, err
	}
	if r.Snapshot != "" {
		if t.Seen, err = ParseSnapshot(r.Snapshot); err != nil {
			return nil, fmt.Errorf("custom_snapshot: %w", err)
		}
	}
	return t, nil
}

// SetState moves a table from one state to another, if it still is in the first:
// somebody may have asked for another copy meanwhile. Empty texts are NULL.
func SetState(ctx context.Context, c interface {
	Exec(context.Context, string, ...any) (int64, error)
}, queue, table, from, to, snapshot string) (bool, error) {
	n, err := c.Exec(ctx, `
		update londiste.table_info
		   set merge_state = nullif($4::text, ''), custom_snapshot = nullif($5::text, '')
		 where queue_name = $1 and table_name = $2 and local and coalesce(merge_state, '') = $3`, queue, table, from, to, snapshot)
	if err != nil {
		return false, fmt.Errorf("table %s: set its state to %q: %w", table, to, err)
	}
	return n == 1, nil
}

// Covers reports whether everything that was visible in a snapshot of the node
// that conn leads to is visible at one of its ticks: then no event after the tick
// can have been copied with the snapshot. It is false for a tick that is gone.
//
// Source: contract/londiste.md section 2.6.
func Covers(ctx context.Context, conn *pg.Conn, queue string, tick int64, snapshot string) (bool, error) {
	covered, err := pg.One[bool](ctx, conn, `
		select exists (
		    select 1
		      from pgq.tick t
		      join pgq.queue q on q.queue_id = t.tick_queue
		     where q.queue_name = $1 and t.tick_id = $2
		       and txid_snapshot_xmax(t.tick_snapshot) >= txid_snapshot_xmax(s.seen)
		       and not exists (select 1 from txid_snapshot_xip(t.tick_snapshot) x where txid_visible_in_snapshot(x, s.seen)))
		  from (select $3::text::txid_snapshot as seen) s`, queue, tick, snapshot)
	if err != nil {
		return false, fmt.Errorf("compare tick %d of queue %s with a snapshot: %w", tick, queue, err)
	}
	return covered, nil
}
