package pg

import (
	"context"
	"io"
)

// CopyOut runs a COPY ... TO STDOUT and writes what it sends to w.
func (t *Tx) CopyOut(ctx context.Context, w io.Writer, text string) (rows int64, err error) {
	err = guarded(ctx, t.conn, text, func() error {
		tag, err := t.raw.Conn().PgConn().CopyTo(ctx, w, text)
		rows = tag.RowsAffected()
		return err
	})
	return rows, err
}

// CopyIn runs a COPY ... FROM STDIN and sends it what r holds.
func (t *Tx) CopyIn(ctx context.Context, r io.Reader, text string) (rows int64, err error) {
	err = guarded(ctx, t.conn, text, func() error {
		tag, err := t.raw.Conn().PgConn().CopyFrom(ctx, r, text)
		rows = tag.RowsAffected()
		return err
	})
	return rows, err
}
