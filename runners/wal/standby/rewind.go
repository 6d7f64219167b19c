package standby

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/skytools-go/skytools/runners/wal/restore"
	"github.com/skytools-go/skytools/sql/pg"
)

// Rewinding says how to make an old primary follow the new one.
type Rewinding struct {
	Stop    bool // the server, if it runs
	Start   bool // it, and wait until it follows
	Workers int  // packs of a backup to read at a time, where one is needed; 0: four

	// Progress is called, from several goroutines, as bytes are in place.
	Progress func(done, total int64)
	// Stage is called when a stage begins: stop, slot, rewind, restore, start.
	Stage func(name string)
}

// A Rewound says how it was done.
type Rewound struct {
	By      string // rewind: pg_rewind; restore: a backup, over what was there
	Because string // why pg_rewind did not do, where it did not
	Follows bool   // it was started and follows
}

// Rewind makes a server follow the primary whose data has gone another way, as an old
// primary's has after a failover. What only it had is lost. pg_rewind does it where it can;
// otherwise the newest backup is restored over what is there.
//
// It may be called again after it was interrupted.
func (s *Standby) Rewind(ctx context.Context, r Rewinding) (Rewound, error) {
	done, err := s.rewind(ctx, r)
	if err != nil {
		return Rewound{}, fmt.Errorf("rewind %s: %w", s.Name, err)
	}
	return done, nil
}

func (s *Standby) rewind(ctx context.Context, r Rewinding) (done Rewound, err error) {
	if err := s.checked(); err != nil {
		return done, err
	}
	u, err := s.primary(ctx)
	if err != nil {
		return done, err
	}
	defer u.Close()
	if u.Standby {
		return done, &Error{"its primary is a standby itself", "promote that first, or correct of:"}
	}
	if err := s.kin(u.System); err != nil {
		return done, err
	}
	o, err := s.owned()
	if err != nil {
		return done, err
	}
	settings, err := s.settings(u, nil)
	if err != nil {
		return done, err
	}
	r.stage("stop")
	if err := s.stopped(ctx, o, r.Stop); err != nil {
		return done, err
	}
	if s.streams() {
		r.stage("slot")
		if _, err := u.reserve(ctx, s.Name); err != nil {
			return done, err
		}
	}
	if err := s.keepPassword(o); err != nil {
		return done, err
	}
	if err := s.checkpointed(ctx, u); err != nil {
		return done, err
	}
	if done, err = s.back(ctx, o, r, settings); err != nil || !r.Start {
		return done, err
	}
	r.stage("start")
	err = s.follows(ctx, o)
	done.Follows = err == nil
	return done, err
}

func (r Rewinding) stage(name string) {
	if r.Stage != nil {
		r.Stage(name)
	}
}

// checkpointed waits until the primary's control file tells of the timeline that it is on. A
// server that was promoted just now writes that with its first checkpoint, and pg_rewind
// finds nothing to rewind before.
// Source: PostgreSQL documentation, pg_rewind, Warnings.
func (s *Standby) checkpointed(ctx context.Context, u *upstream) error {
	if _, err := u.Exec(ctx, "checkpoint"); err != nil && pg.Code(err) != "42501" { // it comes by itself, later
		return fmt.Errorf("checkpoint on the primary: %w", err)
	}
	return s.until(ctx, "the primary completes a checkpoint on its timeline", func(ctx context.Context) (bool, error) {
		return pg.One[bool](ctx, u, `
select timeline_id = ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::bit(32)::int4
  from pg_catalog.pg_control_checkpoint()`)
	})
}

// kin requires that the data directory is of the primary's system. One in which a restore
// was interrupted says nothing, and the restore looks again.
func (s *Standby) kin(system string) error {
	here, err := s.dir().System()
	switch {
	case errors.Is(err, os.ErrNotExist) && s.Archive != nil:
		return nil
	case err != nil:
		return fmt.Errorf("%s is no data directory: %w", s.Data, err)
	case strconv.FormatUint(here, 10) != system:
		return &Error{fmt.Sprintf("%s is of system %d, and the primary is %s: it never was a part of this cluster", s.Data, here, system), "create the standby in another directory"}
	}
	return nil
}

