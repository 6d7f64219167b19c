package pg

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/skytools-go/skytools/sql"
)

// A Stream is WAL on its way from the server:
//
//	Stream -> Receive ... -> ErrTimelineEnd -> End -> the connection is free again
//
// Receive and Report may be called from the same goroutine only.
type Stream struct {
	r       *Replication
	copying bool // the server streams; otherwise the timeline ended where we wanted to begin
}

// order is that of all numbers in the protocol.
var order = binary.BigEndian

// A Message is what the server sent: WAL, or only a sign of life.
type Message struct {
	At    sql.LSN // of the first byte of WAL; of a sign of life: the end of the server's WAL
	WAL   []byte  // valid until the next call; nil: a sign of life
	End   sql.LSN // how far the server's WAL goes
	Sent  time.Time
	Reply bool // the server wants a Report at once
}

// ErrTimelineEnd says that the server has no more of this timeline, because it was
// promoted or follows another: call [Stream.End].
var ErrTimelineEnd = errors.New("the timeline has ended on the server")

// Stream begins to receive WAL of a timeline at a position, which is rounded to no
// boundary. slot may be empty. The server may find out only after it has begun that the WAL is
// gone: code 58P01, of Stream or of the first Receive.
func (r *Replication) Stream(ctx context.Context, slot string, at sql.LSN, timeline uint32) (*Stream, error) {
	if !r.identified {
		if _, err := r.Identify(ctx); err != nil {
			return nil, err
		}
	}
	command := "START_REPLICATION"
	if slot != "" {
		command += " SLOT " + sql.Ident(slot)
	}
	command += fmt.Sprintf(" PHYSICAL %s TIMELINE %d", at, timeline)
	r.warnings = nil
	s := &Stream{r: r}
	err := guarded(ctx, r.conn, command, func() error {
		stop := context.AfterFunc(ctx, r.conn.Cut)
		defer stop()
		frontend := r.conn.raw.PgConn().Frontend()
		frontend.SendQuery(&pgproto3.Query{String: command})
		if err := frontend.Flush(); err != nil {
			return err
		}
		return s.begin()
	})
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("stream WAL from %s on timeline %d: %w", at, timeline, err)
	}
	return s, nil
}

// begin waits for the streaming to begin. When at is where the timeline ends, the
// server answers with what comes after it instead, which Receive and End hand on.
func (s *Stream) begin() error {
	for {
		msg, err := s.r.receive()
		if err != nil {
			return s.refused(err)
		}
		switch msg.(type) {
		case *pgproto3.CopyBothResponse:
			s.copying = true
			return nil
		case *pgproto3.ReadyForQuery:
			return errors.New("the server ended the command early")
		case *pgproto3.RowDescription:
			return nil
		}
	}
}

// refused reads on after an error, so that the connection can be used again.
func (s *Stream) refused(err error) error {
	if Code(err) != "" && !s.r.conn.Closed() {
		s.r.drain()
	}
	return err
}

// Receive waits for the next message. When ctx ends first, the error is that of
// ctx, nothing is lost and Receive may be called again. After an error of the server
// the connection is of no more use.
func (s *Stream) Receive(ctx context.Context) (Message, error) {
	for s.copying {
		msg, err := s.r.conn.raw.PgConn().ReceiveMessage(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return Message{}, ctx.Err()
			}
			return Message{}, fmt.Errorf("receive WAL: %w", err)
		}
		switch msg := msg.(type) {
		case *pgproto3.ErrorResponse:
			return Message{}, fmt.Errorf("receive WAL: %w", pgconn.ErrorResponseToPgError(msg))
		case *pgproto3.CopyDone:
			return Message{}, ErrTimelineEnd
		case *pgproto3.CopyData:
			m, err := message(msg.Data)
			if err != nil {
				return Message{}, fmt.Errorf("receive WAL: %w", err)
			}
			return m, nil
		}
	}
	return Message{}, ErrTimelineEnd
}

// message reads XLogData (w) and keepalives (k).
func message(data []byte) (Message, error) {
	switch {
	case len(data) >= 25 && data[0] == 'w':
		return Message{
			At: sql.LSN(order.Uint64(data[1:])), End: sql.LSN(order.Uint64(data[9:])),
			Sent: moment(int64(order.Uint64(data[17:]))), WAL: data[25:],
		}, nil
	case len(data) >= 18 && data[0] == 'k':
		end := sql.LSN(order.Uint64(data[1:]))
		return Message{At: end, End: end, Sent: moment(int64(order.Uint64(data[9:]))), Reply: data[17] == 1}, nil
	}
	return Message{}, fmt.Errorf("a message of %d bytes and unknown kind", len(data))
}

// epoch is where PostgreSQL's clock starts.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func moment(microseconds int64) time.Time {
	return epoch.Add(time.Duration(microseconds) * time.Microsecond)
}

// Report tells the server how far WAL was written and flushed here, and applied: 0
// when nothing is applied. What is flushed, a slot gives up and a synchronous commit
// waits for. With reply the server answers at once.
func (s *Stream) Report(ctx context.Context, written, flushed, applied sql.LSN, reply bool) error {
	msg := make([]byte, 34)
	msg[0] = 'r'
	order.PutUint64(msg[1:], uint64(written))
	order.PutUint64(msg[9:], uint64(flushed))
	order.PutUint64(msg[17:], uint64(applied))
	order.PutUint64(msg[25:], uint64(time.Since(epoch).Microseconds()))
	if reply {
		msg[33] = 1
	}
	err := guarded(ctx, s.r.conn, "standby status update", func() error {
		frontend := s.r.conn.raw.PgConn().Frontend()
		frontend.Send(&pgproto3.CopyData{Data: msg})
		return frontend.Flush()
	})
	if err != nil {
		return fmt.Errorf("report received WAL: %w", err)
	}
	return nil
}

// A Switch is where the timeline that ended goes on.
type Switch struct {
	Timeline uint32  // the next one
	At       sql.LSN // where it leaves this one
}

// End ends the streaming: after [ErrTimelineEnd] it says where to go on, and
// the connection is free for that. Called earlier it ends the streaming from our
// side, and the switch is zero.
func (s *Stream) End(ctx context.Context) (Switch, error) {
	stop := context.AfterFunc(ctx, s.r.conn.Cut)
	defer stop()
	if s.copying {
		frontend := s.r.conn.raw.PgConn().Frontend()
		frontend.Send(&pgproto3.CopyDone{})
		if err := frontend.Flush(); err != nil {
			return Switch{}, fmt.Errorf("end the stream of WAL: %w", err)
		}
		s.copying = false
	}
	next, err := s.next()
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return Switch{}, fmt.Errorf("end the stream of WAL: %w", err)
	}
	return next, nil
}

func (s *Stream) next() (next Switch, err error) {
	for {
		msg, err := s.r.receive()
		if err != nil {
			return Switch{}, s.refused(err)
		}
		switch msg := msg.(type) {
		case *pgproto3.DataRow:
			if next, err = switchPoint(texts(msg.Values)); err != nil {
				return Switch{}, err
			}
		case *pgproto3.ReadyForQuery:
			return next, nil
		}
	}
}

func switchPoint(row []string) (Switch, error) {
	if len(row) < 2 {
		return Switch{}, fmt.Errorf("a switch of %d columns", len(row))
	}
	timeline, err := parseTimeline(row[0])
	if err != nil {
		return Switch{}, err
	}
	at, err := sql.ParseLSN(row[1])
	return Switch{timeline, at}, err
}
