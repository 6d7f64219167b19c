package archive

import (
	_ "embed"
	"fmt"
	"time"

	"github.com/skytools-go/skytools/sql"
)

//go:embed progress.sql
var progressSQL string

// Progressed reads how far a server's archiver is: one row.
var Progressed = sql.Catalog{Kind: "archive", Text: progressSQL}

// Progress is the row of [Progressed]: what was archived since the server's statistics
// began.
//
// Source: PostgreSQL documentation, pg_stat_archiver.
type Progress struct {
	Last     string     `json:"last"`      // empty: never
	LastAt   *time.Time `json:"last_at"`   // nil: never
	Failed   string     `json:"failed"`    // empty: never
	FailedAt *time.Time `json:"failed_at"` // nil: never
	Failing  bool       `json:"failing"`   // the last attempt failed
}

// String says what is wrong, or how far it is.
func (p Progress) String() string {
	at := func(t *time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }
	switch {
	case p.Failing && p.LastAt != nil:
		return fmt.Sprintf("archiving fails since %s, when %s was archived: %s", at(p.LastAt), p.Last, p.Failed)
	case p.Failing:
		return fmt.Sprintf("archiving fails since it began, last at %s: %s", at(p.FailedAt), p.Failed)
	case p.LastAt == nil:
		return "nothing was archived yet"
	}
	return fmt.Sprintf("%s was archived at %s", p.Last, at(p.LastAt))
}
