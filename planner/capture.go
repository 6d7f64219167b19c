package planner

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pgq"
)

// captureState is what is compared of a capture.
type captureState struct {
	Args    []string `json:"args"`    // the trigger's options
	Current bool     `json:"current"` // it fires, and was made for the table as it is
}

// captureTrigger is the name of the triggers that apply makes. Those of a
// replicated table are londiste's and belong to kind table.
func captureTrigger(queue string) string { return "_skytools_" + queue }

var captureKind = Kind[captureState]{
	Name:    "capture",
	Catalog: pgq.Captures,
	Read: func(raw json.RawMessage) (string, captureState, bool, error) {
		var row pgq.Capture
		err := json.Unmarshal(raw, &row)
		ok := err == nil && row.Main() && !strings.Contains(row.Trigger, "_londiste_")
		return row.Queue + "/" + row.Table, captureState{notNil(row.Args), row.IsCurrent}, ok, err
	},
	Declared: func(s *Scene) []Declared[captureState] {
		var all []Declared[captureState]
		for _, q := range s.Set.Queues {
			for _, c := range q.Capture {
				database := q.Home()
				if s.Set.Database(database) == nil || s.Set.Database(database).State == spec.Dead {
					continue
				}
				d := Declared[captureState]{Database: database, Name: q.Name + "/" + c.Name, At: c.At}
				if c.State == spec.Present && q.State == spec.Present {
					d.Want = &captureState{c.Args(), true}
					d.Refuse = refuseCapture(s, database, &c)
				}
				all = append(all, d)
			}
		}
		return all
	},
	Steps: func(s *Scene, o Object[captureState]) []Draft[captureState] {
		queue, table := splitName(o.Name)
		drop, create := pgq.DropCapture, pgq.CreateCapture
		if s.original(o.Database) {
			drop, create = pgq.DropTriggers, pgq.CreateTrigger
		}
		if o.Want == nil {
			return []Draft[captureState]{{Title: "drop", Gone: true, Do: []sql.Stmt{drop(queue, table)}}}
		}
		title := "create"
		var do []sql.Stmt
		if o.Have != nil {
			if title = "renew"; !slices.Equal(o.Have.Args, o.Want.Args) || s.original(o.Database) {
				do = append(do, drop(queue, table))
			}
		}
		return []Draft[captureState]{{Title: title, Do: append(do, create(queue, table, captureTrigger(queue), o.Want.Args))}}
	},
	Needs: func(s *Scene, o Object[captureState]) []Address {
		queue, _ := splitName(o.Name)
		return []Address{{"queue", queue, o.Database}}
	},
	Hazards: func(s *Scene, o Object[captureState]) []Hazard {
		_, table := splitName(o.Name)
		if size, known := s.sizeOf(o.Database, table); known && size >= largeTable && o.Want != nil && o.Have == nil {
			return []Hazard{locksTable(table, size)}
		}
		return nil
	},
	Adopt: adoptCapture,
}

// original reports a database whose PgQ is not ours: it is used as it is, and has no
// functions that make triggers.
func (s *Scene) original(database string) bool {
	have, ok := objects(s, database, "schema", readSchema)["pgq"]
	return ok && have.Origin != "skytools"
}

// refuseCapture says why a table cannot be captured.
func refuseCapture(s *Scene, database string, c *spec.Capture) *Diagnostic {
	db := s.database(database)
	if !db.reached() || db.Unreadable["structure"] != "" {
		return nil
	}
	t, ok := structureOf(s, database, c.Name)
	if !ok {
		return &Diagnostic{Code: "no-table", Message: "table " + c.Name + " does not exist on " + database,
			Try: nearestTable(s, database, c.Name)}
	}
	if refused := refuseLevel(s, database, c.Name, c.Level); refused != nil {
		return refused
	}
	if t.PrimaryKey == nil && len(c.PKey) == 0 {
		return &Diagnostic{Code: "no-primary-key", Message: "table " + c.Name + " has no primary key: updates and deletes could not say which row they mean",
			Try: "add a primary key, or name the columns that identify a row: pkey: [...]"}
	}
	for _, column := range append(append([]string{}, c.Ignore...), c.PKey...) {
		if !t.has(column) {
			return &Diagnostic{Code: "no-column", Message: "table " + c.Name + " has no column " + column, Try: near(column, t.columns())}
		}
	}
	return nil
}

func near(word string, candidates []string) string {
	if c := spec.Nearest(word, candidates); c != "" {
		return "did you mean " + c + "?"
	}
	return ""
}

// refuseLevel says why triggers of a table's statements cannot be had.
func refuseLevel(s *Scene, database, table string, level spec.Level) *Diagnostic {
	t, ok := structureOf(s, database, table)
	switch {
	case level != spec.ByStatement || !ok:
		return nil
	case s.original(database):
		return &Diagnostic{Code: "no-statement-level", Message: "the original PgQ on " + database + " cannot capture statements", Try: "level: row"}
	case t.Kind == londiste.PartitionedTable || t.PartitionOf != nil:
		return &Diagnostic{Code: "no-statement-level", Message: "table " + table + " is partitioned: triggers of its statements would miss changes that name a partition", Try: "level: row"}
	}
	return nil
}
