package pg

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Lease is a session advisory lock on a connection of its own. Its context ends
// when the lock is given back or the connection is lost, so that losing the lock
// is the same as being told to stop.
//
// The server gives the lock to somebody else as soon as it sees the connection
// end: at once when our process dies, after about ten seconds (keepalives) when
// our machine does.
//
// Source: PostgreSQL documentation, 13.3.5 Advisory Locks.
type Lease struct {
	conn   *Conn
	cancel context.CancelCauseFunc
	ctx    context.Context
	ended  chan struct{}
}

// ErrHeld says that somebody else holds the lock.
var ErrHeld = errors.New("held by another session")

// ErrLeaseLost is the cause of the end of a lease's context when its connection broke.
var ErrLeaseLost = errors.New("the connection that holds the lock was lost")

// ErrPooled says that a connection pooler stands between us and the server and
// gives our transactions to different sessions, which no session lock survives.
var ErrPooled = errors.New("a transaction pooler is in between, and session locks do not work through it")

// keepalives make the server notice within about ten seconds that we are gone.
var keepalives = map[string]string{
	"tcp_keepalives_idle": "4", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3",
}

// Acquire takes the advisory lock key in the database of dsn without waiting.
// When somebody else has it, the error is [ErrHeld]. app names us to the others.
func Acquire(ctx context.Context, dsn, app string, key int64) (*Lease, error) {
	conn, err := Dial(ctx, dsn, Options{App: app})
	if err != nil {
		return nil, err
	}
	l, err := acquire(ctx, conn, key)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return l, nil
}

func acquire(ctx context.Context, conn *Conn, key int64) (*Lease, error) {
	if conn.mode != nil {
		if err := conn.ours(ctx); err != nil {
			return nil, err
		}
	}
	for name, value := range keepalives { // by SET: poolers refuse unknown start-up parameters
		if _, err := conn.Exec(ctx, "select set_config($1, $2, false)", name, value); err != nil {
			return nil, fmt.Errorf("set %s: %w", name, err)
		}
	}
	got, err := One[bool](ctx, conn, "select pg_try_advisory_lock($1)", key)
	if err != nil {
		return nil, err
	}
	if !got {
		return nil, ErrHeld
	}
	if err := conn.direct(ctx, key); err != nil {
		return nil, err
	}
	l := &Lease{conn: conn, ended: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	go l.watch()
	return l, nil
}

// direct proves that the session is ours alone: after several transactions the
// same server process must answer, and it must hold the lock.
func (c *Conn) direct(ctx context.Context, key int64) error {
	const mine = `select count(*) from pg_locks
	 where locktype = 'advisory' and pid = pg_backend_pid() and granted
	   and ((classid::int8 << 32) | objid::int8) = $1 and objsubid = 1`
	var first int32
	for try := range 3 {
		pid, err := One[int32](ctx, c, "select pg_backend_pid()")
		if err != nil {
			return err
		}
		held, err := One[int64](ctx, c, mine, key)
		if err != nil {
			return err
		}
		if try == 0 {
			first = pid
		}
		if pid != first || held == 0 {
			return ErrPooled
		}
	}
	return nil
}

// ours looks closer at a session behind a pooler, before it takes a lock that
// would stay in a process of the pooler's. While nobody else is busy, a pooler of
// transactions may give us the same process every time, but it gives that to a
// second session, too; a pooler of sessions does not.
func (c *Conn) ours(ctx context.Context) error {
	pid, err := One[int32](ctx, c, "select pg_backend_pid()")
	if err != nil {
		return err
	}
	other, err := dial(ctx, c.raw.Config())
	if err != nil {
		return err
	}
	defer other.Close()
	theirs, err := One[int32](ctx, other, "select pg_backend_pid()")
	if err == nil && theirs == pid {
		return ErrPooled
	}
	return err
}

// watch ends the context when the connection breaks. A waiting read notices that
// at once; the ping is for a network that swallows packets.
func (l *Lease) watch() {
	defer close(l.ended)
	for l.ctx.Err() == nil {
		turn, stop := context.WithTimeout(l.ctx, 5*time.Second)
		err := l.conn.Wait(turn)
		stop()
		if l.ctx.Err() != nil {
			return
		}
		if err != nil && turn.Err() == nil {
			l.cancel(ErrLeaseLost)
			return
		}
		// A question that is given up cuts the connection, and the lock stays until the
		// server sees that: so Release waits for the answer.
		ping, stop := context.WithTimeout(context.WithoutCancel(l.ctx), 5*time.Second)
		_, err = One[int32](ping, l.conn, "select 1")
		stop()
		if err != nil && l.ctx.Err() == nil {
			l.cancel(ErrLeaseLost)
			return
		}
	}
}

// Context ends with the lease.
func (l *Lease) Context() context.Context { return l.ctx }

// Release gives the lock back and closes its connection.
func (l *Lease) Release() {
	l.cancel(context.Canceled)
	<-l.ended
	l.conn.Close()
}
