package standby

import (
	"context"
	"fmt"
	"time"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
)

// A BehindError says that a promotion would lose what the primary has written.
type BehindError struct {
	Name          string
	Primary, Here sql.LSN // written there, received here
	Bytes         int64
}

func (e *BehindError) Error() string {
	return fmt.Sprintf("%s is %d bytes behind its primary, which can be reached: it has WAL up to %s and the primary wrote up to %s", e.Name, e.Bytes, e.Here, e.Primary)
}

// Hint is what a person can try.
func (e *BehindError) Hint() string {
	return "stop the primary, which sends the rest as it stops, or lose these bytes with --behind"
}

// Promoting says how to promote.
type Promoting struct {
	Behind bool // also when the primary can be reached and has more
}

// A Promoted says what became of a standby.
type Promoted struct {
	From, To     uint32  // timelines
	At           sql.LSN // where the new one began to write, or later
	PrimaryLives bool    // the old primary could be reached, and is still a primary
}

// catchUp is how long a standby may take to receive what its primary had written when we
// asked.
const catchUp = 5 * time.Second

// Promote makes the standby a primary, on a timeline of its own. It replays all that it has
// received first, also when it was paused or delayed. Errors: [NoStandbyError],
// [BehindError].
func (s *Standby) Promote(ctx context.Context, p Promoting) (Promoted, error) {
	conn, err := s.recovering(ctx)
	if err != nil {
		return Promoted{}, err
	}
	defer conn.Close()
	before, err := pg.Struct[facts](ctx, conn, factsQuery)
	if err != nil {
		return Promoted{}, err
	}
	done := Promoted{From: uint32(before.Timeline)}
	if done.PrimaryLives, err = s.caughtUp(ctx, conn, before, p.Behind); err != nil {
		return Promoted{}, err
	}
	// It waits for nothing here: the server may take longer than any statement should.
	if _, err := conn.Exec(ctx, "select pg_catalog.pg_promote(false)"); err != nil {
		return Promoted{}, fmt.Errorf("promote %s: %w", s.Name, err)
	}
	err = s.until(ctx, "promote "+s.Name, func(ctx context.Context) (bool, error) {
		recovering, err := pg.One[bool](ctx, conn, "select pg_catalog.pg_is_in_recovery()")
		return !recovering, err
	})
	if err != nil {
		return Promoted{}, err
	}
	after, err := pg.Struct[facts](ctx, conn, factsQuery)
	if err != nil {
		return Promoted{}, err
	}
	done.To = uint32(after.Timeline)
	done.At, err = sql.ParseLSN(after.At)
	return done, err
}

// caughtUp requires that the standby has received all that a primary which can be reached
// has written by now. lives: there is such a primary.
func (s *Standby) caughtUp(ctx context.Context, conn *pg.Conn, here facts, anyway bool) (lives bool, err error) {
	brief, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	u, err := s.primary(brief)
	if err != nil {
		return false, ctx.Err() // it is down, which is why somebody promotes
	}
	defer u.Close()
	if u.Standby || u.System != here.System {
		return false, nil
	}
	for {
		received, err := received(ctx, conn)
		if err != nil || received >= u.at() || anyway {
			return true, err
		}
		select {
		case <-brief.Done():
			return true, &BehindError{Name: s.Name, Primary: u.at(), Here: received, Bytes: int64(u.at() - received)}
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// received is up to where a standby has WAL.
func received(ctx context.Context, conn *pg.Conn) (sql.LSN, error) {
	text, err := pg.One[string](ctx, conn, "select coalesce(greatest(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn()), '0/0')::text")
	if err != nil {
		return 0, err
	}
	return sql.ParseLSN(text)
}
