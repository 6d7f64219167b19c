package tablecopy

import (
	"context"
	"fmt"

	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
)

// Several queues may fill one table of a database, by a leaf of each. One copy leads when
// no source has rows in the table yet:
//
//	leader    empties the table, drops its indexes and writes into dropped_ddl how to
//	          make them again, in one transaction; copies its rows; waits until all
//	          others have copied theirs; makes the indexes
//	follower  waits until the leader has dropped the indexes; copies its rows; waits
//	          until the indexes are there
//	latecomer copies into a table that others have filled, and leaves the indexes alone
//
// Who is what, says londiste._coordinate_copy, to any program. It can change while one
// waits for a lock, so it is asked again under the lock: the leader holds ACCESS EXCLUSIVE
// when it empties the table, the others ROW EXCLUSIVE until their rows, and the state that
// says so, are committed. The rows of a source come in one transaction.
//
// Source: contract/londiste.md sections 1.7 and 2.5.

// PartsReady is the SQL condition that all that is merged into table t of londiste.table_info
// has arrived: before that the copy of another source may bring rows of which the combined
// queue does not tell.
const PartsReady = `not exists (
           select 1
             from pgq_node.node_info part_node
             join londiste.table_info part on part.queue_name = part_node.queue_name
            where part_node.combined_queue = t.queue_name
              and part_node.node_type = 'leaf'
              and part.local
              and coalesce(part.dest_table, part.table_name) = coalesce(t.dest_table, t.table_name)
              and (part.merge_state is distinct from 'ok' or part.custom_snapshot is not null))`

// A sharing is what a table's other sources mean for this one's copy.
type sharing struct {
	shared  bool   // there are some, or were when the copy began; false for a copy in pieces, which began without
	wait    bool   // for another copy
	lead    bool   // nobody has begun, and this one may
	filled  bool   // others have rows in the table
	dropped bool   // another copy holds what is needed to make the indexes again
	pieces  bool   // another copies in pieces, and may begin again
	others  string // sources, for messages
	strange string // what shares the table and is no such source
}

// refuse is the error of a copy that would take the rows of something else.
func (m sharing) refuse() error {
	if m.strange == "" {
		return nil
	}
	return fmt.Errorf("the table is also that of %s, which a copy would take the rows of: copy it by hand and add it with expect_sync (copy: no)", m.strange)
}

const sharingSQL = `
with me as (
    select t.queue_name, t.table_name, coalesce(t.dest_table, t.table_name) as dest, t.merge_state, t.dropped_ddl,
           n.node_type, n.combined_queue
      from londiste.table_info t
      join pgq_node.node_info n on n.queue_name = t.queue_name
     where t.queue_name = $1 and t.table_name = $2
), other as (
    select t.queue_name || '/' || t.table_name as name, t.merge_state, t.dropped_ddl,
           n.queue_name = me.combined_queue or n.combined_queue = me.queue_name as same_rows,
           me.node_type = 'leaf' and n.node_type = 'leaf' and n.queue_name <> me.queue_name
               and n.combined_queue is not distinct from me.combined_queue as source
      from me
      join londiste.table_info t
        on coalesce(t.dest_table, t.table_name) = me.dest and (t.queue_name, t.table_name) <> (me.queue_name, me.table_name)
      join pgq_node.node_info n on n.queue_name = t.queue_name
     where t.local or t.dropped_ddl is not null
)
select coalesce(string_agg(name, ', ' order by name) filter (where not coalesce(same_rows, false) and not source), '') as strange,
       coalesce(string_agg(name, ', ' order by name) filter (where source), '') as others,
       coalesce(bool_or(merge_state <> 'in-copy') filter (where source), false) as filled,
       coalesce(bool_or(dropped_ddl is not null) filter (where source), false) as dropped,
       coalesce(bool_or(merge_state = 'in-copy' and starts_with(dropped_ddl, $3)) filter (where source), false) as pieces,
       coalesce((select me.dropped_ddl from me), '') as own
  from other`

