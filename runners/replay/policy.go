package replay

import (
	"context"
	"maps"
	"slices"

	"github.com/hashicorp/go-hclog"

	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
)

// A Policy says what to do where the table here is not as the provider's was. The zero
// value stops: nothing of the batch is applied.
type Policy struct {
	Missing  string // update or delete of a row that is not here: empty, londiste.MissingWarn or londiste.MissingIgnore
	Conflict string // insert of a row whose key is here: empty, londiste.ConflictOverwrite or londiste.ConflictKeep
}

// policy is the table's.
func (t *Table) policy() Policy { return Policy{t.OnMissing, t.OnConflict} }

func (p Policy) lenient() bool { return p.Missing != "" || p.Conflict != "" }

// A tally is what writing changes has come to. It counts only once the writing is not
// undone any more.
type tally struct {
	rows, missing, conflicts int64
	first                    string // key of the first row that was missing
}

func (t *tally) miss(n int64, key string) {
	if t.missing == 0 {
		t.first = key
	}
	t.missing += n
}

// A part is one of the statements of an operation on rows.
type part struct {
	command
	finds bool // the rows it touches are those that an insert has found here
	reads bool // it changes nothing
}

// parts are the statements of an operation, in their order. Of an insert that may find
// its row: first those that look at the row or write it, then the one that adds it.
func (w *writer) parts(op byte, policy string) []part {
	var all []part
	switch {
	case op != opInsert || policy == "" || len(w.keys) == 0:
		for _, c := range w.commands(op) {
			all = append(all, part{command: c})
		}
	case policy == londiste.ConflictOverwrite && w.t.Where != "":
		commands := w.updateFiltered()
		for i, c := range commands {
			all = append(all, part{command: c, finds: i < len(commands)-1})
		}
	default:
		found := part{command: w.present(), finds: true, reads: true}
		if c, some := w.update(); some && policy == londiste.ConflictOverwrite {
			found = part{command: c, finds: true}
		}
		all = append(all, found, part{command: w.insertMissing()})
	}
	return all
}

// judge adds what the parts of an operation on so many rows have touched, and answers how
// many of the rows were not here. Without a row filter each is touched once; it fails where
// it is not and the policy does not allow that.
func (w *writer) judge(op byte, parts []part, touched []int64, want int64, missing string, into *tally) (absent int64, err error) {
	var written, found int64
	for i, p := range parts {
		if p.finds {
			found += touched[i]
		}
		if !p.reads {
			written += touched[i]
		}
	}
	into.rows += written
	into.conflicts += found
	if w.t.Where != "" || len(parts) == 0 {
		return 0, nil
	}
	if parts[0].reads {
		written += found
	}
	switch {
	case written < want && op != opInsert && missing != "":
		return want - written, nil
	case written != want:
		return 0, errMismatch
	}
	return 0, nil
}

// absent answers the key of the first of these rows that is not here: of one, at least.
func (w *writer) absent(ctx context.Context, tx *pg.Tx, group []*change) (string, error) {
	for len(group) > 1 {
		half := group[:len(group)/2]
		n, err := run(ctx, tx, w.present(), newColumns(half))
		if err != nil {
			return "", err
		}
		if n < int64(len(half)) {
			group = half
		} else {
			group = group[len(group)/2:]
		}
	}
	return w.t.keyOf(group[0]), nil
}

// A missed is what was not here, of one table in one batch.
type missed struct {
	rows  int64
	first string
}

// count adds what has been written for good to the stats, and to what Warn tells.
func (a *Applier) count(t *target, n tally) {
	a.Stats.Rows.Add(n.rows)
	a.Stats.Missing.Add(n.missing)
	a.Stats.Conflicts.Add(n.conflicts)
	if n.missing > 0 && t.OnMissing == londiste.MissingWarn {
		m := a.missed[t.Name]
		if m == nil {
			m = &missed{first: n.first}
			a.missed[t.Name] = m
		}
		m.rows += n.missing
	}
}

// Warn logs, for each table that asks for it, how many rows were not here that the
// transaction in hand should have changed. It is called when that has committed.
func (a *Applier) Warn(log hclog.Logger, queue string) {
	for _, name := range slices.Sorted(maps.Keys(a.missed)) {
		m := a.missed[name]
		log.Warn("rows that were updated or deleted are not here", "queue", queue, "table", name, "rows", m.rows, "first", m.first)
	}
	clear(a.missed)
}
