package replay

import (
	"context"
	"errors"

	"github.com/skytools-go/skytools/sql/pg"
)

// A Next reads the batch that comes next while one is applied, in a session of its own.
// What the next batch is, it finds out in a transaction that it rolls back: for the
// provider nothing has happened, and a reader that dies leaves nothing. [Source.Open] still
// decides; when that opens another batch, what was read is let go.
//
// The provider keeps what is read: the consumer stands before it, in the batch in hand.
//
// What it cannot find out or begin is no error: the source then reads the batch itself,
// and says why it cannot. The zero value with Dial is ready. It is not safe for concurrent use.
type Next struct {
	Dial   func(context.Context) (*pg.Conn, error)
	Counts []int // as Open will be asked

	conn *pg.Conn
	last *reading // ahead, or the one before; nil: none
}

// A reading is a batch that is being read ahead.
type reading struct {
	stream
	source Source
	counts []int
	known  chan struct{} // closed when batch is known
	batch  *Batch        // nil: there is none to read
}

// take hands over what was read of a batch; nil: that was not read.
func (n *Next) take(s *Source, b *Batch) *stream {
	if n == nil || n.last == nil {
		return nil
	}
	r := n.last
	<-r.known
	if r.batch == nil || r.batch.Prev != b.Prev || r.batch.Tick != b.Tick || r.source.Queue != s.Queue || r.source.Consumer != s.Consumer || r.source.Only != s.Only {
		n.stop()
		return nil
	}
	return &r.stream
}

// begin reads the batch after b once the one in hand has been read.
func (n *Next) begin(s *Source, b *Batch, hand *stream) {
	ctx, cancel := context.WithCancel(context.Background())
	r := &reading{stream: newStream(cancel), source: *s, counts: n.Counts, known: make(chan struct{})}
	before := n.last
	n.last = r
	go func() {
		defer r.close()
		select {
		case <-hand.ended:
		case <-ctx.Done():
		}
		if before != nil {
			<-before.ended // it has the session
		}
		query := n.find(ctx, r, b)
		close(r.known)
		if query != "" {
			r.failed = r.source.read(ctx, query, r.pages)
		}
	}()
}

// find tells what the batch after b will be, and returns its query; empty: there is
// nothing to read.
func (n *Next) find(ctx context.Context, r *reading, b *Batch) (query string) {
	if n.conn == nil || n.conn.Closed() {
		conn, err := n.Dial(ctx)
		if err != nil {
			return ""
		}
		n.conn = conn
	}
	s := &r.source
	s.Conn = n.conn
	undo := errors.New("this is not to stay")
	err := n.conn.Write(ctx, func(tx *pg.Tx) error {
		if _, err := tx.Exec(ctx, "select pgq.finish_batch($1)", b.ID); err != nil {
			return err
		}
		next, err := s.next(ctx, tx, r.counts)
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
func (n *Next) stop() {
	if n.last != nil {
		n.last.end()
		n.last = nil
	}
}

// Drop lets go what was read ahead, and the session.
func (n *Next) Drop() {
	n.stop()
	n.conn.Close()
	n.conn = nil
}
