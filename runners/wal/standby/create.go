package standby

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/skytools-go/skytools/runners/wal/backup"
	"github.com/skytools-go/skytools/runners/wal/restore"
	"github.com/skytools-go/skytools/sql/standby"
)

// Creating says how to make a standby.
type Creating struct {
	Copy    bool      // take the data from the primary itself; otherwise from a backup of the archive
	Backup  backup.ID // the backup; empty: the newest
	Start   bool      // start the server, and wait until it follows
	Workers int       // packs of a backup to read at a time; 0: four
	Rate    int       // kB per second that the primary sends at most, 32 to 1048576; 0: as fast as it goes

	// Progress is called, from several goroutines, as bytes are in place.
	Progress func(done, total int64)
	// Stage is called when a stage begins: slot, restore or copy, start.
	Stage func(name string)
}

// A Created says what was made.
type Created struct {
	Backup  backup.ID // empty: it was copied from the primary
	Written int64     // bytes
	Follows bool      // it was started and follows
}

// Create makes the standby in its data directory, which must be empty or not there. What
// a Create has left that was interrupted is used or replaced.
//
// The slot comes first, so that the primary keeps all WAL that the archive does not have
// yet. When Create fails, a slot that it has made is dropped again.
func (s *Standby) Create(ctx context.Context, c Creating) (Created, error) {
	made, err := s.create(ctx, c)
	if err != nil {
		return Created{}, fmt.Errorf("create standby %s: %w", s.Name, err)
	}
	return made, nil
}

func (s *Standby) create(ctx context.Context, c Creating) (done Created, err error) {
	if err := s.checked(); err != nil {
		return Created{}, err
	}
	if !c.Copy && s.Archive == nil {
		return Created{}, &Error{"there is no archive to restore from", "declare archive: for it, or take the data from the primary with --copy"}
	}
	if !c.Copy && s.Follow == Stream {
		return Created{}, &Error{"a backup needs WAL from the archive, and this standby only streams", "take the data from the primary with --copy, or let it follow both"}
	}
	o, err := s.owned()
	if err != nil {
		return Created{}, err
	}
	if err := s.free(); err != nil {
		return Created{}, err
	}
	u, err := s.primary(ctx)
	if err != nil {
		return Created{}, err
	}
	defer u.Close()
	from, err := s.origin(ctx, u, c)
	if err != nil {
		return Created{}, err
	}
	settings, err := s.settings(u, from.limits())
	if err != nil {
		return Created{}, err
	}
	if s.streams() {
		c.stage("slot")
		var made bool
		if made, err = u.reserve(ctx, s.Name); err != nil {
			return Created{}, err
		}
		defer func() {
			if made && err != nil {
				s.giveBack()
			}
		}()
	}
	if err := o.mkdir(filepath.Dir(s.Data)); err != nil {
		return Created{}, err
	}
	if err := s.keepPassword(o); err != nil {
		return Created{}, err
	}
	if done, err = s.fill(ctx, u, o, c, from, settings); err != nil || !c.Start {
		return done, err
	}
	c.stage("start")
	err = s.follows(ctx, o)
	done.Follows = err == nil
	return done, err
}

func (c Creating) stage(name string) {
	if c.Stage != nil {
		c.Stage(name)
	}
}

// giveBack drops a slot that nobody is going to read from. A server whose data is there
// needs it, also when it did not start.
func (s *Standby) giveBack() {
	if _, err := s.dir().System(); err == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if u, err := s.primary(ctx); err == nil {
		u.run(ctx, standby.DropSlot(s.Name))
		u.Close()
	}
}

// free requires a data directory that can be written to. [restore.Restore] and the copy
// know their own marks in one that is not empty.
func (s *Standby) free() error {
	if running, err := s.dir().Running(); err != nil || running {
		return errors.Join(err, &Error{s.Data + " is in use: a server runs there", "choose another directory"})
	}
	entries, err := os.ReadDir(s.Data)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0:
		return nil
	case err != nil:
		return err
	}
	if _, err := s.dir().System(); errors.Is(err, fs.ErrNotExist) { // an interrupted one has no pg_control
		return nil
	}
	return &Error{s.Data + " holds a server already", "choose another directory or move it away; skytools standby rewind makes an old primary follow the new one"}
}

// origin is where the data comes from: a backup, or nil for the primary.
type origin struct{ preview *restore.Preview }

func (f origin) limits() map[string]string {
	if f.preview == nil {
		return nil
	}
	return f.preview.Backup.Settings
}

// origin chooses a backup of the primary's system, whose WAL is in the archive.
func (s *Standby) origin(ctx context.Context, u *upstream, c Creating) (origin, error) {
	if c.Copy {
		return origin{}, nil
	}
	p, err := restore.Look(ctx, s.Archive.Shelf, s.Archive.WAL, restore.Target{}, c.Backup)
	if err != nil {
		return origin{}, err
	}
	switch {
	case p.Backup.System != u.System:
		return origin{}, &Error{fmt.Sprintf("the archive is of system %s, and the primary is %s", p.Backup.System, u.System), "name the archive of this primary"}
	case p.Backup.Major() != int(u.Major):
		return origin{}, &Error{fmt.Sprintf("backup %s is of PostgreSQL %d, and the primary is %d", p.Backup.ID, p.Backup.Major(), u.Major), "take a backup first"}
	case len(p.Missing) > 0:
		return origin{}, &Error{fmt.Sprintf("the archive lacks WAL that backup %s needs: %s", p.Backup.ID, p.Missing[0]), "take a backup first, or take the data from the primary with --copy"}
	}
	return origin{&p}, nil
}

// fill makes the data directory.
func (s *Standby) fill(ctx context.Context, u *upstream, o owner, c Creating, from origin, settings map[string]string) (Created, error) {
	if from.preview == nil {
		c.stage("copy")
		written, err := s.copy(ctx, u, o, c, settings)
		return Created{Written: written}, err
	}
	c.stage("restore")
	result, err := s.restore(ctx, from.preview, settings, restore.Options{Workers: c.Workers, Progress: c.Progress})
	return Created{Backup: from.preview.Backup.ID, Written: result.Written}, err
}

// restore puts a backup into the data directory.
func (s *Standby) restore(ctx context.Context, p *restore.Preview, settings map[string]string, how restore.Options) (restore.Result, error) {
	how.To, how.Tablespaces, how.As, how.Owner, how.Settings = s.Data, s.Tablespaces, restore.Standby, s.Owner, settings
	how.Command, how.Conninfo, how.Slot = s.Command, settings["primary_conninfo"], settings["primary_slot_name"]
	return restore.Restore(ctx, s.Archive.Shelf, p.Backup, p.Choice, how)
}
