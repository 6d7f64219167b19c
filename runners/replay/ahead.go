package replay

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/skytools-go/skytools/sql/pg"
)

// A page is events on their way from the provider: at most pageEvents, and about
// pageBytes of text unless one event has more.
type page struct {
	events []Event
	text   []byte // what the events' fields point into
}

const (
	pageEvents = 1000
	pageBytes  = 1 << 20
	pagesAhead = 40 // of a page each, read while others are applied
)

// A stream is the events of a batch on their way from a session, which is its reader's
// until it has ended.
type stream struct {
	pages  chan *page
	stop   context.CancelFunc
	failed error         // of the reader, once it has ended
	ended  chan struct{} // closed when the reader has left the session
}

func newStream(stop context.CancelFunc) stream {
	return stream{pages: make(chan *page, pagesAhead), stop: stop, ended: make(chan struct{})}
}

// close is the reader's last word.
func (t *stream) close() {
	close(t.ended)
	close(t.pages)
}

// end lets go what has not been taken.
func (t *stream) end() {
	t.stop()
	for range t.pages { // until the reader has left the session
	}
}

// Each calls f with every event of a batch, in the order of their ids. The events
// stay as they are. While f works, the next ones are read: a bounded part of the
// batch, and while that waits the server waits with the rest. The session is of no
// use any more after an error.
//
// It runs the query of the batch itself: a cursor would copy every event once more
// in the server. See order.go for who puts the events in order.
//
// Source: contract/pgq.md section 4.3.
func (s *Source) Each(ctx context.Context, b *Batch, f func(*Event) error) (err error) {
	t := s.Prefetch.take(s, b)
	if t == nil {
		if t, err = s.stream(ctx, b); err != nil {
			return s.wrong(b, err)
		}
	}
	defer t.end()
	if s.Prefetch != nil {
		s.Prefetch.begin(s, b, t)
	}
	defer context.AfterFunc(ctx, t.stop)()
	for p := range t.pages {
		for i := range p.events {
			if err := f(&p.events[i]); err != nil {
				return err
			}
		}
	}
	if t.failed != nil {
		return s.wrong(b, t.failed)
	}
	return nil
}

func (s *Source) wrong(b *Batch, err error) error {
	return fmt.Errorf("read batch %d of queue %s: %w", b.ID, s.Queue, err)
}

// stream begins to read a batch that is open.
func (s *Source) stream(ctx context.Context, b *Batch) (*stream, error) {
	query, err := s.query(ctx, s.Conn, b)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	t := newStream(stop)
	go func() {
		defer t.close()
		t.failed = s.read(ctx, b, query, t.pages)
	}()
	return &t, nil
}

// query is what reads a batch that is open, in order.
func (s *Source) query(ctx context.Context, q pg.Queryer, b *Batch) (string, error) {
	query, err := pg.One[string](ctx, q, "select pgq.batch_event_sql($1)", b.ID)
	if err == nil && s.Only != "" {
		query = "select * from (" + strings.TrimSuffix(query, byID) + ") e where " + s.Only + byID
	}
	return query, err
}

// each reads the events of a query into pages, and calls f with each that is full, and
// the last.
func (s *Source) each(ctx context.Context, query string, f func(*page) error) error {
	p := &page{}
	err := s.Conn.Stream(ctx, pg.Binary, query, func(values [][]byte) error {
		if err := p.add(values); err != nil {
			return err
		}
		if len(p.events) < pageEvents && len(p.text) < pageBytes {
			return nil
		}
		full := p
		p = &page{make([]Event, 0, len(p.events)), make([]byte, 0, len(p.text)+len(p.text)/8)} // the next is likely to be like it
		return f(full)
	})
	if err == nil && len(p.events) > 0 {
		err = f(p)
	}
	return err
}

// add copies a row in the order of pgq.get_batch_events, in binary format, which the
// server makes faster than the text of a time.
func (p *page) add(v [][]byte) error {
	if len(v) != 10 || len(v[0]) != 8 || len(v[1]) != 8 || len(v[2]) != 8 || len(v[3]) != 4 && v[3] != nil {
		return fmt.Errorf("these are not the columns of events: %d values, %q", len(v), v)
	}
	e := Event{
		ID: int64(binary.BigEndian.Uint64(v[0])), Time: int64(binary.BigEndian.Uint64(v[1])), Txid: int64(binary.BigEndian.Uint64(v[2])),
		Type: p.keep(v[4]), Data: p.keep(v[5]),
		Extra: [4][]byte{p.keep(v[6]), p.keep(v[7]), p.keep(v[8]), p.keep(v[9])},
	}
	if v[3] != nil {
		e.Retry = strconv.AppendInt(nil, int64(int32(binary.BigEndian.Uint32(v[3]))), 10)
	}
	p.events = append(p.events, e)
	return nil
}

// keep copies text. Where the page's text grows it moves, and what was kept stays in
// the old place.
func (p *page) keep(text []byte) []byte {
	if text == nil {
		return nil
	}
	start := len(p.text)
	p.text = append(p.text, text...)
	return p.text[start:len(p.text):len(p.text)]
}
