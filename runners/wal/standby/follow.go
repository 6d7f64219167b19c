package standby

import (
	"context"
	"time"

	"github.com/skytools-go/skytools/sql/pg"
)

// progress is how far a server follows.
type progress struct {
	Recovering bool
	Receiver   *string // state of the connection to the primary; nil: there is none
	Replayed   *string
}

const progressQuery = `
select pg_catalog.pg_is_in_recovery() as recovering,
       (select coalesce(status, 'streaming') from pg_catalog.pg_stat_wal_receiver) as receiver,
       pg_catalog.pg_last_wal_replay_lsn()::text as replayed`

// follows starts the server and waits until it follows its primary: it streams, or where
// it does not, or is delayed, it replays.
func (s *Standby) follows(ctx context.Context, o owner) error {
	if err := s.start(ctx, o); err != nil {
		return err
	}
	begun, seen := time.Now(), false
	return s.until(ctx, "follow the primary", func(ctx context.Context) (bool, error) {
		running, err := s.dir().Running()
		if err != nil {
			return false, err
		}
		if seen = seen || running; !running && (seen || time.Since(begun) > 10*time.Second) {
			return false, s.said()
		}
		p, err := s.progress(ctx)
		if err != nil { // it does not let anybody in yet
			return false, nil
		}
		if !p.Recovering {
			return false, &Error{"the server at its dsn is no standby", "does dsn lead to another server? look at port and unix_socket_directories in settings"}
		}
		if s.streams() && s.Delay == 0 {
			return p.Receiver != nil && *p.Receiver == "streaming", nil
		}
		return p.Replayed != nil, nil
	})
}

func (s *Standby) progress(ctx context.Context) (progress, error) {
	conn, err := s.dial(ctx)
	if err != nil {
		return progress{}, err
	}
	defer conn.Close()
	return pg.Struct[progress](ctx, conn, progressQuery)
}