// sharing looks at a table's other sources.
func (t *Copy) sharing(ctx context.Context, q pg.Queryer) (sharing, error) {
	type row struct {
		Strange, Others, Own    string
		Filled, Dropped, Pieces bool
	}
	r, err := pg.Struct[row](ctx, q, sharingSQL, t.Queue, t.Table, droppedMark)
	if err != nil {
		return sharing{}, fmt.Errorf("look for other sources of the table: %w", err)
	}
	own, err := parseDropped(r.Own)
	if err != nil {
		return sharing{}, err
	}
	alone := own == nil || own.Shared // not in pieces
	if r.Others == "" {
		begun := r.Own != "" && alone // together with others, which have gone
		return sharing{shared: begun, filled: begun, strange: r.Strange}, nil
	}
	type part struct {
		Role       string
		Pos, Limit int32
		Copied     bool
	}
	p, err := pg.Struct[part](ctx, q, `
		select coalesce(c.copy_role, '') as role, coalesce(c.copy_pos, 0) as pos, coalesce(substring(t.table_attrs from '(?:^|&)max_parallel_copy=(\d{1,6})(?:&|$)')::int4, 8) as limit,
		       t.merge_state is distinct from 'in-copy' as copied
		  from londiste.table_info t, londiste._coordinate_copy($1, $2) c
		 where t.queue_name = $1 and t.table_name = $2`, t.Queue, t.Table)
	if err != nil {
		return sharing{}, fmt.Errorf("ask whose turn it is to copy: %w", err)
	}
	m := sharing{shared: alone, filled: r.Filled, dropped: r.Dropped, pieces: r.Pieces, others: r.Others, strange: r.Strange}
	m.lead = p.Role == "lead" && r.Own == "" && !r.Filled && !r.Dropped
	if p.Copied {
		m.wait = p.Role == "wait-replay"
	} else {
		m.wait = p.Role == "wait-copy" || r.Pieces || p.Pos >= p.Limit
	}
	return m, nil
}

// stillAlone is for a copy that is about to empty the table, which it has locked.
func (t *Copy) stillAlone(ctx context.Context, tx *pg.Tx) error {
	m, err := t.sharing(ctx, tx)
	if err == nil {
		err = m.refuse()
	}
	switch {
	case err != nil:
		return err
	case m.filled && !m.shared:
		return fmt.Errorf("its copy in pieces was interrupted and cannot begin again: %s have rows in it by now; stop replicating it from all of its sources, and begin anew", m.others)
	case m.shared:
		return errChanged
	}
	return nil
}

// transferShared moves the rows into a table that has other sources.
func (t *Copy) transferShared(ctx context.Context, s *stand, table *replay.Table, from sql.Name) (rows int64, err error) {
	if err := t.leadMerge(ctx, s, table.Dest); err != nil {
		return 0, err
	}
	err = t.here.Write(ctx, func(tx *pg.Tx) error {
		if err := t.lockIn(ctx, tx, table.Dest, "row exclusive"); err != nil {
			return err
		}
		m, err := t.sharing(ctx, tx)
		if err != nil {
			return err
		}
		text, err := t.droppedText(ctx, tx)
		if err != nil {
			return err
		}
		if m.wait || text == "" && !m.filled && !m.dropped && !keepsRows(s) { // somebody else may empty it still, or has to
			return errChanged
		}
		dest, err := replay.Describe(ctx, tx, table.Dest)
		if err != nil {
			return err
		}
		snapshot, n, err := t.pump(ctx, tx, table, dest, from, false)
		if err != nil {
			return t.aboutOthers(err, m)
		}
		rows = n
		moved, err := replay.SetState(ctx, tx, t.Queue, t.Table, InCopy, CatchingUp, snapshot)
		if err == nil && !moved {
			err = errChanged
		}
		return err
	})
	return rows, err
}

// aboutOthers adds what to do about a row that is there already.
func (t *Copy) aboutOthers(err error, m sharing) error {
	if pg.Code(err) != "23505" {
		return err
	}
	return fmt.Errorf("%w; the table has rows of %s, too: their keys must differ, and rows that an earlier copy of this source has left have to be deleted first", err, m.others)
}

// leadMerge empties the table and drops its indexes, if it is this copy's turn to lead.
func (t *Copy) leadMerge(ctx context.Context, s *stand, dest sql.Name) error {
	return t.here.Write(ctx, func(tx *pg.Tx) error {
		if m, err := t.sharing(ctx, tx); err != nil || !m.lead {
			return err
		}
		if err := t.lock(ctx, tx, dest); err != nil {
			return err
		}
		m, err := t.sharing(ctx, tx)
		if err != nil {
			return err
		}
		if !m.lead {
			return errChanged
		}
		relation, err := replay.Describe(ctx, tx, dest)
		if err != nil {
			return err
		}
		var indexes []index
		if !relation.Partitioned && !keepsIndexes(s) {
			if indexes, err = dropIndexes(ctx, tx, dest); err != nil {
				return err
			}
		}
		if !keepsRows(s) {
			if _, err := tx.Exec(ctx, "truncate "+relation.From(dest)); err != nil {
				return fmt.Errorf("empty %s: %w", dest, err)
			}
		}
		d := newDropped(nil, 0, indexes)
		d.Shared = true
		text, err := d.text()
		if err != nil {
			return err
		}
		t.Log.Info("copies of several sources begin", "queue", t.Queue, "table", t.Table, "others", m.others)
		_, err = tx.Run(ctx, londiste.SetTableStruct(t.Queue, t.Table, text))
		return err
	})
}
