package consume

import (
	"encoding/json"
	"fmt"

	"github.com/skytools-go/skytools/runners/replay"
)

// A Row is what a trigger has written about one row of a table: the operation, the
// table, the columns of the primary key and the values as text.
type Row = replay.Row

// Row reads an event that a trigger has written, as JSON (jsontriga, captured
// tables), urlencoded (logutriga) or SQL (sqltriga). Any other event, and one that is
// malformed, is an error.
//
// Source: contract/pgq.md section 7.2.
func (e *Event) Row() (*Row, error) {
	r, err := replay.ParseRow([]byte(e.Type), []byte(e.Data), []byte(e.Extra1))
	if err != nil {
		return nil, fmt.Errorf("event %d: %w", e.ID, err)
	}
	return r, nil
}

// Into decodes the data of an event, which is JSON, into what dst points to, as
// encoding/json does. Captured tables have bare numbers for smallint, integer and
// bigint only: numeric, float, json, uuid, arrays and the like are strings.
func (e *Event) Into(dst any) error {
	if err := json.Unmarshal([]byte(e.Data), dst); err != nil {
		return fmt.Errorf("event %d: its data %.60q: %w", e.ID, e.Data, err)
	}
	return nil
}
