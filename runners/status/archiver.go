package status

import (
	"context"
	"fmt"

	"github.com/skytools-go/skytools/sql/archive"
	"github.com/skytools-go/skytools/sql/pg"
)

// An Archiver tells how a server hands over its WAL. Waiting is nil for a role that is
// not of pg_monitor.
type Archiver struct {
	archive.Archiver
	Waiting *archive.Waiting `json:"waiting,omitempty"`
}

// archiver reads it, where the server archives at all.
func (d *Database) archiver(ctx context.Context, tx *pg.Tx) (err error) {
	err = tx.Attempt(ctx, func() (err error) {
		d.system, err = pg.One[string](ctx, tx, "select system_identifier::text from pg_catalog.pg_control_system()")
		return err
	})
	if err != nil && pg.Code(err) != "42501" { // some providers keep it to themselves
		return err
	}
	row, err := pg.Struct[archive.Archiver](ctx, tx, archive.ArchiverQuery)
	if err != nil || row.Mode == "off" {
		return err
	}
	d.Archiver = &Archiver{Archiver: row}
	err = tx.Attempt(ctx, func() error {
		w, err := pg.Struct[archive.Waiting](ctx, tx, archive.WaitingQuery)
		if err == nil {
			d.Archiver.Waiting = &w
		}
		return err
	})
	if pg.Code(err) == "42501" {
		return nil
	}
	return err
}

// behind is how long a file may wait to be archived before somebody should look.
const behind = 300.0

func (a *Archiver) problems(database string) (all []string) {
	switch {
	case a.Failing:
		all = append(all, fmt.Sprintf("the server of %s cannot archive %s: the last attempt was %.0f s ago; its log says why", database, a.Failed, *a.FailedAge))
	case a.Waiting != nil && a.Waiting.Files > 0 && a.Waiting.Age > behind:
		all = append(all, fmt.Sprintf("the server of %s has %s files to archive, the oldest for %.0f s", database, count(a.Waiting.Files), a.Waiting.Age))
	}
	return all
}

// Line says it for a person.
func (a *Archiver) Line() string {
	text := a.String()
	if a.Waiting != nil {
		text += fmt.Sprintf(", %s waiting, %.0f MB of WAL", files(a.Waiting.Files), float64(a.Waiting.Bytes)/(1<<20))
	}
	return text
}

func files(n int64) string {
	if n == 1 {
		return "1 file"
	}
	return count(n) + " files"
}
