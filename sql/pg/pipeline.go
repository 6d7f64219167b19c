package pg

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/skytools-go/skytools/sql"
)

// Pipeline sends all statements before it reads the first answer, and returns how
// many rows each affected. The server stops at the first that fails: then the
// error is that one's, and rows has an entry for every statement before it.
// To the fault hook a pipeline is one statement, with the text of its first.
func (t *Tx) Pipeline(ctx context.Context, stmts []sql.Stmt) (rows []int64, err error) {
	if len(stmts) == 0 {
		return nil, nil
	}
	err = guarded(ctx, t.conn, stmts[0].Text, func() (err error) {
		var batch pgx.Batch
		for _, s := range stmts {
			batch.Queue(s.Text, s.Args...)
		}
		results := t.raw.SendBatch(ctx, &batch)
		for range stmts {
			tag, err := results.Exec()
			if err != nil {
				results.Close()
				return err
			}
			rows = append(rows, tag.RowsAffected())
		}
		return results.Close()
	})
	return rows, err
}
