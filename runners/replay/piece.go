package replay

import "context"

// A piece is changes that are written together, by table.
type piece []*load

// A load is the changes of one table in a piece.
type load struct {
	*target
	changes []change
	events  []*Event
	strict  bool
}

// took counts an event, and applies the piece that is full with it.
func (a *Applier) took(ctx context.Context, e *Event) error {
	a.events++
	a.bytes += len(e.Data) + len(e.Type)
	if a.events < a.MaxEvents && a.bytes < a.MaxBytes {
		return nil
	}
	if !a.Ahead {
		return a.Flush(ctx)
	}
	if err := a.settle(); err != nil {
		return err
	}
	p, written := a.take(), make(chan error, 1)
	a.writing = written
	go func() { written <- a.write(ctx, p) }()
	return nil
}

// take makes a piece of what has been added.
func (a *Applier) take() (p piece) {
	for _, t := range a.changed {
		p = append(p, &load{t, t.changes, t.events, t.strict})
		t.changes, t.events = nil, nil
	}
	a.changed, a.events, a.bytes, a.room = nil, 0, 0, nil
	return p
}

func (a *Applier) write(ctx context.Context, p piece) error {
	for _, t := range p {
		if err := a.writeTable(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// settle waits for the piece that is being written.
func (a *Applier) settle() error {
	if a.writing == nil {
		return nil
	}
	err := <-a.writing
	a.writing = nil
	return err
}

// Flush applies what has been added since the last time.
func (a *Applier) Flush(ctx context.Context) error {
	if err := a.settle(); err != nil {
		return err
	}
	return a.write(ctx, a.take())
}
