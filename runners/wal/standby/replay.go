package standby

import (
	"context"
	"fmt"
	"time"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/archive"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/standby"
)

// A NoStandbyError says that a server is none.
type NoStandbyError struct{ Name string }

func (e *NoStandbyError) Error() string { return e.Name + " is no standby: it is not in recovery" }

// Hint is what a person can try.
func (e *NoStandbyError) Hint() string {
	return "it was promoted, or its dsn leads to another server; skytools standby status says which"
}

// recovering is a session on the standby, which must be one.
func (s *Standby) recovering(ctx context.Context) (*pg.Conn, error) {
	conn, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	is, err := pg.One[bool](ctx, conn, "select pg_catalog.pg_is_in_recovery()")
	if err == nil && !is {
		err = &NoStandbyError{s.Name}
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// Pause stops replay, and returns when it has stopped. WAL goes on arriving. After a
// restart of the server it replays again.
func (s *Standby) Pause(ctx context.Context) error {
	return s.replay(ctx, standby.Pause(), "paused")
}

// Resume lets replay go on.
func (s *Standby) Resume(ctx context.Context) error {
	return s.replay(ctx, standby.Resume(), "not paused")
}

// replay asks for a state of replay and waits for it.
// Source: PostgreSQL documentation, 9.27.4, pg_get_wal_replay_pause_state.
func (s *Standby) replay(ctx context.Context, ask sql.Stmt, state string) error {
	conn, err := s.recovering(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Exec(ctx, ask.Text, ask.Args...); err != nil {
		return err
	}
	return s.until(ctx, "replay of "+s.Name+" is "+state, func(ctx context.Context) (bool, error) {
		now, err := pg.One[string](ctx, conn, "select pg_catalog.pg_get_wal_replay_pause_state()")
		return now == state, err
	})
}

// SetDelay changes how long the standby waits before it replays a commit. It returns when
// the server has taken it over, which needs no restart.
func (s *Standby) SetDelay(ctx context.Context, delay time.Duration) error {
	conn, err := s.recovering(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, stmt := range []sql.Stmt{sql.AlterSystem("recovery_min_apply_delay", milliseconds(delay)), archive.Reload()} {
		if _, err := conn.Exec(ctx, stmt.Text); err != nil {
			return fmt.Errorf("change the delay of %s: %w", s.Name, err)
		}
	}
	return s.until(ctx, "change the delay of "+s.Name, func(ctx context.Context) (bool, error) {
		now, err := pg.One[int64](ctx, conn, "select setting::int8 from pg_catalog.pg_settings where name = 'recovery_min_apply_delay'")
		return now == delay.Milliseconds(), err
	})
}
