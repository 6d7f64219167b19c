package standby

import (
	"context"
	"fmt"
	"time"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
	catalog "github.com/skytools-go/skytools/sql/standby"
)

// A State is how a standby fares at one moment, from both sides. Pointers are nil where
// nobody could say.
type State struct {
	Name        string     `json:"name"`
	Role        Role       `json:"role"`
	Timeline    uint32     `json:"timeline,omitempty"`
	Received    *sql.LSN   `json:"received,omitempty"`
	Replayed    *sql.LSN   `json:"replayed,omitempty"`
	Written     *sql.LSN   `json:"written,omitempty"`     // by the primary
	LagBytes    *int64     `json:"lag_bytes,omitempty"`   // the primary wrote and it has not replayed
	LagSeconds  *float64   `json:"lag_seconds,omitempty"` // since what it replayed last was committed; 0: there is no more
	ReplayedAt  *time.Time `json:"replayed_at,omitempty"` // when that was committed, by the primary's clock
	Paused      bool       `json:"paused"`
	Delay       float64    `json:"delay_seconds"`
	Receiver    string     `json:"receiver,omitempty"` // streaming and the like; empty: it does not stream
	From        string     `json:"from,omitempty"`     // host and port that it streams from
	Slot        *Slot      `json:"slot,omitempty"`
	Synchronous bool       `json:"synchronous"` // commits wait for it
	Problems    []string   `json:"problems"`    // what somebody should look at
}

// Role is what a server is.
type Role string

// The roles.
const (
	Following   Role = "standby"
	Primary     Role = "primary"
	Unreachable Role = "unreachable"
)

// A Slot is what the primary keeps for a standby.
type Slot struct {
	Exists   bool   `json:"exists"`
	Active   bool   `json:"active"`
	Status   string `json:"wal_status,omitempty"`
	Retained int64  `json:"retained_bytes"`
}

// replayFacts are what a server in recovery says of its progress.
type replayFacts struct {
	Recovering bool
	Received   *string
	Replayed   *string
	Behind     *float64
	Committed  *time.Time
	Paused     bool
	Delay      float64
	Receiver   *string
	Sender     *string
	Timeline   int64
}

const replayQuery = `
select pg_catalog.pg_is_in_recovery() as recovering,
       coalesce(greatest(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn())::text, w.flushed_lsn::text) as received,
       pg_catalog.pg_last_wal_replay_lsn()::text as replayed,
       extract(epoch from pg_catalog.clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp())::float8 as behind,
       pg_catalog.pg_last_xact_replay_timestamp() as committed,
       case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_is_wal_replay_paused() else false end as paused,
       (select setting::float8 / 1000 from pg_catalog.pg_settings where name = 'recovery_min_apply_delay') as delay,
       w.status as receiver,
       w.sender_host || ':' || w.sender_port as sender,
       case when pg_catalog.pg_is_in_recovery()
            then coalesce(w.received_tli, c.timeline_id)::int8
            else ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::bit(32)::int8
       end as timeline
  from pg_catalog.pg_control_checkpoint() c
  left join pg_catalog.pg_stat_wal_receiver w on true`

// State asks the standby and its primary. Either may be down: that is in the answer.
func (s *Standby) State(ctx context.Context) State {
	st := State{Name: s.Name, Role: Unreachable, Problems: []string{}}
	if err := s.ownState(ctx, &st); err != nil {
		st.Problems = append(st.Problems, err.Error())
	}
	if err := s.primaryState(ctx, &st); err != nil {
		st.Problems = append(st.Problems, err.Error())
	}
	st.complain(s)
	return st
}

func (s *Standby) ownState(ctx context.Context, st *State) error {
	conn, err := pg.Dial(ctx, s.DSN, pg.Options{App: "skytools standby"})
	if err != nil {
		return err
	}
	defer conn.Close()
	f, err := pg.Struct[replayFacts](ctx, conn, replayQuery)
	if err != nil {
		return err
	}
	st.Role, st.Timeline, st.Paused, st.Delay = Primary, uint32(f.Timeline), f.Paused, f.Delay
	if !f.Recovering {
		return nil
	}
	st.Role = Following
	st.Received, st.Replayed, st.LagSeconds, st.ReplayedAt = lsn(f.Received), lsn(f.Replayed), f.Behind, f.Committed
	if f.Receiver != nil {
		st.Receiver = *f.Receiver
	}
	if f.Sender != nil {
		st.From = *f.Sender
	}
	return nil
}

func lsn(text *string) *sql.LSN {
	if text == nil {
		return nil
	}
	at, err := sql.ParseLSN(*text)
	if err != nil {
		return nil
	}
	return &at
}

func (s *Standby) primaryState(ctx context.Context, st *State) error {
	u, err := s.primary(ctx)
	if err != nil {
		return err
	}
	defer u.Close()
	written := u.at()
	st.Written = &written
	if st.Replayed != nil {
		behind := max(0, int64(written)-int64(*st.Replayed))
		if st.LagBytes = &behind; behind == 0 {
			st.LagSeconds = new(float64)
		}
	}
	st.Synchronous = synchronous(u.Names, s.Name)
	if !s.streams() {
		return nil
	}
	f, found, err := u.slot(ctx, s.Name)
	if err != nil {
		return err
	}
	st.Slot = &Slot{found, f.Active, f.Status, f.Retained}
	return nil
}

// kept is how much WAL a slot may keep for nobody before somebody should look.
const kept = 1 << 30

// complain lists what somebody should look at.
func (st *State) complain(s *Standby) {
	say := func(format string, args ...any) { st.Problems = append(st.Problems, fmt.Sprintf(format, args...)) }
	switch {
	case st.Role == Primary:
		say("it is a primary, on timeline %d: it was promoted", st.Timeline)
		return
	case st.Role == Following && s.streams() && st.Receiver != "streaming" && s.Delay == 0:
		say("it does not stream")
	case st.Synchronous && st.Role == Unreachable:
		say("commits on the primary may wait for it")
	}
	if st.Paused && !s.Holds && st.late(s.Delay) {
		text := ""
		if st.LagBytes != nil {
			text = fmt.Sprintf(", %d MB behind", *st.LagBytes>>20)
		}
		if st.ReplayedAt != nil {
			text += ": nothing is replayed that was committed after " + st.ReplayedAt.UTC().Format("2006-01-02 15:04:05Z")
		}
		say("replay is paused%s", text)
	}
	if st.Role == Following && time.Duration(st.Delay*float64(time.Second)) != s.Delay {
		say("it is delayed by %s, and should be by %s", time.Duration(st.Delay*float64(time.Second)), s.Delay)
	}
	switch slot := st.Slot; {
	case slot == nil:
	case !slot.Exists:
		say("it has no slot on the primary: WAL that it needs may go")
	case slot.Status == "lost":
		say("the primary has removed WAL that it needs: rewind it, or create it anew")
	case !slot.Active && slot.Retained > kept:
		say("nobody reads from its slot, for which the primary keeps %d MB of WAL", slot.Retained>>20)
	}
}

// late reports whether a pause has brought it further behind than it may be. When nobody
// knows it counts as late.
func (st *State) late(delay time.Duration) bool {
	return st.LagSeconds == nil || time.Duration(*st.LagSeconds*float64(time.Second)) > delay+catalog.Late
}

// Well reports whether there is nothing to look at.
func (st State) Well() bool { return len(st.Problems) == 0 }
