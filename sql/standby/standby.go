// Package standby holds the SQL of standbys: slots and synchronous names on the primary,
// replay on the standby. It does not know data directories, and installs nothing.
package standby

import (
	_ "embed"
	"strings"
	"time"

	"github.com/skytools-go/skytools/sql"
)

var (
	//go:embed standby.sql
	knownSQL string
	//go:embed replay.sql
	replaySQL string
	//go:embed facts.sql
	factsSQL string
)

// Known reads which standbys a server knows, as its primary.
var Known = sql.Catalog{Kind: "standby", Text: knownSQL}

// A Row is a row of [Known].
type Row struct {
	Name string `json:"name"`
	Slot bool   `json:"slot"`
	Sync bool   `json:"sync"` // commits wait for it, or for another one named beside it
}

// Replays reads how a standby replays.
var Replays = sql.Catalog{Kind: "replay", Text: replaySQL}

// A Replay is a row of [Replays].
type Replay struct {
	Name  string `json:"name"`
	Delay int64  `json:"delay"` // milliseconds
	State string `json:"state"` // not paused, pause requested, paused

	Since  *string  `json:"since"`  // when what it replayed last was committed; nil: nothing was since it started
	Behind *float64 `json:"behind"` // seconds since then; 0: it has replayed all that it received
}

// Paused reports whether nothing more is replayed, or soon. A pause is only requested while
// replay waits for its delay, and begins when that is over.
//
// Source: PostgreSQL documentation, pg_is_wal_replay_paused.
func (r Replay) Paused() bool { return r.State != "not paused" }

// Late is how far behind a pause may bring a standby, beside its delay, before somebody
// should look: it is what readers of queues may be late, too.
const Late = time.Minute

// Late reports whether replay is so far behind that somebody should look. Of a standby
// that does not tell it is not known to be in time.
func (r Replay) Late() bool {
	return r.Behind == nil || time.Duration(*r.Behind*float64(time.Second)) > Late+time.Duration(r.Delay)*time.Millisecond
}

// Connected reads who follows a server now.
var Connected = sql.Catalog{Kind: "standby", Text: factsSQL}

// A Fact is a row of [Connected].
type Fact struct {
	Name   string  `json:"name"`
	State  *string `json:"state"`  // streaming and the like
	Commit string  `json:"commit"` // synchronous_commit of the primary
}

// CreateSlot makes a physical slot that keeps WAL from the last checkpoint on.
// Source: PostgreSQL documentation, 9.27.6, pg_create_physical_replication_slot.
func CreateSlot(name string) sql.Stmt {
	return sql.Exec("select pg_catalog.pg_create_physical_replication_slot($1, true)", name)
}

// DropSlot removes a slot that nobody uses.
func DropSlot(name string) sql.Stmt {
	return sql.Exec("select pg_catalog.pg_drop_replication_slot($1)", name)
}

// Pause asks for replay to stop. It does so when the record in hand is replayed.
func Pause() sql.Stmt { return sql.Exec("select pg_catalog.pg_wal_replay_pause()") }

// Resume lets replay go on.
func Resume() sql.Stmt { return sql.Exec("select pg_catalog.pg_wal_replay_resume()") }

// Names is synchronous_standby_names by which each commit waits for one of the standbys,
// the first that is there; empty: for none.
// Source: PostgreSQL documentation, 20.6.2.
func Names(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return `FIRST 1 ("` + strings.Join(names, `", "`) + `")`
}

// RequireStreaming fails unless all of these standbys stream now: a commit would wait for
// one that does not.
func RequireStreaming(names []string) sql.Stmt {
	var list []string
	for _, name := range names {
		list = append(list, sql.Literal(name))
	}
	return sql.Exec(`do $$
declare
    missing text;
begin
    select string_agg(name, ', ') into missing
      from unnest(array[` + strings.Join(list, ", ") + `]::text[]) as name
     where not exists (select from pg_catalog.pg_stat_replication r where r.application_name = name and r.state = 'streaming');
    if missing is not null then
        raise exception 'commits would wait for %, which does not stream', missing;
    end if;
end $$`)
}
