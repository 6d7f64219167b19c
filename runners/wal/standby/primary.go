package standby

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/standby"
)

// facts are what a server says of itself.
type facts struct {
	System   string
	Major    int32
	Standby  bool
	At       string // written, or on a standby received
	Archives string // archive_mode
	Names    string // synchronous_standby_names
	Timeline int64
}

const factsQuery = `
select s.system_identifier::text as system,
       current_setting('server_version_num')::int4 / 10000 as major,
       pg_catalog.pg_is_in_recovery() as standby,
       case when pg_catalog.pg_is_in_recovery()
            then coalesce(greatest(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn()), '0/0')
            else pg_catalog.pg_current_wal_lsn()
       end::text as at,
       current_setting('archive_mode') as archives,
       current_setting('synchronous_standby_names') as names,
       case when pg_catalog.pg_is_in_recovery()
            then coalesce((select received_tli from pg_catalog.pg_stat_wal_receiver), c.timeline_id)::int8
            else ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::bit(32)::int8
       end as timeline
  from pg_catalog.pg_control_system() s, pg_catalog.pg_control_checkpoint() c`

// limits are settings that a standby must not have lower than its primary had when it
// wrote the WAL. Source: PostgreSQL documentation, 27.4.3; design/wal.md, R40.
var limits = []string{"max_connections", "max_locks_per_transaction", "max_prepared_transactions", "max_wal_senders", "max_worker_processes"}

func readLimits(ctx context.Context, conn *pg.Conn) (map[string]string, error) {
	type setting struct{ Name, Setting string }
	all, err := pg.Structs[setting](ctx, conn, "select name, setting from pg_catalog.pg_settings where name = any($1)", limits)
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, one := range all {
		found[one.Name] = one.Setting
	}
	return found, nil
}

// raised is the higher one of each limit.
func raised(all ...map[string]string) map[string]string {
	highest := map[string]string{}
	for _, name := range limits {
		most := 0
		for _, settings := range all {
			n, _ := strconv.Atoi(settings[name])
			most = max(most, n)
		}
		if most > 0 {
			highest[name] = strconv.Itoa(most)
		}
	}
	return highest
}

// fits requires that what is set here is no lower than a limit, before a server refuses
// to start on it.
func fits(set, limits map[string]string) error {
	for name, least := range limits {
		have, isSet := set[name]
		n, err := strconv.Atoi(have)
		if m, _ := strconv.Atoi(least); isSet && (err != nil || n < m) {
			return &Error{fmt.Sprintf("%s = %s is lower than the primary's %s, and a standby would not start with it", name, have, least),
				"set it to " + least + " at least, or leave it out"}
		}
	}
	return nil
}

// upstream is a session on the primary, with what the primary says of itself.
type upstream struct {
	*pg.Conn
	facts
	limits map[string]string
}

// primary connects to the primary.
func (s *Standby) primary(ctx context.Context) (*upstream, error) {
	conn, err := pg.Dial(ctx, s.Primary, pg.Options{App: "skytools standby"})
	if err != nil {
		return nil, fmt.Errorf("primary of standby %s: %w", s.Name, err)
	}
	u := &upstream{Conn: conn}
	if u.facts, err = pg.Struct[facts](ctx, conn, factsQuery); err == nil {
		u.limits, err = readLimits(ctx, conn)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("primary of standby %s: %w", s.Name, err)
	}
	return u, nil
}

func (u *upstream) at() sql.LSN {
	at, _ := sql.ParseLSN(u.At) // the server wrote it
	return at
}

// slotFacts are what a server says of a slot.
type slotFacts struct {
	Active   bool
	Status   string // reserved, extended, unreserved, lost; empty: it keeps nothing yet
	Retained int64  // bytes of WAL that the server keeps for it
}

const slotQuery = `
select s.active, coalesce(s.wal_status, '') as status,
       coalesce(case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn() else pg_catalog.pg_current_wal_lsn() end - s.restart_lsn, 0)::int8 as retained
  from pg_catalog.pg_replication_slots s
 where s.slot_name = $1 and s.slot_type = 'physical'`

// slot looks at the standby's slot. found is false when there is none.
func (u *upstream) slot(ctx context.Context, name string) (f slotFacts, found bool, err error) {
	f, err = pg.Struct[slotFacts](ctx, u.Conn, slotQuery, name)
	if errors.Is(err, pg.ErrNoRows) {
		return f, false, nil
	}
	return f, err == nil, err
}

// reserve makes the slot, or takes the one that is there, so that the primary keeps all
// WAL from now on. made: it was not there before.
func (u *upstream) reserve(ctx context.Context, name string) (made bool, err error) {
	f, found, err := u.slot(ctx, name)
	if err != nil {
		return false, err
	}
	switch {
	case found && f.Active:
		return false, &Error{fmt.Sprintf("somebody reads from the slot %s on the primary", name), "is there another standby of this name? stop it, or choose another name"}
	case found && f.Status != "lost" && f.Status != "":
		return false, nil
	case found: // what it kept has gone, or it never kept anything
		if err := u.run(ctx, standby.DropSlot(name)); err != nil {
			return false, err
		}
	}
	return true, u.run(ctx, standby.CreateSlot(name))
}

func (u *upstream) run(ctx context.Context, stmt sql.Stmt) error {
	_, err := u.Exec(ctx, stmt.Text, stmt.Args...)
	if err != nil {
		return fmt.Errorf("%s: %w", pg.FunctionOf(stmt.Text), err)
	}
	return nil
}

// synchronous reports whether commits wait for a standby of that name.
func synchronous(names, name string) bool {
	for word := range strings.FieldsFuncSeq(names, func(r rune) bool { return strings.ContainsRune(`,()" `, r) }) {
		if strings.EqualFold(word, name) || word == "*" {
			return true
		}
	}
	return false
}

// settings are the lines that make the server a standby. have are those that it had or
// its backup brings.
func (s *Standby) settings(u *upstream, have map[string]string) (map[string]string, error) {
	least := raised(u.limits, have)
	if err := fits(s.Settings, least); err != nil {
		return nil, err
	}
	conninfo := ""
	if s.streams() {
		var err error
		if conninfo, err = s.conninfo(); err != nil {
			return nil, err
		}
	}
	all := maps.Clone(least)
	maps.Copy(all, map[string]string{
		"primary_conninfo": conninfo, "restore_command": s.Command, "recovery_target_timeline": "latest",
		"primary_slot_name":        s.Name, // also where it does not stream: plans know it by this
		"recovery_min_apply_delay": milliseconds(s.Delay), "hot_standby": "on",
		"synchronous_standby_names": "", // the primary's; after a promotion nobody could commit
	})
	if u.Archives == "always" { // what it gets is in the archive already; it archives once it is promoted
		all["archive_mode"] = "on"
	}
	maps.Copy(all, s.Settings)
	return all, nil
}
