package tablecopy

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/skytools-go/skytools/sql/pg"
)

// A dropped is what londiste.table_info.dropped_ddl holds of a table that is copied
// in pieces: the SQL that makes its indexes again, which any program may run, and in
// comments what this package wants to know:
//
//	-- skytools copy TOKEN of BYTES
//	create unique index if not exists ...;
//	-- indexes [{"name": ...}]
//	-- piece 0: 1000 rows
//
// The token belongs to one attempt. Who empties the table for another attempt writes
// another token in the same transaction, under the lock that all who write rows wait
// for; a session of an attempt that was given up finds that and undoes its piece.
//
// Source of the column: contract/londiste.md sections 1.4 and 2.5.
type dropped struct {
	Shared  bool // by several sources; the mark is another one, and there are no pieces
	Token   string
	Bytes   int64 // of the table at the source
	Indexes []index
}

const (
	droppedMark = "-- skytools copy "
	sharedMark  = "-- skytools merge "
)

// newDropped begins another attempt. Indexes that an earlier one has dropped are
// still to be made.
func newDropped(earlier *dropped, bytes int64, indexes []index) *dropped {
	d := &dropped{Token: rand.Text(), Bytes: bytes}
	known := map[string]bool{}
	for _, i := range indexes {
		known[i.Name] = true
	}
	if earlier != nil {
		for _, i := range earlier.Indexes {
			if !known[i.Name] {
				d.Indexes = append(d.Indexes, i)
			}
		}
	}
	d.Indexes = append(d.Indexes, indexes...)
	return d
}

// head is the line by which the attempt is known.
func (d *dropped) head() string {
	mark := droppedMark
	if d.Shared {
		mark = sharedMark
	}
	return fmt.Sprintf("%s%s of %d\n", mark, d.Token, d.Bytes)
}

func (d *dropped) text() (string, error) {
	list, err := json.Marshal(d.Indexes) // on one line
	if err != nil {
		return "", err
	}
	text := d.head()
	for _, i := range d.Indexes {
		for _, s := range []string{i.Create, i.Attach} {
			if s != "" {
				text += s + ";\n"
			}
		}
	}
	return text + droppedIndexes + string(list) + "\n", nil
}

const droppedIndexes = "-- indexes "

// parseDropped reads the column; nil unless this package wrote it.
func parseDropped(text string) (*dropped, error) {
	rest, pieces := strings.CutPrefix(text, droppedMark)
	rest, shared := strings.CutPrefix(rest, sharedMark)
	if !pieces && !shared {
		return nil, nil
	}
	d := &dropped{Shared: shared}
	if _, err := fmt.Sscanf(rest, "%s of %d\n", &d.Token, &d.Bytes); err != nil {
		return nil, fmt.Errorf("read dropped_ddl: %w", err)
	}
	at := strings.LastIndex(text, "\n"+droppedIndexes)
	if at < 0 {
		return nil, fmt.Errorf("read dropped_ddl: it lists no indexes")
	}
	list, _, _ := strings.Cut(text[at+1+len(droppedIndexes):], "\n")
	if err := json.Unmarshal([]byte(list), &d.Indexes); err != nil {
		return nil, fmt.Errorf("read dropped_ddl: %w", err)
	}
	return d, nil
}

// droppedText is the column; empty: NULL.
func (t *Copy) droppedText(ctx context.Context, q pg.Queryer) (string, error) {
	text, err := pg.One[string](ctx, q, "select coalesce(dropped_ddl, '') from londiste.table_info where queue_name = $1 and table_name = $2", t.Queue, t.Table)
	if err != nil {
		return "", fmt.Errorf("read what was dropped for the copy: %w", err)
	}
	return text, nil
}

// rebuild makes the indexes that were dropped for the rows. It may be interrupted at
// any moment: those that are there already are left alone. What another program has
// left is run as it is.
func (t *Copy) rebuild(ctx context.Context, text string) error {
	d, err := parseDropped(text)
	if err != nil {
		return err
	}
	if d != nil {
		if err := buildIndexes(ctx, t.dialHere, t.Sessions, d.Indexes); err != nil {
			return err
		}
	}
	return t.here.Write(ctx, func(tx *pg.Tx) error {
		// The row is locked first: another program may be about to do the same.
		n, err := tx.Exec(ctx, `
			update londiste.table_info set dropped_ddl = null
			 where queue_name = $1 and table_name = $2 and merge_state = 'catching-up' and dropped_ddl = $3`, t.Queue, t.Table, text)
		if err != nil || n == 0 || d != nil {
			return err
		}
		return tx.Script(ctx, text)
	})
}
