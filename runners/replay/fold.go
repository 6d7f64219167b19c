package replay

import (
	"context"
	"errors"
	"fmt"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
)

// A net is what changes come to, one entry for each key. Entries point into the
// changes.
type net struct{ removes, updates, inserts []*change }

// A life is what happened to one key: the first operation tells whether the row
// was there before, the last whether it is after.
type life struct {
	existed, deleted bool
	old              *change // the first delete
	new              *change // the row, if there is one
}

// fold reduces changes to their net effect. It returns nil when they do not fit
// together (an insert of what is there, an update of what is gone, rows with
// other columns): then only the order of events tells what is meant.
//
// A row that was deleted and inserted again is both: columns that only the table
// here has go back to their defaults.
func fold(changes []change) *net {
	lives := make(map[string]*life, len(changes))
	order := make([]*life, 0, len(changes))
	all := make([]life, len(changes)) // one allocation
	for i := range changes {
		c := &changes[i]
		l := lives[c.key]
		if l == nil {
			l = &all[len(order)]
			l.existed = c.op != opInsert
			lives[c.key] = l
			order = append(order, l)
		} else if (l.new != nil) != (c.op != opInsert) {
			return nil
		}
		switch c.op {
		case opDelete:
			if l.old == nil {
				l.old = c
			}
			l.deleted, l.new = true, nil
		default:
			if c.op == opUpdate && l.new != nil && l.new.shape != c.shape {
				return nil
			}
			l.new = c
		}
	}
	n := &net{}
	for _, l := range order {
		gone := l.existed && l.deleted
		switch {
		case gone && l.new != nil:
			n.removes, n.inserts = append(n.removes, l.old), append(n.inserts, l.new)
		case gone:
			n.removes = append(n.removes, l.old)
		case l.existed:
			n.updates = append(n.updates, l.new)
		case l.new != nil:
			n.inserts = append(n.inserts, l.new)
		}
	}
	return n
}

// errMismatch says that a statement did not touch each row exactly once.
var errMismatch = errors.New("some rows were not there, or twice")

func isMismatch(err error) bool { return errors.Is(err, errMismatch) }

// writeNet applies net changes, a statement for each operation and shape of rows.
func (a *Applier) writeNet(ctx context.Context, t *target, n *net) error {
	for _, step := range []struct {
		op   byte
		rows []*change
	}{{opDelete, n.removes}, {opUpdate, n.updates}, {opInsert, n.inserts}} {
		for _, group := range byShape(step.rows) {
			w, err := t.writer(group[0])
			if err != nil {
				return err
			}
			if err := a.writeGroup(ctx, w, step.op, group); err != nil {
				return err
			}
		}
	}
	return nil
}

func byShape(rows []*change) [][]*change {
	var groups [][]*change
	place := map[*shape]int{}
	for _, c := range rows {
		at, known := place[c.shape]
		if !known {
			at = len(groups)
			place[c.shape] = at
			groups = append(groups, nil)
		}
		groups[at] = append(groups[at], c)
	}
	return groups
}

func (a *Applier) writeGroup(ctx context.Context, w *writer, op byte, group []*change) error {
	rows := arrayOf(group)
	exact := w.t.Where == ""
	for _, text := range w.texts(op) {
		n, err := a.tx.Exec(ctx, text, rows)
		if err != nil {
			return err
		}
		if exact && n != int64(len(group)) {
			return errMismatch
		}
		a.Stats.Rows.Add(n)
	}
	return nil
}

// texts are the statements of an operation, in their order.
func (w *writer) texts(op byte) []string {
	switch {
	case op == opDelete:
		return []string{w.remove()}
	case op == opInsert:
		return []string{w.insert()}
	case w.t.Where != "":
		return w.updateFiltered()
	}
	if text := w.update(); text != "" {
		return []string{text}
	}
	return nil // nothing but the key: nothing to change
}

func arrayOf(group []*change) string {
	size := 2
	for _, c := range group {
		size += len(c.row) + 1
	}
	out := make([]byte, 0, size)
	out = append(out, '[')
	for i, c := range group {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, c.row...)
	}
	return string(append(out, ']'))
}

// pipelined is how many statements are sent before their answers are read.
const pipelined = 500

// writeOrdered applies changes one by one, in the order of events.
func (a *Applier) writeOrdered(ctx context.Context, t *target) error {
	var stmts []sql.Stmt
	var of []*change
	for i := range t.changes {
		c := &t.changes[i]
		w, err := t.writer(c)
		if err != nil {
			return t.failed(c, err)
		}
		for _, text := range w.texts(c.op) {
			stmts, of = append(stmts, sql.Exec(text, "["+string(c.row)+"]")), append(of, c)
		}
		if len(stmts) >= pipelined || i == len(t.changes)-1 {
			if err := a.send(ctx, t, stmts, of); err != nil {
				return err
			}
			stmts, of = nil, nil
		}
	}
	return nil
}

func (a *Applier) send(ctx context.Context, t *target, stmts []sql.Stmt, of []*change) error {
	rows, err := a.tx.Pipeline(ctx, stmts)
	if t.Where == "" {
		for i, n := range rows {
			switch {
			case n == 0:
				return t.failed(of[i], errors.New("there is no such row here"))
			case n > 1:
				return t.failed(of[i], fmt.Errorf("there are %d such rows here", n))
			}
		}
	}
	for _, n := range rows {
		a.Stats.Rows.Add(n)
	}
	switch {
	case err != nil && len(rows) < len(of) && pg.Code(err) != "":
		return t.failed(of[len(rows)], err)
	case err != nil:
		return fmt.Errorf("apply to %s: %w", t.Dest, err)
	}
	return nil
}

// failed names the event and the row that cannot be applied.
func (t *target) failed(c *change, err error) error {
	verb := map[byte]string{opInsert: "insert into", opUpdate: "update", opDelete: "delete from"}[c.op]
	hint := ""
	if code := pg.Code(err); code == "23505" || code == "" {
		hint = "; the table here differs from the provider's: compare them, or copy it again (resync)"
	}
	return fmt.Errorf("event %d: %s %s: key (%s): %w%s; row %.2000s", c.event, verb, t.Dest, t.keyOf(c), err, hint, c.row)
}

// keyOf shows a change's key as name=value.
func (t *target) keyOf(c *change) string {
	fields, err := scanObject(c.row, nil)
	if err != nil {
		return "?"
	}
	text := ""
	for _, name := range c.keys {
		if at := c.shape.place(name); at >= 0 {
			value, _, _ := textOf(fields[at].value)
			if text != "" {
				text += ", "
			}
			text += name + "=" + value
		}
	}
	return text
}
