package tablecopy

import (
	"context"
	"io"
	"sync"
	"time"
)

// A pipe carries rows from one COPY to another. Rows come one by one and go on in
// chunks: each is a message on the wire. Some chunks wait between, so that neither
// side stands still while the other works.
type pipe struct {
	full    chan []byte
	empty   chan []byte
	writing []byte
	reading []byte
	current []byte        // that reading is a part of
	ended   chan struct{} // the receiving side is
	once    sync.Once
	err     error // of the sending side; set before full is closed
}

const (
	chunkBytes = 64 << 10
	chunks     = 8
)

func newPipe() *pipe {
	p := &pipe{full: make(chan []byte, chunks), empty: make(chan []byte, chunks), ended: make(chan struct{})}
	for range chunks {
		p.empty <- make([]byte, 0, chunkBytes)
	}
	return p
}

// Write takes a row. It is called by the sending side alone, as finish is.
func (p *pipe) Write(row []byte) (int, error) {
	if p.writing == nil {
		select {
		case p.writing = <-p.empty:
		case <-p.ended:
			return 0, errReceiver
		}
	}
	p.writing = append(p.writing, row...) // a chunk may grow by one row
	if len(p.writing) < chunkBytes-1024 {
		return len(row), nil
	}
	return len(row), p.send()
}

func (p *pipe) send() error {
	select {
	case p.full <- p.writing:
		p.writing = nil
		return nil
	case <-p.ended:
		return errReceiver
	}
}

// finish ends the rows: with err, or well when that is nil.
func (p *pipe) finish(err error) {
	if err == nil && len(p.writing) > 0 {
		err = p.send()
	}
	p.err = err
	close(p.full)
}

// Read is called by the receiving side alone.
func (p *pipe) Read(into []byte) (int, error) {
	if len(p.reading) == 0 {
		if p.current != nil {
			p.empty <- p.current[:0] // has room: there are no more chunks than it takes
		}
		var open bool
		if p.current, open = <-p.full; !open {
			if p.err != nil {
				return 0, p.err
			}
			return 0, io.EOF
		}
		p.reading = p.current
	}
	n := copy(into, p.reading)
	p.reading = p.reading[n:]
	return n, nil
}

// stop says that nobody reads any more.
func (p *pipe) stop() { p.once.Do(func() { close(p.ended) }) }

// A Limit keeps all who share it to a number of bytes a second together. It is safe
// for concurrent use.
type Limit struct {
	perSecond float64
	mu        sync.Mutex
	free      time.Time // when what has been taken so far is paid for
}

// NewLimit allows so many bytes a second.
func NewLimit(perSecond int64) *Limit { return &Limit{perSecond: float64(max(1, perSecond))} }

// burst is how much of the time that was not used can be caught up with.
const burst = 100 * time.Millisecond

// take answers how long to wait before n bytes may go on.
func (l *Limit) take(n int, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if earliest := now.Add(-burst); l.free.Before(earliest) {
		l.free = earliest
	}
	l.free = l.free.Add(time.Duration(float64(n) / l.perSecond * float64(time.Second)))
	return max(0, l.free.Sub(now))
}

// nap is the shortest wait: what is shorter is put off to a later row.
const nap = 5 * time.Millisecond

// limited writes no faster than limits allow.
type limited struct {
	ctx    context.Context
	to     io.Writer
	limits []*Limit
}

func (w limited) Write(row []byte) (int, error) {
	for _, l := range w.limits {
		if wait := l.take(len(row), time.Now()); wait > nap {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-w.ctx.Done():
				timer.Stop()
				return 0, w.ctx.Err()
			}
		}
	}
	return w.to.Write(row)
}
