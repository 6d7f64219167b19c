package receive

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/skytools-go/skytools/runners/wal/segment"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
)

// saying is how often the server hears from us, even if nothing has changed. It gives
// up after wal_sender_timeout, a minute by default.
const saying = 10 * time.Second

// A segmentInHand is the segment that is being received.
type segmentInHand struct {
	r       *Receiver
	stream  *pg.Stream
	name    segment.Name
	start   sql.LSN // of the segment
	at      sql.LSN // where the next byte belongs
	flushed sql.LSN // the stores have all before this
	content []byte
	due     time.Time // for a partial copy
	said    time.Time // when the server last heard from us
}

// wake is when there is something to do although nothing is received.
func (s *segmentInHand) wake() time.Time {
	next := s.said.Add(saying)
	if s.at > s.flushed && s.due.Before(next) {
		return s.due
	}
	return next
}

// take adds what was received, and archives and reports what is due.
func (s *segmentInHand) take(ctx context.Context, m pg.Message) error {
	before := s.flushed
	if m.WAL != nil && m.At != s.at {
		return fmt.Errorf("the server sent WAL from %s where that from %s was due", m.At, s.at)
	}
	s.r.Stats.Bytes.Add(int64(len(m.WAL)))
	for wal := m.WAL; len(wal) > 0; {
		n := copy(s.content[s.at-s.start:], wal)
		wal, s.at = wal[n:], s.at+sql.LSN(n)
		if s.at == s.start+sql.LSN(len(s.content)) {
			if err := s.whole(ctx); err != nil {
				return err
			}
		}
	}
	if !time.Now().Before(s.due) {
		if err := s.partial(ctx); err != nil {
			return err
		}
		s.due = time.Now().Add(s.r.Every)
	}
	if m.Reply || s.flushed != before || time.Since(s.said) >= saying {
		return s.report(ctx)
	}
	return nil
}

// whole archives the segment, which is full, and begins the next one.
func (s *segmentInHand) whole(ctx context.Context) error {
	if _, err := s.r.repo.Put(ctx, s.r.epoch.System, s.name, bytes.NewReader(s.content)); err != nil {
		return err
	}
	s.r.Stats.Segments.Add(1)
	s.supersede(ctx, s.r.epoch.Size.End(s.name)+1)
	s.flush()
	s.name, s.start = s.r.epoch.Size.Next(s.name), s.at
	clear(s.content)
	return nil
}

// partial archives what there is of the segment, if the stores do not have that yet.
func (s *segmentInHand) partial(ctx context.Context) error {
	if s.at == s.flushed {
		return nil
	}
	if _, err := s.r.repo.PutPartial(ctx, s.r.epoch.System, s.name, s.at, bytes.NewReader(s.content)); err != nil {
		return err
	}
	s.r.Stats.Partials.Add(1)
	s.supersede(ctx, s.at)
	s.flush()
	return nil
}

func (s *segmentInHand) flush() {
	s.flushed = s.at
	s.r.Stats.Flushed.Store(uint64(s.at))
}

// supersede removes shorter copies. That they stay harms nothing.
func (s *segmentInHand) supersede(ctx context.Context, upTo sql.LSN) {
	if err := s.r.repo.Supersede(ctx, s.r.epoch.System, s.name, upTo); err != nil {
		s.r.Log.Warn("what is no longer needed stays", "error", err)
	}
}

// report tells the server what the stores have. Only that is flushed.
func (s *segmentInHand) report(ctx context.Context) error {
	s.said = time.Now()
	return s.stream.Report(ctx, s.at, s.flushed, 0, false)
}
