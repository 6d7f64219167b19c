// Package receive streams WAL from a server into an archive's repository, without a
// file in between.
//
// One segment at a time is in memory. The server keeps what a replication slot asks for
// until it is told that it is flushed, and it is told that only of what every required
// store has; so whoever dies, nothing is lost and the next one begins where the stores
// end:
//
//	                   every so often: a partial copy
//	                        ┌───┐
//	slot ─▶ begin ─▶ segment ──▶ full: the whole one ─▶ next segment
//	                        │
//	                        └─▶ timeline ends: a partial copy ─▶ history of the next ─▶ its segment
//
// The WAL that archive_command brings is the same, byte by byte; if it is not, the
// repository says so. A receiver applies nothing: a commit that waits for remote_apply
// would wait for it for ever.
//
// Source: design/wal.md, R19 to R24; PostgreSQL documentation, 55.4 Streaming
// Replication Protocol.
package receive

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/skytools-go/skytools/runners"
	"github.com/skytools-go/skytools/runners/wal/repo"
	"github.com/skytools-go/skytools/runners/wal/segment"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
)

// Config describes a receiver.
type Config struct {
	DSN   func(context.Context) (string, error)     // of a role with REPLICATION
	Open  func(context.Context) (*repo.Repo, error) // the repository, opened when it is needed
	Slot  string                                    // made when it is not there
	Every time.Duration                             // how old WAL may become before it is in the stores; 0: 10 s
	Log   hclog.Logger                              // may be nil
	Stats *Stats                                    // may be nil
}

// Stats count what a receiver has done. They may be read at any time.
type Stats struct {
	Segments atomic.Int64 // whole ones
	Partials atomic.Int64
	Lost     atomic.Int64  // times that the server no longer had what came next
	Bytes    atomic.Int64  // of WAL
	Flushed  atomic.Uint64 // the position up to which the stores have it
}

// A Receiver receives from one server. It is used by one goroutine.
type Receiver struct {
	Config
	repo  *repo.Repo
	epoch repo.Epoch
	conn  *pg.Replication
}

// New returns a receiver.
func New(c Config) *Receiver {
	c.Every = cmp.Or(c.Every, 10*time.Second)
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	if c.Stats == nil {
		c.Stats = &Stats{}
	}
	return &Receiver{Config: c}
}

// A LostError says that the server has removed WAL that the archive does not have.
type LostError struct {
	At  sql.LSN
	Err error
}

func (e *LostError) Error() string {
	if e.At == 0 {
		return fmt.Sprintf("the server no longer has the WAL that comes next: %v", e.Err)
	}
	return fmt.Sprintf("the server no longer has WAL from %s on: %v", e.At, e.Err)
}
func (e *LostError) Unwrap() error { return e.Err }

// Hint is what a person can try.
func (e *LostError) Hint() string {
	return "archive_command may have brought it, skytools wal gaps says; if not, take a backup: recovery cannot pass a gap. A higher max_slot_wal_keep_size keeps more for a receiver that was away"
}

// Run receives until ctx ends, or something fails. WAL that the server no longer has is
// said once, as an error in the log, written down in the archive, and passed by: to wait
// for it would lose what comes, too. Source: design/wal.md, R22.
func (r *Receiver) Run(ctx context.Context) error {
	err := r.run(ctx)
	if lost := (*LostError)(nil); errors.As(err, &lost) {
		r.Stats.Lost.Add(1)
		r.Log.Error("WAL is lost to this receiver, which begins anew with a new slot", "slot", r.Slot, "error", err, "try", lost.Hint())
		if err = r.renew(ctx); err == nil {
			err = r.run(ctx)
		}
	}
	if ctx.Err() != nil && (err == nil || errors.Is(err, ctx.Err())) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("receive WAL: %w", err)
	}
	return nil
}

func (r *Receiver) run(ctx context.Context) (err error) {
	if r.repo, err = r.Open(ctx); err != nil {
		return err
	}
	dsn, err := r.DSN(ctx)
	if err != nil {
		return err
	}
	if r.conn, err = pg.Replicate(ctx, dsn, pg.Options{App: "skytools receive"}); err != nil {
		return err
	}
	defer r.conn.Close()
	server, err := r.conn.Identify(ctx)
	if err != nil {
		return err
	}
	system, err := strconv.ParseUint(server.ID, 10, 64)
	if err != nil {
		return err
	}
	if r.epoch, err = r.repo.Epoch(ctx, system); err != nil {
		return err
	}
	at, err := r.reserve(ctx, dsn)
	if err != nil {
		return err
	}
	lineage, err := r.lineage(ctx, server.Timeline)
	if err != nil {
		return err
	}
	if err := r.missed(ctx, lineage, at); err != nil {
		return err
	}
	timeline := lineage.Of(at)
	for {
		next, err := r.follow(ctx, timeline, r.begin(timeline, at))
		if err != nil || ctx.Err() != nil {
			return err
		}
		r.Log.Info("the timeline has ended", "timeline", timeline, "next", next.Timeline, "at", next.At.String())
		timeline, at = next.Timeline, next.At
	}
}

