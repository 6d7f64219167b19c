// Package standby makes standbys and looks after them: a standby is a server on this host
// that follows a primary, by stream, from an archive, or both.
//
//	          Create            Promote
//	nothing ---------> follows ---------> primary
//	                    |   ^                |
//	              Pause |   | Resume         | the other one was promoted
//	                    v   |                v
//	                   paused            stopped --- Rewind ---> follows
//
// A standby's name is what its primary knows it by: the application_name of its connection
// and the name of its replication slot.
//
// It knows the data directory, the settings and the programs of one standby, and reaches
// its primary by a connection only. It does not know what is declared, and decides nothing:
// who is primary is decided by whoever calls Promote.
//
// Source: design/wal.md, section 1 and R37 to R43, R54, R55.
package standby

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/skytools-go/skytools/runners/wal"
	"github.com/skytools-go/skytools/runners/wal/backup"
	"github.com/skytools-go/skytools/runners/wal/restore"
	"github.com/skytools-go/skytools/sql/pg"
)

// Follow is how a standby gets its WAL.
type Follow string

// The ways. Both reads the archive until that has no more, then streams, and goes back to
// the archive when the stream breaks.
const (
	Both    Follow = "both"
	Stream  Follow = "stream"
	Archive Follow = "archive"
)

// A Standby is a server on this host and whom it follows. Its methods are not safe for
// concurrent use.
type Standby struct {
	Name        string            // letters that are right for a slot
	DSN         string            // how we reach it
	Data        string            // its data directory, an absolute path
	Tablespaces map[string]string // from the path on the primary to the one here; the others have the same path
	Primary     string            // how we reach its primary, past a pooler; may hold a password
	Conninfo    string            // how the server itself reaches its primary; empty: by Primary
	Follow      Follow
	Command     string            // restore_command; empty with Stream
	Archive     *Stored           // nil: there is no archive to restore from
	Delay       time.Duration     // recovery_min_apply_delay
	Holds       bool              // replay is meant to be paused
	Settings    map[string]string // more settings of its own, over those of the primary
	Bin         string            // the programs of its version; empty: what is installed
	Start       string            // shell command that starts it; empty: pg_ctl
	Stop        string            // the same to stop it
	Owner       string            // as root: whose the files are; empty: who owns what is above Data
	Patience    time.Duration     // how long a server may take to do what it was asked; 0: an hour
}

// Stored is an archive to restore from.
type Stored struct {
	Shelf *backup.Shelf
	WAL   restore.WAL
}

// An Error says what is in the way, and what to try.
type Error struct {
	Problem string
	Try     string
}

func (e *Error) Error() string { return e.Problem }

// Hint is what a person can try.
func (e *Error) Hint() string { return e.Try }

func (s *Standby) dir() wal.DataDir { return wal.DataDir(s.Data) }

// streams reports whether the standby has a connection to its primary, and a slot there.
func (s *Standby) streams() bool { return s.Follow != Archive }

func (s *Standby) patience() time.Duration {
	if s.Patience > 0 {
		return s.Patience
	}
	return time.Hour
}

// checked refuses a standby that cannot be.
func (s *Standby) checked() error {
	switch {
	case !filepath.IsAbs(s.Data):
		return fmt.Errorf("%q is not an absolute path", s.Data)
	case s.Follow != Both && s.Follow != Stream && s.Follow != Archive:
		return fmt.Errorf("it cannot follow by %q", s.Follow)
	case s.Follow != Stream && s.Command == "":
		return errors.New("it follows an archive, and has no restore_command")
	}
	return nil
}

// dial connects to the standby itself.
func (s *Standby) dial(ctx context.Context) (*pg.Conn, error) {
	conn, err := pg.Dial(ctx, s.DSN, pg.Options{App: "skytools standby"})
	if err != nil {
		return nil, fmt.Errorf("standby %s: %w", s.Name, err)
	}
	return conn, nil
}

// until asks every so often, until the answer is yes. what is said when it takes longer
// than the standby's patience.
func (s *Standby) until(ctx context.Context, what string, done func(context.Context) (bool, error)) error {
	limited, cancel := context.WithTimeout(ctx, s.patience())
	defer cancel()
	for {
		ok, err := done(limited)
		if ok || err != nil && limited.Err() == nil {
			return err
		}
		select {
		case <-limited.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("%s: it is not so after %s", what, s.patience())
		case <-time.After(50 * time.Millisecond):
		}
	}
}
