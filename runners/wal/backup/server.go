package backup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
)

// facts are what a server says of itself before a backup.
type facts struct {
	System      string
	Catalog     int64
	Server      string
	SegmentSize int64
	Checksums   bool
	Standby     bool
	Clock       time.Time
}

const factsQuery = `
select s.system_identifier::text as system,
       s.catalog_version_no::bigint as catalog,
       current_setting('server_version') as server,
       (select setting::bigint from pg_catalog.pg_settings where name = 'wal_segment_size') as segment_size,
       current_setting('data_checksums') = 'on' as checksums,
       pg_catalog.pg_is_in_recovery() as standby,
       pg_catalog.clock_timestamp() as clock
  from pg_catalog.pg_control_system() s`

// minimums are settings that a hot standby must not have lower than its primary.
// Source: PostgreSQL documentation, 27.4.3 Administrator's Overview.
const minimumsQuery = `
select name, setting
  from pg_catalog.pg_settings
 where name in ('max_connections', 'max_worker_processes', 'max_wal_senders', 'max_prepared_transactions', 'max_locks_per_transaction')`

func look(ctx context.Context, conn *pg.Conn) (facts, map[string]string, error) {
	f, err := pg.Struct[facts](ctx, conn, factsQuery)
	if err != nil {
		return facts{}, nil, err
	}
	type setting struct{ Name, Setting string }
	all, err := pg.Structs[setting](ctx, conn, minimumsQuery)
	if err != nil {
		return facts{}, nil, err
	}
	settings := map[string]string{}
	for _, s := range all {
		settings[s.Name] = s.Setting
	}
	return f, settings, nil
}

// badPages says what to try when the server has found bad pages.
func badPages(err error) error {
	bad := (*pg.BadPagesError)(nil)
	if errors.As(err, &bad) {
		return &PagesError{err}
	}
	return err
}

// A PagesError says that the server has found pages whose checksum is wrong.
type PagesError struct{ Err error }

func (e *PagesError) Error() string { return e.Err.Error() }
func (e *PagesError) Unwrap() error { return e.Err }

// Hint is what a person can try.
func (e *PagesError) Hint() string {
	return "the data on the server is damaged: an earlier backup may have these pages whole. To take backups all the same, write on_bad_page: warn"
}

// A WAL is the WAL of an archive, as far as a backup depends on it.
type WAL interface {
	// Wait returns when the archive has all WAL of a timeline from one position up to
	// another, which it does not include, or with the error of ctx.
	Wait(ctx context.Context, timeline uint32, from, to sql.LSN) error
}

// An ArchiveError says that WAL did not reach the archive.
type ArchiveError struct {
	Doing string
	Err   error
}

func (e *ArchiveError) Error() string { return e.Doing + ": " + e.Err.Error() }
func (e *ArchiveError) Unwrap() error { return e.Err }

// Hint is what a person can try.
func (e *ArchiveError) Hint() string {
	return "look at pg_stat_archiver and at the server's log: without its WAL a backup is worth nothing"
}

// prove switches to the next segment and waits for the one before in the archive, so
// that a backup fails in a minute and not at its end. A standby cannot switch.
// Source: design/wal.md, R27.
func prove(ctx context.Context, conn *pg.Conn, wal WAL, patience time.Duration) error {
	type position struct {
		Timeline int64
		At       string
	}
	// A message first: a segment without a record is not switched.
	if _, err := conn.Exec(ctx, "select pg_catalog.pg_logical_emit_message(false, 'skytools', 'backup')"); err != nil {
		return fmt.Errorf("write to the WAL: %w", err)
	}
	done, err := pg.Struct[position](ctx, conn,
		`select ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(at), 1, 8))::bit(32)::bigint as timeline, at::text from pg_catalog.pg_switch_wal() at`)
	if err != nil {
		return fmt.Errorf("switch to the next segment of WAL: %w", err)
	}
	at, err := sql.ParseLSN(done.At)
	if err != nil {
		return err
	}
	return await(ctx, wal, patience, "prove that WAL is archived", uint32(done.Timeline), at-1, at)
}

// proveAt does so on the primary of the standby that the backup is of.
func proveAt(ctx context.Context, o Options) error {
	conn, err := pg.Dial(ctx, o.Primary, pg.Options{App: o.App})
	if err != nil {
		return fmt.Errorf("primary: %w", err)
	}
	defer conn.Close()
	return prove(ctx, conn, o.WAL, o.Patience)
}

// await waits for WAL, but not for ever.
func await(ctx context.Context, wal WAL, patience time.Duration, doing string, timeline uint32, from, to sql.LSN) error {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := wal.Wait(limited, timeline, from, to)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("WAL of timeline %d from %s to %s has not arrived within %s: %w", timeline, from, to, patience, err)
	}
	return &ArchiveError{doing, err}
}