// missed writes down which WAL the archive does not have, between where it ends and where
// the server's begins. Whoever made the slot anew, or was killed before this, is found out.
func (r *Receiver) missed(ctx context.Context, lineage segment.Lineage, at sql.LSN) error {
	gaps, err := r.repo.Behind(ctx, r.epoch.System, lineage, at)
	if err != nil {
		return err
	}
	for _, g := range gaps {
		because := fmt.Sprintf("slot %s begins at %s", r.Slot, at)
		if err := r.repo.Missed(ctx, r.epoch.System, g, because, time.Now()); err != nil {
			return err
		}
		r.Log.Error("the archive does not have WAL, and the server no longer keeps it for this receiver", "segments", g.String(), "try",
			"archive_command may still bring it, and then nothing is lost; until then only a backup that is taken now leads further")
	}
	return nil
}

// begin is where the segment with a position begins.
func (r *Receiver) begin(timeline uint32, at sql.LSN) sql.LSN {
	return r.epoch.Size.Start(r.epoch.Size.At(timeline, at))
}

// reserve returns from where on the server keeps WAL for us, and makes the slot if there
// is none: from then on it does.
func (r *Receiver) reserve(ctx context.Context, dsn string) (sql.LSN, error) {
	conn, err := pg.Dial(ctx, dsn, pg.Options{App: "skytools receive"})
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	found, err := pg.Structs[slot](ctx, conn, slotQuery, r.Slot)
	if err == nil && len(found) == 0 {
		if err = r.conn.CreateSlot(ctx, r.Slot, false); err == nil {
			found, err = pg.Structs[slot](ctx, conn, slotQuery, r.Slot)
		}
	}
	switch {
	case err != nil:
		return 0, fmt.Errorf("slot %s: %w", r.Slot, err)
	case len(found) == 0:
		return 0, fmt.Errorf("slot %s: %w", r.Slot, pg.ErrNoSlot)
	case found[0].Restart == "":
		return 0, &LostError{Err: fmt.Errorf("slot %s is %s", r.Slot, cmp.Or(found[0].Status, "not in use"))}
	}
	return sql.ParseLSN(found[0].Restart)
}

// renew drops the slot whose WAL is gone, so that the next one begins where the server is.
func (r *Receiver) renew(ctx context.Context) error {
	dsn, err := r.DSN(ctx)
	if err != nil {
		return err
	}
	conn, err := pg.Replicate(ctx, dsn, pg.Options{App: "skytools receive"})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.DropSlot(ctx, r.Slot); err != nil && pg.Code(err) != "42704" { // undefined_object
		return fmt.Errorf("drop slot %s, whose WAL is gone: %w", r.Slot, err)
	}
	return nil
}

// A slot is what the server says of it. Restart is empty once its WAL is gone.
type slot struct{ Restart, Status string }

const slotQuery = `
select coalesce(restart_lsn::text, '') as restart,
       coalesce(wal_status, '') as status
  from pg_catalog.pg_replication_slots
 where slot_name = $1
   and slot_type = 'physical'`

// lineage is where the server's timeline comes from.
func (r *Receiver) lineage(ctx context.Context, timeline uint32) (segment.Lineage, error) {
	if timeline == 1 {
		return segment.Lineage{Timeline: 1}, nil
	}
	_, text, err := r.conn.History(ctx, timeline)
	if err != nil {
		return segment.Lineage{}, err
	}
	return segment.ParseHistory(timeline, text)
}

// archiveHistory archives the history of a timeline, which its segments need.
func (r *Receiver) archiveHistory(ctx context.Context, timeline uint32) error {
	if timeline == 1 {
		return nil
	}
	_, text, err := r.conn.History(ctx, timeline)
	if err != nil {
		return err
	}
	_, err = r.repo.Put(ctx, r.epoch.System, segment.Name{Kind: segment.History, Timeline: timeline}, bytes.NewReader(text))
	return err
}

// follow receives a timeline from the beginning of a segment on, until it ends, and
// returns where it goes on. When ctx ends, what is in hand is archived first.
func (r *Receiver) follow(ctx context.Context, timeline uint32, at sql.LSN) (pg.Switch, error) {
	work := runners.Work(ctx)
	if err := r.archiveHistory(work, timeline); err != nil {
		return pg.Switch{}, err
	}
	stream, err := r.conn.Stream(ctx, r.Slot, at, timeline)
	if err != nil {
		return pg.Switch{}, lost(at, err)
	}
	s := &segmentInHand{r: r, stream: stream, name: r.epoch.Size.At(timeline, at), start: at, at: at, flushed: at, content: make([]byte, r.epoch.Size)}
	s.due, s.said = time.Now().Add(r.Every), time.Now()
	for {
		wait, cancel := context.WithDeadline(ctx, s.wake())
		m, err := stream.Receive(wait)
		cancel()
		switch {
		case errors.Is(err, pg.ErrTimelineEnd):
			if err := s.partial(work); err != nil {
				return pg.Switch{}, err
			}
			return stream.End(work)
		case ctx.Err() != nil:
			return pg.Switch{}, errors.Join(s.partial(work), s.report(work))
		case err != nil && !errors.Is(err, context.DeadlineExceeded):
			return pg.Switch{}, lost(s.at, err)
		}
		if err := s.take(work, m); err != nil {
			return pg.Switch{}, err
		}
	}
}

// lost tells WAL that the server has removed from other errors.
func lost(at sql.LSN, err error) error {
	if pg.Code(err) == "58P01" { // undefined_file
		return &LostError{at, err}
	}
	return err
}
