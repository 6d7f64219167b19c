package tablecopy

import (
	"context"
	"errors"
	"fmt"

	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/meta"
	"github.com/skytools-go/skytools/sql/pg"
)

// piecesAtMost bounds how many marks of pieces there are: they are kept in one text.
const piecesAtMost = 256

// inPieces reports whether a table is to be copied in pieces: it is a table here and
// there, large at the source, and empty here, so that nobody reads old rows that
// would go before the new ones are there.
func (t *Copy) inPieces(ctx context.Context, s *stand, dest, from sql.Name) (bool, error) {
	text, err := t.droppedText(ctx, t.here)
	if err != nil || text != "" { // in pieces it was begun
		return text != "", err
	}
	if keepsRows(s) || t.Sessions < 2 {
		return false, nil
	}
	bytes, err := pg.One[int64](ctx, t.above, sizeSQL, from.Schema, from.Rel)
	if err != nil || bytes < 2*t.Piece {
		return false, err
	}
	plain, err := pg.One[bool](ctx, t.here, `
		select coalesce(bool_and(c.relkind = 'r'), false)
		  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
		 where n.nspname = $1 and c.relname = $2`, dest.Schema, dest.Rel)
	if err != nil || !plain {
		return false, err
	}
	return pg.One[bool](ctx, t.here, "select not exists (select from only "+dest.Ident()+")")
}

// sizeSQL asks for the bytes of a table's rows; -1 when it is none, or partitioned.
const sizeSQL = `
select coalesce(max(pg_catalog.pg_relation_size(c.oid)), -1)
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where n.nspname = $1 and c.relname = $2 and c.relkind = 'r'`

// errHeld says that another session copies the table in pieces.
var errHeld = errors.New("another session copies the table")

// transferPieces moves the rows in pieces, and then the state. A lock of the session
// keeps other copies of the table away: each would undo what the other has done.
func (t *Copy) transferPieces(ctx context.Context, s *stand, table *replay.Table, from sql.Name) (rows int64, err error) {
	key := meta.LockKey("copy " + t.Queue + "/" + t.Table)
	got, err := pg.One[bool](ctx, t.here, "select pg_try_advisory_lock($1)", key)
	if err != nil {
		return 0, err
	}
	if !got {
		return 0, errHeld
	}
	rows, err = t.attempt(ctx, s, table, from)
	if _, failed := t.here.Exec(ctx, "select pg_advisory_unlock($1)", key); failed != nil {
		t.here.Close() // and the lock with it
		if err == nil {
			err = failed
		}
	}
	return rows, err
}

func (t *Copy) attempt(ctx context.Context, s *stand, table *replay.Table, from sql.Name) (rows int64, err error) {
	err = t.above.Snapshot(ctx, func(above *pg.Tx) error {
		dest, err := replay.Describe(ctx, t.here, table.Dest)
		if err != nil {
			return err
		}
		snapshot, c, err := t.survey(ctx, above, table, dest, from)
		if err != nil {
			return err
		}
		type row struct {
			ID           string
			Bytes, Block int64
		}
		at, err := pg.Struct[row](ctx, above, `
			select pg_export_snapshot() as id, bytes, current_setting('block_size')::int8 as block
			  from (`+sizeSQL+`) size (bytes)`, from.Schema, from.Rel)
		if err != nil {
			return err
		}
		d, err := t.emptyForPieces(ctx, s, table.Dest, at.Bytes)
		if err != nil {
			return err
		}
		if rows, err = t.movePieces(ctx, c, d, at.ID, cut(at.Bytes, t.Piece, at.Block)); err != nil {
			return err
		}
		n, err := t.here.Exec(ctx, `
			update londiste.table_info
			   set merge_state = 'catching-up', custom_snapshot = $3
			 where queue_name = $1 and table_name = $2 and local and merge_state = 'in-copy' and starts_with(dropped_ddl, $4)`,
			t.Queue, t.Table, snapshot, d.head())
		if err == nil && n == 0 {
			err = errChanged
		}
		return err
	})
	return rows, t.about(err, from)
}

