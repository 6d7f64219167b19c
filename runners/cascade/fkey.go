package cascade

import (
	"context"
	"fmt"

	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql/pg"
)

// restoreFkeys puts back the foreign keys whose tables are in sync, beside the
// replay: validating one reads the whole table. Each step is a transaction.
//
// Source: contract/londiste.md sections 1.8 and 5.3.
func (w *Worker) restoreFkeys(ctx context.Context) error {
	dsn, err := w.DSN(ctx)
	if err != nil {
		return err
	}
	conn, err := replay.Dial(ctx, dsn, pg.Options{App: "skytools fkeys " + w.Queue})
	if err != nil {
		return err
	}
	defer conn.Close()
	type row struct{ Table, Name string }
	keys, err := pg.Structs[row](ctx, conn, "select from_table as table, fkey_name as name from londiste.get_valid_pending_fkeys($1)", w.Queue)
	if err != nil {
		return fmt.Errorf("list the foreign keys to restore: %w", err)
	}
	for _, k := range keys {
		for steps := 0; ; steps++ {
			next, err := pg.One[string](ctx, conn, "select londiste.restore_table_fkey($1, $2, true)", k.Table, k.Name)
			if err != nil {
				return fmt.Errorf("restore foreign key %s of %s: %w", k.Name, k.Table, err)
			}
			if next == "" {
				w.Log.Info("foreign key is back", "queue", w.Queue, "table", k.Table, "key", k.Name)
				break
			}
			if _, err := conn.Exec(ctx, next); err != nil {
				return fmt.Errorf("restore foreign key %s of %s: %s: %w", k.Name, k.Table, next, err)
			}
			if steps > 10 {
				return fmt.Errorf("restore foreign key %s of %s: it asks for %q again and again", k.Name, k.Table, next)
			}
		}
	}
	return nil
}
