package archive

import "github.com/skytools-go/skytools/sql"

// Unproven has the server begin its statistics of archiving anew: what another command
// has archived proves nothing. By default it is for superusers.
func Unproven() sql.Stmt {
	return sql.Exec("select pg_catalog.pg_stat_reset_shared('archiver')")
}

// Segment is the one that the server writes now.
func Segment() sql.Stmt {
	return sql.Exec("select pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn())")
}

// End writes something into the segment that the server writes, and ends it: an empty one
// would go on.
//
// Source: PostgreSQL documentation, Backup Control Functions.
func End() []sql.Stmt {
	return []sql.Stmt{sql.Exec("select pg_catalog.pg_create_restore_point($1)", "skytools apply"), sql.Exec("select pg_catalog.pg_switch_wal()")}
}

// Clock is the time of the server.
func Clock() sql.Stmt { return sql.Exec("select pg_catalog.clock_timestamp()::text") }

// Archived answers whether a segment was archived, or a later one; null: the archiver has
// failed since a time of the server's clock. The note says what it did last.
//
// A command that the shell cannot run, or that is killed, ends the archiver itself, which
// counts no failure. It begins again ten seconds later, or when the server next wakes up
// after that, which is a minute at most, and ends at once. Where it is away the note says
// so, and where it is after all this time that is the failure. A role without
// pg_read_all_stats does not see it.
//
// Source: PostgreSQL documentation, pg_stat_archiver and Continuous Archiving.
func Archived(segment, since any) sql.Stmt {
	return sql.Exec(`
select case when a.last_failed_time > coalesce(a.last_archived_time, '-infinity') and a.last_failed_time > $2::text::timestamptz then null
            when a.last_archived_wal ~ '^[0-9A-F]{24}' and (a.last_archived_wal = $1::text or left(a.last_archived_wal, 24) collate "C" > $1::text) then true
            when g.gone and g.waited > interval '75 s' then null
            else false
       end as done,
       0.0::float8 as progress,
       'segment ' || $1::text || ' is not archived; '
       || case when g.gone then 'the archiver has ended instead of counting a failure: archive_command cannot be run, which is exit code 126 or 127, or it was killed'
               else coalesce('archiving ' || a.last_failed_wal || ' failed at ' || to_char(a.last_failed_time at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS') || 'Z', 'the archiver tells of no failure')
          end
       || coalesce(', and ' || a.last_archived_wal || ' was archived at ' || to_char(a.last_archived_time at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS') || 'Z', ', and nothing was archived yet') as note
  from pg_catalog.pg_stat_archiver a,
       (select clock_timestamp() - $2::text::timestamptz as waited,
               pg_catalog.pg_has_role('pg_read_all_stats', 'usage')
               and not exists (select from pg_catalog.pg_stat_activity p where p.backend_type = 'archiver') as gone) g`, segment, since)
}
