package standby

import (
	"context"
	"fmt"
	"os"

	"github.com/skytools-go/skytools/sql/standby"
)

// Dropping says what goes with a standby.
type Dropping struct {
	Stop       bool // the server, if it runs
	RemoveData bool // the data directory, and what is its in tablespaces
	Lost       bool // the primary is gone for good, and its slot with it
}

// A Dropped says what went.
type Dropped struct {
	Stopped, Slot, Data bool
}

// Drop ends a standby: its slot on the primary goes, so that no WAL is kept for nobody.
// Without RemoveData its data stays where it is. It may be called again after it was
// interrupted.
func (s *Standby) Drop(ctx context.Context, d Dropping) (Dropped, error) {
	done, err := s.drop(ctx, d)
	if err != nil {
		return done, fmt.Errorf("drop standby %s: %w", s.Name, err)
	}
	return done, nil
}

func (s *Standby) drop(ctx context.Context, d Dropping) (done Dropped, err error) {
	o, err := s.owned()
	if err != nil {
		return done, err
	}
	if err := s.expendable(d.RemoveData); err != nil {
		return done, err
	}
	var u *upstream
	if !d.Lost {
		if u, err = s.primary(ctx); err != nil {
			return done, &Error{err.Error(), "if the primary is gone for good, say so with --lost-primary"}
		}
		defer u.Close()
		if err := s.unneeded(u); err != nil {
			return done, err
		}
	}
	running, err := s.dir().Running()
	if err != nil {
		return done, err
	}
	if err := s.stopped(ctx, o, d.Stop); err != nil {
		return done, err
	}
	done.Stopped = running
	if u != nil {
		if done.Slot, err = s.dropSlot(ctx, u); err != nil {
			return done, err
		}
	}
	if !d.RemoveData {
		return done, nil
	}
	if err := s.empty(""); err != nil {
		return done, err
	}
	done.Data = true
	if err := os.Remove(s.Data); err != nil && !os.IsNotExist(err) {
		return done, err
	}
	return done, s.forgetPassword()
}

// expendable requires that what is in the data directory is a standby's, if there is
// anything.
func (s *Standby) expendable(remove bool) error {
	if _, err := s.dir().System(); err != nil {
		if remove && !os.IsNotExist(err) {
			return err
		}
		return nil
	}
	if !s.dir().Standby() {
		return &Error{s.Data + " is no standby's: it has no standby.signal", "was it promoted? then it is not ours to drop"}
	}
	return nil
}

// unneeded requires that it is a standby of this primary, and that no commit there waits
// for it.
func (s *Standby) unneeded(u *upstream) error {
	if synchronous(u.Names, s.Name) {
		return &Error{"commits on the primary wait for it: synchronous_standby_names = " + u.Names, "declare sync: no and apply that first"}
	}
	if _, err := s.dir().System(); err == nil {
		return s.kin(u.System)
	}
	return nil
}

// dropSlot drops the slot, once the primary has seen that the server has ended.
func (s *Standby) dropSlot(ctx context.Context, u *upstream) (was bool, err error) {
	err = s.until(ctx, "drop the slot "+s.Name, func(ctx context.Context) (bool, error) {
		f, found, err := u.slot(ctx, s.Name)
		if err != nil || !found {
			return err == nil, err
		}
		was = true
		if f.Active {
			return false, nil
		}
		return true, u.run(ctx, standby.DropSlot(s.Name))
	})
	return was, err
}
