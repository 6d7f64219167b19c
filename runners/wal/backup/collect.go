package backup

import (
	"context"
	"errors"
	"sync"
)

// collect puts pieces into packs in the order in which they were cut.
func (t *taking) collect(ctx context.Context, pieces <-chan *piece) (err error) {
	recipients, err := t.writing.shelf.recipients()
	if err != nil {
		return err
	}
	var up sync.WaitGroup
	defer func() {
		up.Wait()
		if err == nil {
			err = t.failed
		}
	}()
	slots := make(chan struct{}, uploads)
	upload := func(g *growing) {
		slots <- struct{}{}
		place := t.place(Pack{Backup: t.manifest.ID, N: g.n}) // its place in the list; size and digest follow
		up.Go(func() {
			defer func() { <-slots }()
			pack, err := g.put(ctx, t.writing, t.manifest.ID)
			t.written(place, pack, err)
		})
	}
	var g *growing
	for n := 0; ; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		default:
		}
		p, more := <-pieces
		if !more {
			break
		}
		<-p.done
		if p.failed != nil {
			return p.failed
		}
		if p.compressed != nil && g == nil {
			if g, err = newGrowing(n, recipients); err != nil {
				return err
			}
			n++
		}
		if err := t.settle(p, g); err != nil {
			return err
		}
		if g != nil && g.stored.size >= packSize {
			upload(g)
			g = nil
		}
		if err := t.failure(); err != nil {
			return err
		}
	}
	if g != nil {
		upload(g)
	}
	return nil
}

// settle writes down where a piece is, and gives its buffers back.
func (t *taking) settle(p *piece, g *growing) error {
	length := int64(len(p.plain))
	buffers.Put(p.buffer)
	p.plain, p.buffer = nil, nil
	switch {
	case p.known == nil:
		f, err := g.add(p.frame.Sum, p.compressed)
		if err != nil {
			return err
		}
		rooms.Put(p.room)
		p.compressed, p.room = nil, nil
		f.Pack = t.place(Pack{Backup: t.manifest.ID, N: g.n})
		*p.frame = f
		t.manifest.NewBytes += length
	case p.resumed:
		*p.frame = *p.known
		p.frame.Pack = t.place(t.unfin[p.known.Pack])
	default:
		*p.frame = *p.known
		p.frame.Pack = t.place(t.parent.Packs[p.known.Pack])
	}
	t.done += length
	if t.o.Progress != nil {
		t.o.Progress(t.done, max(t.total, t.done))
	}
	return nil
}

// place is where a pack is in the manifest's list, where it is put at its first use.
func (t *taking) place(p Pack) uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at, found := t.packs[p]; found {
		return at
	}
	at := uint32(len(t.manifest.Packs))
	t.packs[p] = at
	t.manifest.Packs = append(t.manifest.Packs, p)
	return at
}

// written notes what became of a pack that was being written.
func (t *taking) written(place uint32, p Pack, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.failed = errors.Join(t.failed, err)
		return
	}
	t.manifest.Packs[place] = p
	t.manifest.Stored += p.Size
}

func (t *taking) failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed
}