// back brings the data to where the primary's comes from.
func (s *Standby) back(ctx context.Context, o owner, r Rewinding, settings map[string]string) (Rewound, error) {
	r.stage("rewind")
	why := s.pgRewind(ctx, o, settings, r.Progress)
	if why == nil {
		return Rewound{By: "rewind"}, errors.Join(s.forgetSlots(), o.configure(s.Data, settings))
	}
	if ctx.Err() != nil {
		return Rewound{}, ctx.Err()
	}
	if s.Archive == nil {
		return Rewound{}, &Error{why.Error(), "without an archive there is no other way than to drop it and create it anew"}
	}
	r.stage("restore")
	p, err := restore.Look(ctx, s.Archive.Shelf, s.Archive.WAL, restore.Target{}, "")
	if err != nil {
		return Rewound{}, errors.Join(why, err)
	}
	if len(p.Missing) > 0 {
		return Rewound{}, &Error{fmt.Sprintf("%v; and the archive lacks WAL that backup %s needs: %s", why, p.Backup.ID, p.Missing[0]), "take a backup of the new primary first"}
	}
	_, err = s.restore(ctx, &p, settings, restore.Options{Delta: true, Workers: r.Workers, Progress: r.Progress})
	return Rewound{By: "restore", Because: why.Error()}, err
}

// forgetSlots takes away the slots that the server had as a primary, which would keep WAL
// for nobody. pg_rewind does it only where there is something to rewind.
func (s *Standby) forgetSlots() error {
	slots, err := filepath.Glob(filepath.Join(s.Data, "pg_replslot", "*"))
	for _, dir := range slots {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// pgRewind runs PostgreSQL's own program. WAL that the server has removed already it gets
// from the archive. Source: PostgreSQL documentation, pg_rewind.
func (s *Standby) pgRewind(ctx context.Context, o owner, settings map[string]string, progress func(done, total int64)) error {
	program, err := s.program("pg_rewind")
	if err != nil {
		return err
	}
	more := map[string]string{}
	if _, err := os.Stat(s.passfile()); err == nil {
		more["passfile"] = s.passfile()
	}
	source, _, err := pg.Conceal(s.Primary, more)
	if err != nil {
		return err
	}
	argv := []string{program, "--target-pgdata=" + s.Data, "--source-server=" + source, "--progress"}
	if _, err := os.Stat(filepath.Join(s.Data, "postgresql.conf")); err == nil && s.Command != "" {
		if err := o.set(s.Data, map[string]string{"restore_command": settings["restore_command"]}); err != nil {
			return err
		}
		argv = append(argv, "--restore-target-wal")
	}
	_, err = runSeen(ctx, o.credential(), argv, &copied{tell: progress})
	return err
}

// copied reads from what pg_rewind says how far it is: "  1024/4096 kB (25%) copied", about
// once a second.
type copied struct {
	tell func(done, total int64) // may be nil
	line []byte                  // that has no end yet
}

var copiedLine = regexp.MustCompile(`^ *([0-9]+)/([0-9]+) kB `)

func (c *copied) Write(p []byte) (int, error) {
	for _, b := range p {
		if b != '\n' && b != '\r' {
			if len(c.line) < 256 {
				c.line = append(c.line, b)
			}
			continue
		}
		if m := copiedLine.FindSubmatch(c.line); m != nil && c.tell != nil {
			done, _ := strconv.ParseInt(string(m[1]), 10, 64)
			total, _ := strconv.ParseInt(string(m[2]), 10, 64)
			c.tell(done<<10, total<<10)
		}
		c.line = c.line[:0]
	}
	return len(p), nil
}
