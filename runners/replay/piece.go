package replay

import (
	"context"

	"github.com/skytools-go/skytools/sql/londiste"
)

// A piece is changes that are written together, by table.
type piece []*load

// A load is the changes of one table in a piece.
type load struct {
	*target
	changes []change
	events  []*Event
	strict  bool
	folded  bool
	net     *net // once folded; nil: the changes do not fit together
}

// took counts an event, and applies the piece that is full with it.
func (a *Applier) took(ctx context.Context, e *Event) error {
	a.events++
	a.bytes += len(e.Data) + len(e.Type)
	most := a.MaxEvents
	if a.Ahead && a.writing == nil { // the session has nothing to do yet
		most = max(1, most/4)
	}
	if a.events < most && a.bytes < a.MaxBytes {
		return nil
	}
	if !a.Ahead {
		return a.Flush(ctx)
	}
	return a.start(ctx)
}

// take makes a piece of what has been added.
func (a *Applier) take() (p piece) {
	for _, t := range a.changed {
		p = append(p, &load{target: t, changes: t.changes, events: t.events, strict: t.strict})
		t.changes, t.events, t.likely = nil, nil, len(t.changes)
	}
	a.changed, a.events, a.bytes, a.room = nil, 0, 0, nil
	return p
}

// A writing is a piece on its way into the session: it is made ready while the one before
// is written.
type writing struct {
	before *writing // nil: none, or it is known to have ended
	ended  chan struct{}
	err    error // once it has ended; of the one before if that failed
}

// start writes a piece. It waits until only one is before it.
func (a *Applier) start(ctx context.Context) error {
	if w := a.writing; w != nil && w.before != nil {
		<-w.before.ended
		if err := w.before.err; err != nil {
			return err
		}
		w.before = nil
	}
	p, w := a.take(), &writing{before: a.writing, ended: make(chan struct{})}
	a.writing = w
	before := w.before
	go func() {
		defer close(w.ended)
		p.prepare()
		if before != nil {
			<-before.ended
			if w.err = before.err; w.err != nil {
				return
			}
		}
		w.err = a.write(ctx, p)
	}()
	return nil
}

// prepare does what needs no session, and keeps it in the loads. What fails here fails
// again when it is needed.
func (p piece) prepare() {
	for _, t := range p {
		if t.fold(); t.net == nil {
			continue
		}
		for _, step := range t.net.steps(Policy{}) {
			for _, group := range step.groups {
				w, err := t.writer(group.rows[0])
				if err != nil {
					return
				}
				for _, part := range w.parts(step.op, step.conflict) {
					if err := group.ready(part.command); err != nil {
						return
					}
				}
			}
		}
	}
}

// folds tells whether changes are folded where they fit together.
func (t *load) folds() bool {
	return t.Queue == "" && !t.calls() && len(t.changes) > 1 && !t.strict
}

// fold sets the net effect of the changes, once.
func (t *load) fold() {
	if !t.folded && t.folds() {
		t.folded, t.net = true, fold(t.changes, t.OnConflict)
	}
}

func (a *Applier) write(ctx context.Context, p piece) error {
	for _, t := range p {
		if err := a.writeTable(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// settle waits for the pieces that are being written.
func (a *Applier) settle() error {
	if a.writing == nil {
		return nil
	}
	<-a.writing.ended
	err := a.writing.err
	a.writing = nil
	return err
}

// Flush applies what has been added since the last time.
func (a *Applier) Flush(ctx context.Context) error {
	if a.Ahead && a.writing != nil && a.events > 0 { // made ready meanwhile
		if err := a.start(ctx); err != nil {
			return err
		}
	}
	if err := a.settle(); err != nil {
		return err
	}
	return a.write(ctx, a.take())
}

// A step of a net is an operation on rows, and what it means where the table is not as
// the provider's was.
type step struct {
	op                byte
	groups            []*columns
	missing, conflict string
}

// steps are the operations of a net, in their order. The policy is the table's, or the
// zero one.
func (n *net) steps(p Policy) []step {
	overwrite := p.Conflict
	if overwrite != "" {
		overwrite = londiste.ConflictOverwrite
	}
	return []step{
		{opDelete, n.groups(&n.removes), p.Missing, ""},
		{opDelete, n.groups(&n.sweeps), unasked, ""},
		{opUpdate, n.groups(&n.updates), p.Missing, ""},
		{opInsert, n.groups(&n.inserts), "", p.Conflict},
		{opInsert, n.groups(&n.overwrites), "", overwrite},
	}
}

// groups are the rows of a list by their shape, each made once.
func (n *net) groups(of *[]*change) []*columns {
	made, known := n.grouped[of]
	if !known {
		for _, rows := range byShape(*of) {
			made = append(made, newColumns(rows))
		}
		if n.grouped == nil {
			n.grouped = map[*[]*change][]*columns{}
		}
		n.grouped[of] = made
	}
	return made
}
