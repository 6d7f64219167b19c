package replay

import (
	"context"
	"errors"

	"github.com/skytools-go/skytools/sql/pg"
)

// A Prefetch reads the batch that comes next while one is applied, in a session of its own.
// What the next batch is, it finds out in a transaction that it rolls back: for the
// provider nothing has happened, and a reader that dies leaves nothing. [Source.Open] still
// decides; when that opens another batch, what was read is let go.
//
// The provider keeps what is read: the consumer stands before it, in the batch in hand.
//
// What it cannot find out or begin is no error: the source then reads the batch itself,
// and says why it cannot. The zero value with Dial is ready. It is not safe for concurrent use.
type Prefetch struct {
	Dial    func(context.Context) (*pg.Conn, error)
	Collect Collect // as Open will be asked

	conn *pg.Conn
	last *reading // ahead, or the one before; nil: none
}

// A reading is a batch that is being read ahead.
type reading struct {
	stream
	source  Source
	collect Collect
	known   chan struct{} // closed when batch is known
	batch   *Batch        // nil: there is none to read
}

// take hands over what was read of a batch; nil: that was not read.
func (p *Prefetch) take(s *Source, b *Batch) *stream {
	if p == nil || p.last == nil {
		return nil
	}
	r := p.last
	<-r.known
	if r.batch == nil || r.batch.Prev != b.Prev || r.batch.Tick != b.Tick || r.source.Queue != s.Queue || r.source.Consumer != s.Consumer || r.source.Only != s.Only {
		p.stop()
		return nil
	}
	return &r.stream
}

// begin reads the batch after b once the one in hand has been read.
func (p *Prefetch) begin(s *Source, b *Batch, hand *stream) {
	ctx, cancel := context.WithCancel(context.Background())
	r := &reading{stream: newStream(cancel), source: *s, collect: p.Collect, known: make(chan struct{})}
	before := p.last
	p.last = r
	go func() {
		defer r.close()
		select {
		case <-hand.ended:
		case <-ctx.Done():
		}
		if before != nil {
			<-before.ended // it has the session
		}
		query := p.find(ctx, r, b)
		close(r.known)
		if query != "" {
			r.failed = r.source.read(ctx, r.batch, query, r.pages)
		}
	}()
}

// find tells what the batch after b will be, and returns its query; empty: there is
// nothing to read.
func (p *Prefetch) find(ctx context.Context, r *reading, b *Batch) (query string) {
	if p.conn == nil || p.conn.Closed() {
		conn, err := p.Dial(ctx)
		if err != nil {
			return ""
		}
		p.conn = conn
	}
	s := &r.source
	s.Conn = p.conn
	undo := errors.New("this is not to stay")
	err := p.conn.Write(ctx, func(tx *pg.Tx) error {
		if _, err := tx.Exec(ctx, "select pgq.finish_batch($1)", b.ID); err != nil {
			return err
		}
		span, err := s.Span(ctx, tx, r.collect, b.Tick)
		if err != nil {
			return err
		}
		next, err := s.next(ctx, tx, span)
		if err != nil || next == nil || next.Prev != b.Tick {
			return errors.Join(undo, err)
		}
		if query, err = s.query(ctx, tx, next); err != nil {
			return err
		}
		r.batch = next
		return undo
	})
	if !errors.Is(err, undo) {
		return ""
	}
	return query
}

// stop ends what is being read.
func (p *Prefetch) stop() {
	if p.last != nil {
		p.last.end()
		p.last = nil
	}
}

// Drop lets go what was read ahead, and the session.
func (p *Prefetch) Drop() {
	p.stop()
	p.conn.Close()
	p.conn = nil
}
