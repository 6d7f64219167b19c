package replay

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
)

// A net is what changes come to, one entry for each key. Entries point into the
// changes.
type net struct {
	removes, updates, inserts []*change

	// Only where an insert may find its row here: rows that came and went again, so that
	// what was here is gone, and rows that came and were updated, so that they are as the
	// update says, whatever was here.
	sweeps, overwrites []*change

	grouped map[*[]*change][]*columns // of these lists
}

// A life is what happened to one key: the first operation tells whether the row
// was there before, the last whether it is after.
type life struct {
	existed, deleted, updated bool
	old                       *change // the first delete
	new                       *change // the row, if there is one
}

// fold reduces changes to their net effect. It returns nil when they do not fit
// together (an insert of what is there, an update of what is gone, rows with
// other columns): then only the order of events tells what is meant.
//
// A row that was deleted and inserted again is both: columns that only the table
// here has go back to their defaults.
func fold(changes []change, conflict string) *net {
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
			l.new, l.updated = c, l.updated || c.op == opUpdate
		}
	}
	n := &net{}
	for _, l := range order {
		gone := l.existed && l.deleted
		if !l.existed && l.deleted && conflict != "" {
			n.sweeps = append(n.sweeps, l.old)
		}
		switch {
		case gone && l.new != nil:
			n.removes, n.inserts = append(n.removes, l.old), append(n.inserts, l.new)
		case gone:
			n.removes = append(n.removes, l.old)
		case l.existed:
			n.updates = append(n.updates, l.new)
		case l.new != nil && l.updated && !l.deleted && conflict != "":
			n.overwrites = append(n.overwrites, l.new)
		case l.new != nil:
			n.inserts = append(n.inserts, l.new)
		}
	}
	return n
}

// errMismatch says that a statement did not touch each row exactly once.
var errMismatch = errors.New("some rows were not there, or twice")

func isMismatch(err error) bool { return errors.Is(err, errMismatch) }

// writeNet applies net changes, a statement for each operation and shape of rows. The
// policy is the table's, or the zero one.
func (a *Applier) writeNet(ctx context.Context, t *load, p Policy) (done tally, err error) {
	for _, s := range t.net.steps(p) {
		for _, group := range s.groups {
			w, err := t.writer(group.rows[0])
			if err != nil {
				return done, err
			}
			if err := a.writeGroup(ctx, w, s.op, group, Policy{s.missing, s.conflict}, &done); err != nil {
				return done, err
			}
		}
	}
	return done, nil
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

func (a *Applier) writeGroup(ctx context.Context, w *writer, op byte, group *columns, p Policy, done *tally) (err error) {
	rows, parts, first := group.rows, w.parts(op, p.Conflict), ""
	warn := p.Missing == londiste.MissingWarn && w.t.Where == ""
	if warn && op == opDelete { // afterwards none of them is here
		n, err := run(ctx, a.tx, w.present(), group)
		if err == nil && n < int64(len(rows)) {
			first, err = w.absent(ctx, a.tx, rows)
		}
		if err != nil {
			return err
		}
	}
	var touched []int64
	for _, part := range parts {
		n, err := run(ctx, a.tx, part.command, group)
		if err != nil {
			return err
		}
		touched = append(touched, n)
	}
	absent, err := w.judge(op, parts, touched, int64(len(rows)), p.Missing, done)
	if err != nil || absent == 0 {
		return err
	}
	if warn && op == opUpdate {
		if first, err = w.absent(ctx, a.tx, rows); err != nil {
			return err
		}
	}
	if p.Missing != unasked {
		done.miss(absent, first)
	}
	return nil
}

// unasked stands for a policy: whether the rows are here does not matter.
const unasked = "unasked"

// commands are those of an operation, in their order.
func (w *writer) commands(op byte) []command {
	switch {
	case op == opDelete:
		return []command{w.remove()}
	case op == opInsert:
		return []command{w.insert()}
	case w.t.Where != "":
		return w.updateFiltered()
	}
	if c, some := w.update(); some {
		return []command{c}
	}
	return nil // nothing but the key: nothing to change
}

// pipelined is how many statements are sent before their answers are read.
const pipelined = 500

// A sent is a change whose statements have been sent.
type sent struct {
	*change
	w     *writer
	parts []part
}

// writeOrdered applies changes one by one, in the order of events.
func (a *Applier) writeOrdered(ctx context.Context, t *load) (done tally, err error) {
	var stmts []sql.Stmt
	var of []sent
	for i := range t.changes {
		c := &t.changes[i]
		w, err := t.writer(c)
		if err != nil {
			return done, t.failed(c, err)
		}
		s, columns := sent{c, w, w.parts(c.op, t.OnConflict)}, newColumns([]*change{c})
		for _, part := range s.parts {
			args, err := columns.args(part.command)
			if err != nil {
				return done, t.failed(c, err)
			}
			stmts = append(stmts, sql.Exec(part.text, args...))
		}
		of = append(of, s)
		if len(stmts) >= pipelined || i == len(t.changes)-1 {
			if err := a.send(ctx, t, stmts, of, &done); err != nil {
				return done, err
			}
			stmts, of = nil, nil
		}
	}
	return done, nil
}

func (a *Applier) send(ctx context.Context, t *load, stmts []sql.Stmt, of []sent, done *tally) error {
	rows, err := a.tx.Pipeline(ctx, stmts)
	for _, s := range of {
		if len(rows) < len(s.parts) {
			if pg.Code(err) != "" {
				return t.failed(s.change, err)
			}
			break
		}
		absent, wrong := s.w.judge(s.op, s.parts, rows[:len(s.parts)], 1, t.OnMissing, done)
		switch {
		case wrong != nil && total(rows[:len(s.parts)]) == 0:
			return t.failed(s.change, errors.New("there is no such row here"))
		case wrong != nil:
			return t.failed(s.change, fmt.Errorf("there are %d such rows here", total(rows[:len(s.parts)])))
		case absent > 0:
			done.miss(absent, t.keyOf(s.change))
		}
		rows = rows[len(s.parts):]
	}
	if err != nil {
		return fmt.Errorf("apply to %s: %w", t.Dest, err)
	}
	return nil
}

func total(counts []int64) (sum int64) {
	for _, n := range counts {
		sum += n
	}
	return sum
}

// failed names the event and the row that cannot be applied.
func (t *target) failed(c *change, err error) error {
	verb := map[byte]string{opInsert: "insert into", opUpdate: "update", opDelete: "delete from"}[c.op]
	hint := ""
	if code := pg.Code(err); code == "23505" || code == "" {
		hint = "; the table here differs from the provider's: compare them, or copy it again (resync)"
	}
	return fmt.Errorf("event %d: %s %s: key (%s): %w%s; row %.2000s", c.event, verb, t.Dest, t.keyOf(c), err, hint, c.row())
}

// keyOf shows a change's key as name=value.
func (t *target) keyOf(c *change) string {
	var parts []string
	for _, name := range c.keys {
		if at := c.shape.place(name); at >= 0 {
			value, _, _ := textOf(c.values[at])
			parts = append(parts, name+"="+value)
		}
	}
	return strings.Join(parts, ", ")
}