// cut divides a table into parts. The last has no end: rows that came after the size
// was looked at are none of the snapshot's, but it costs nothing to be sure.
func cut(bytes, piece, block int64) []pages {
	step := max(1, piece/block, bytes/block/piecesAtMost)
	all := []pages{}
	for from := int64(0); ; from += step {
		if (from+step)*block >= bytes {
			return append(all, pages{from, 0})
		}
		all = append(all, pages{from, from + step})
	}
}

// emptyForPieces begins an attempt: the table is emptied and its indexes are dropped,
// together with the note of how to make them again.
func (t *Copy) emptyForPieces(ctx context.Context, s *stand, dest sql.Name, bytes int64) (d *dropped, err error) {
	err = t.here.Write(ctx, func(tx *pg.Tx) error {
		if err := t.lock(ctx, tx, dest); err != nil {
			return err
		}
		if err := t.stillAlone(ctx, tx); err != nil {
			return err
		}
		text, err := t.droppedText(ctx, tx)
		if err != nil {
			return err
		}
		earlier, err := parseDropped(text)
		if err != nil {
			return err
		}
		var indexes []index
		if !keepsIndexes(s) {
			if indexes, err = dropIndexes(ctx, tx, dest); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, "truncate only "+dest.Ident()); err != nil {
			return fmt.Errorf("empty %s: %w", dest, err)
		}
		d = newDropped(earlier, bytes, indexes)
		if text, err = d.text(); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "update londiste.table_info set dropped_ddl = $3 where queue_name = $1 and table_name = $2", t.Queue, t.Table, text)
		return err
	})
	return d, err
}

// movePieces copies all parts, each in a transaction, by several sessions that see
// the snapshot of that name.
func (t *Copy) movePieces(ctx context.Context, c *commands, d *dropped, snapshot string, parts []pages) (rows int64, err error) {
	todo := make(chan pages, len(parts))
	for _, p := range parts {
		todo <- p
	}
	close(todo)
	sessions := min(t.Sessions, len(parts))
	copied, readers := make([]int64, sessions), make([]*pg.Conn, sessions)
	for nr := range readers {
		if readers[nr], err = t.dial(ctx, t.source, t.app()); err != nil {
			return 0, err
		}
		defer readers[nr].Close()
	}
	err = together(ctx, sessions, func(ctx context.Context, nr int) error {
		here, err := t.dialHere(ctx)
		if err != nil {
			return err
		}
		defer here.Close()
		return readers[nr].Snapshot(ctx, func(tx *pg.Tx) error {
			if err := tx.Script(ctx, "set transaction snapshot "+sql.Literal(snapshot)); err != nil {
				return fmt.Errorf("take the snapshot of the copy: %w", err)
			}
			for part := range todo {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				n, err := t.movePiece(ctx, tx, here, c, d, part)
				if err != nil {
					return err
				}
				copied[nr] += n
			}
			return nil
		})
	})
	for _, n := range copied {
		rows += n
	}
	return rows, err
}

// movePiece copies one part and marks it, if the attempt is still the one that holds
// the table: see [dropped].
func (t *Copy) movePiece(ctx context.Context, above *pg.Tx, here *pg.Conn, c *commands, d *dropped, part pages) (rows int64, err error) {
	err = here.Write(ctx, func(tx *pg.Tx) error {
		if rows, err = t.stream(ctx, above, c, part, tx, false); err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `
			update londiste.table_info
			   set dropped_ddl = dropped_ddl || $4
			 where queue_name = $1 and table_name = $2 and local and merge_state = 'in-copy' and starts_with(dropped_ddl, $3)`,
			t.Queue, t.Table, d.head(), fmt.Sprintf("-- piece %d: %d rows\n", part.From, rows))
		if err == nil && n == 0 {
			err = errChanged
		}
		return err
	})
	return rows, err
}
