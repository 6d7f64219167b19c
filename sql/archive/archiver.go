package archive

import (
	_ "embed"
	"fmt"
)

// EndSegment ends the segment that the server writes, and says which. A row. At is a
// position in it.
//
// Source: PostgreSQL documentation, Backup Control Functions.
const EndSegment = `
with mark as materialized (
    select pg_catalog.pg_create_restore_point('skytools wal prove') as at
)
select pg_catalog.pg_walfile_name(mark.at) as segment, mark.at::text as at,
       ('x' || substr(pg_catalog.pg_walfile_name(mark.at), 1, 8))::bit(32)::int4 as timeline
  from mark, lateral (select pg_catalog.pg_switch_wal() where mark.at is not null) switched`

//go:embed archiver.sql
var ArchiverQuery string

// An Archiver is the row of [ArchiverQuery]: how the server's archiver fares.
//
// Source: PostgreSQL documentation, pg_stat_archiver.
type Archiver struct {
	Mode      string   `json:"mode"` // off, on, always
	Last      string   `json:"last_archived,omitempty"`
	LastAge   *float64 `json:"last_archived_seconds"` // nil: never
	Failed    string   `json:"last_failed,omitempty"`
	FailedAge *float64 `json:"last_failed_seconds"` // nil: never
	Failing   bool     `json:"failing"`             // the last attempt failed
}

//go:embed waiting.sql
var WaitingQuery string

// Waiting is the row of [WaitingQuery], which needs the role pg_monitor: what the archiver
// has not handed over yet.
type Waiting struct {
	Files  int64   `json:"files"`
	Queued int64   `json:"queued_bytes"` // of the segments among them
	Age    float64 `json:"oldest_seconds"`
	Bytes  int64   `json:"wal_bytes"` // all of pg_wal
}

// String says it in one line.
func (a Archiver) String() string {
	switch {
	case a.Mode == "off":
		return "archive_mode is off"
	case a.Failing:
		return fmt.Sprintf("archiving %s failed %.0f s ago", a.Failed, *a.FailedAge)
	case a.LastAge == nil:
		return "nothing was archived yet"
	}
	return fmt.Sprintf("archived %s %.0f s ago", a.Last, *a.LastAge)
}
