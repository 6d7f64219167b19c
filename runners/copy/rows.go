package tablecopy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgqnode"
)

// errNotReady says that the source itself is waiting for its copy.
var errNotReady = errors.New("the table is not in sync there")

// copy copies the rows. All of it, with the state that follows, is one transaction
// here: a crash leaves the table as it was before.
func (t *Copy) copy(ctx context.Context, s *stand) (wait time.Duration, done bool, err error) {
	table, err := replay.LoadKeyed(ctx, t.here, s.Registered, t.MaskKey)
	if err != nil {
		return 0, false, err
	}
	if !table.Fills() { // whatever is replayed here, it needs no rows to begin with
		_, err := replay.SetState(ctx, t.here, t.Queue, t.Table, InCopy, replay.StateOK, "")
		return 0, false, err
	}
	m, err := t.sharing(ctx, t.here)
	if err == nil {
		err = m.refuse()
	}
	if err != nil {
		return 0, false, err
	}
	if m.wait {
		return 300 * time.Millisecond, false, nil
	}
	node, err := t.chooseSource(ctx, s)
	if err != nil {
		return 0, false, err
	}
	if s.Source != "" && s.Source != node { // of an earlier copy
		if err := t.leave(ctx, s); err != nil {
			return 0, false, err
		}
	}
	if err := t.connect(ctx, node); err != nil {
		return 0, false, err
	}
	from, err := t.sourceTable(ctx, t.above)
	if errors.Is(err, errNotReady) {
		return time.Second, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	if err := t.register(ctx, node); err != nil {
		return 0, false, err
	}
	if err := t.dropFkeys(ctx, table.Dest); err != nil {
		return 0, false, err
	}
	if t.limits, err = limitsOf(s, t.Limits); err != nil {
		return 0, false, err
	}
	if err := t.takeTurn(ctx, from); err != nil {
		return 0, false, err
	}
	defer t.giveTurn()
	start := time.Now()
	move := t.transfer
	if m.shared {
		move = t.transferShared
	} else if in, err := t.inPieces(ctx, s, table.Dest, from); err != nil {
		return 0, false, err
	} else if in {
		move = t.transferPieces
	}
	rows, err := move(ctx, s, table, from)
	t.giveTurn()
	switch {
	case errors.Is(err, errNoTurn):
		return 0, false, nil
	case errors.Is(err, errNotReady):
		return time.Second, false, nil
	case errors.Is(err, errHeld):
		t.Log.Warn("another session copies the table: waiting until it ends", "queue", t.Queue, "table", t.Table)
		return 10 * time.Second, false, nil
	case errors.Is(err, errChanged):
		t.Log.Info("copy is undone: the table's state was changed meanwhile", "queue", t.Queue, "table", t.Table)
		return 100 * time.Millisecond, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	t.Log.Info("table is copied", "queue", t.Queue, "table", t.Table, "from", node, "rows", rows, "duration", time.Since(start))
	t.Changed() // another table may be copied now
	return 0, false, t.analyze(ctx, table.Dest)
}

// analyze renews the planner's statistics. The rows are there: only a lost session
// is worth an end.
func (t *Copy) analyze(ctx context.Context, dest sql.Name) error {
	if _, err := t.here.Exec(ctx, "analyze "+dest.Ident()); err != nil && pg.Code(err) == "" {
		return err
	}
	return nil
}

// chooseSource answers the node to copy from: the provider, or what the attribute
// copy_node says; for a question mark the nearest node above that has the table.
//
// Source: contract/londiste.md section 2.7.
func (t *Copy) chooseSource(ctx context.Context, s *stand) (string, error) {
	switch node := s.Registered.Attrs.Get("copy_node"); node {
	case "":
		return s.Provider, nil
	case "?":
		return t.findSource(ctx, s.Provider)
	default:
		return node, nil
	}
}

func (t *Copy) findSource(ctx context.Context, node string) (string, error) {
	for range 50 {
		if err := t.connect(ctx, node); err != nil {
			return "", err
		}
		if _, err := t.sourceTable(ctx, t.above); err == nil || !errors.Is(err, errNotReady) && !errors.Is(err, errNotThere) {
			return node, err
		}
		up, err := pg.One[*string](ctx, t.above, "select provider_node from pgq_node.get_node_info($1)", t.Queue)
		if err != nil {
			return "", err
		}
		if up == nil || *up == node {
			break
		}
		node = *up
	}
	return "", fmt.Errorf("no node above has the table in sync")
}

var errNotThere = errors.New("the table is not replicated there")

// sourceTable answers which table to copy from; errNotReady unless it is in sync.
func (t *Copy) sourceTable(ctx context.Context, q pg.Queryer) (sql.Name, error) {
	type row struct {
		Dest, Attrs string
		Ready       bool
	}
	rows, err := pg.Structs[row](ctx, q, `
		select coalesce(t.dest_table, t.table_name) as dest, coalesce(t.merge_state in ('ok', '?'), false) and `+PartsReady+` as ready,
		       coalesce(t.table_attrs, '') as attrs
		  from londiste.table_info t where t.queue_name = $1 and t.table_name = $2 and t.local`, t.Queue, t.Table)
	switch {
	case err != nil:
		return sql.Name{}, fmt.Errorf("look the table up on node %s: %w", t.source, err)
	case len(rows) == 0:
		return sql.Name{}, fmt.Errorf("node %s: %w", t.source, errNotThere)
	case !rows[0].Ready:
		return sql.Name{}, fmt.Errorf("node %s: %w", t.source, errNotReady)
	}
	attrs, err := londiste.ParseDict(rows[0].Attrs)
	var columns map[string]string
	if err == nil {
		columns, _ = londiste.ParseColumns(attrs) // a handler that is not known here says nothing of them
	}
	if err == nil && (len(columns) > 0 || attrs.Get(londiste.AttrTransform) != "") {
		err = errors.New("the table has other columns there than on the root: copy from a node that has it as the root does (copy_node)")
	}
	if h, bad := londiste.ParseHandling(attrs); err == nil && bad == nil && !h.Fills() && h.Store == "" {
		err = errNotThere // it passes the events on and has no rows
	}
	if err != nil {
		return sql.Name{}, fmt.Errorf("node %s: %w", t.source, err)
	}
	return sql.ParseName(rows[0].Dest), nil
}

// register puts the copy's consumer at the source's newest tick, before the rows are
// looked at: nothing is missed between them.
func (t *Copy) register(ctx context.Context, node string) error {
	tick, err := pg.One[int64](ctx, t.above, `
		select t.tick_id from pgq.tick t join pgq.queue q on q.queue_id = t.tick_queue
		 where q.queue_name = $1 order by t.tick_queue desc, t.tick_id desc limit 1`, t.Queue)
	if err == nil {
		_, err = t.above.Exec(ctx, "select pgq.register_consumer_at($1, $2, $3)", t.Queue, t.consumer, tick)
	}
	if err == nil {
		err = replay.Call(ctx, t.here, pgqnode.RegisterConsumer(t.Queue, t.consumer, node, tick))
	}
	if err != nil {
		return fmt.Errorf("register %s on node %s: %w", t.consumer, node, err)
	}
	return nil
}

// dropFkeys takes off every foreign key to and from the table, each in a transaction
// of its own; the worker puts them back when both tables are in sync.
func (t *Copy) dropFkeys(ctx context.Context, dest sql.Name) error {
	type row struct{ Table, Name string }
	keys, err := pg.Structs[row](ctx, t.here,
		"select from_table as table, fkey_name as name from londiste.find_table_fkeys($1)", dest.String())
	if err != nil {
		return fmt.Errorf("find foreign keys: %w", err)
	}
	for _, k := range keys {
		if _, err := t.here.Exec(ctx, "select londiste.drop_table_fkey($1, $2)", k.Table, k.Name); err != nil {
			return fmt.Errorf("take off foreign key %s of %s: %w", k.Name, k.Table, err)
		}
	}
	return nil
}

// transfer moves the rows and the state in one transaction.
func (t *Copy) transfer(ctx context.Context, s *stand, table *replay.Table, from sql.Name) (rows int64, err error) {
	err = t.here.Write(ctx, func(tx *pg.Tx) error {
		if err := t.lock(ctx, tx, table.Dest); err != nil {
			return err
		}
		if err := t.stillAlone(ctx, tx); err != nil {
			return err
		}
		dest, err := replay.Describe(ctx, tx, table.Dest)
		if err != nil {
			return err
		}
		var indexes []index
		if !dest.Partitioned && !keepsIndexes(s) {
			if indexes, err = dropIndexes(ctx, tx, table.Dest); err != nil {
				return err
			}
		}
		emptied := !keepsRows(s)
		if emptied {
			if _, err := tx.Exec(ctx, "truncate "+dest.From(table.Dest)); err != nil {
				return fmt.Errorf("empty %s: %w", table.Dest, err)
			}
		}
		snapshot, n, err := t.pump(ctx, tx, table, dest, from, emptied && !dest.Partitioned)
		if err != nil {
			return err
		}
		rows = n
		if err := createIndexes(ctx, tx, indexes); err != nil {
			return err
		}
		moved, err := replay.SetState(ctx, tx, t.Queue, t.Table, InCopy, CatchingUp, snapshot)
		if err == nil && !moved {
			err = errChanged
		}
		return err
	})
	return rows, err
}

// errChanged says that somebody else moved the table's state, such as a second copy
// or a resync.
var errChanged = errors.New("its state was changed meanwhile: the copy is undone")

// keepsRows reports a copy that adds to what is there.
func keepsRows(s *stand) bool { return s.Registered.Attrs.Get("skip_truncate") == "1" }

// keepsIndexes reports a copy that leaves the table's indexes alone.
func keepsIndexes(s *stand) bool { return s.Registered.Attrs.Get(londiste.AttrIndexes) == "keep" }

// limitsOf adds the table's own limit to others.
func limitsOf(s *stand, others []*Limit) ([]*Limit, error) {
	text := s.Registered.Attrs.Get(londiste.AttrRate)
	if text == "" {
		return others, nil
	}
	rate, err := strconv.ParseInt(text, 10, 64)
	if err != nil || rate <= 0 {
		return nil, fmt.Errorf("table_attrs: %s is %q, which is no number of bytes a second", londiste.AttrRate, text)
	}
	return append(slices.Clone(others), NewLimit(rate)), nil
}

// pump copies the rows as one snapshot of the source sees them, and returns that
// snapshot. Into a table that this transaction has emptied they come frozen: nobody
// can have an older view of it that an empty table would not have spoilt already.
//
// Source: PostgreSQL documentation, COPY (FREEZE).
func (t *Copy) pump(ctx context.Context, tx *pg.Tx, table *replay.Table, dest *replay.Relation, from sql.Name, freeze bool) (snapshot string, rows int64, err error) {
	err = t.above.Snapshot(ctx, func(above *pg.Tx) error {
		var c *commands
		if snapshot, c, err = t.survey(ctx, above, table, dest, from); err != nil {
			return err
		}
		rows, err = t.stream(ctx, above, c, pages{}, tx, freeze)
		return err
	})
	return snapshot, rows, t.about(err, from)
}

// about says where an error of copying rows comes from.
func (t *Copy) about(err error, from sql.Name) error {
	if err != nil && !errors.Is(err, errNotReady) && !errors.Is(err, errChanged) && !errors.Is(err, errNoTurn) {
		err = fmt.Errorf("copy rows from %s of node %s: %w", from, t.source, err)
	}
	return err
}

// survey looks at the source in the snapshot whose rows are to be copied.
func (t *Copy) survey(ctx context.Context, above *pg.Tx, table *replay.Table, dest *replay.Relation, from sql.Name) (snapshot string, c *commands, err error) {
	if snapshot, err = pg.One[string](ctx, above, "select txid_current_snapshot()::text"); err != nil {
		return "", nil, err
	}
	// Again, in this snapshot: rows and state must be of one moment.
	if name, err := t.sourceTable(ctx, above); err != nil || name != from {
		return "", nil, errors.Join(err, errNotReady)
	}
	source, err := replay.Describe(ctx, above, from)
	if err != nil {
		return "", nil, err
	}
	c, err = newCommands(table, dest, source, from)
	return snapshot, c, err
}

// stream connects the two COPY commands. When one fails, the other is ended by the
// error; the first cause is reported.
func (t *Copy) stream(ctx context.Context, above *pg.Tx, c *commands, part pages, here *pg.Tx, freeze bool) (int64, error) {
	p := newPipe()
	sent := make(chan error, 1)
	go func() {
		_, err := above.CopyOut(ctx, limited{ctx, p, t.limits}, c.out(part))
		p.finish(err) // nil: end of rows
		sent <- err
	}()
	changed := c.change(p)
	rows, err := here.CopyIn(ctx, changed, c.in(freeze))
	p.stop()
	changed.Close()
	if failed := <-sent; failed != nil && !errors.Is(failed, errReceiver) {
		return 0, failed
	}
	return rows, err
}

// errReceiver ends the sending side when the receiving one has failed.
var errReceiver = errors.New("the receiving side has ended")
