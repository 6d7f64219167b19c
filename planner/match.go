package planner

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql/londiste"
)

// unlike says how a replicated table differs on a node from the root's, where rows and
// their keys would not be the same: columns that are missing, or of another type, another
// primary key, columns that no row would fill. What the YAML asks to be different is not
// said; nor is anything where one of the two was not seen, or while a script is on its way.
// Before is the root's.
func unlike(s *Scene, a Address) (all []Field) {
	queue, name := splitName(a.Name)
	q, t := lookup(s, queue, name)
	if a.Kind != "table" || t == nil || q.Home() == a.Database || q.Nodes.Get(a.Database) == nil {
		return nil
	}
	how := wantedHandling(t.How(a.Database), false)
	if !how.Fills() || how.Parts != nil || comes(s, q, a.Database) {
		return nil
	}
	on := t.On[a.Database]
	source, known := structureOf(s, q.Home(), name)
	local, seen := structureOf(s, a.Database, orName(on.As, name))
	if !known || !seen {
		return nil
	}
	differs := func(path string, before, after any) {
		all = append(all, Field{Path: path, Before: before, After: after, Cause: "drift"})
	}
	filled := map[string]bool{}
	for _, column := range source.Columns {
		to := londiste.Here(on.Columns, column.Name)
		word := "keep"
		if how.Mask != nil {
			word = how.Mask[column.Name].Word
		}
		if to == "" || word == "skip" || slices.Contains(t.Ignore, column.Name) || column.Generated != "" {
			continue
		}
		filled[to] = true
		at := slices.IndexFunc(local.Columns, func(c londiste.Column) bool { return c.Name == to })
		_, computed := on.Transform[to]
		switch {
		case at < 0:
			differs("columns."+to, column.Type, nil)
		case local.Columns[at].Type != column.Type && !computed && word == "keep":
			differs("columns."+to, column.Type, local.Columns[at].Type)
		}
	}
	for _, column := range local.Columns {
		_, computed := on.Transform[column.Name]
		if !filled[column.Name] && !computed && column.NotNull && column.Default == "" && column.Identity == "" && column.Generated == "" {
			differs("columns."+column.Name, nil, column.Type+" not null, which nothing fills")
		}
	}
	if want, have := keyOn(source, on.Columns), keyOn(local, nil); want != have {
		differs("primary_key", want, have)
	}
	return all
}

// onItsWay is how long a script may take from the root to a node. What has not come by then
// may never: the node was made later.
const onItsWay = time.Hour

// comes reports whether a script that ran on the root has not run on a node yet.
func comes(s *Scene, q *spec.Queue, database string) bool {
	ran := func(database string) map[string]int64 {
		all := map[string]int64{}
		for _, raw := range s.database(database).rows(scriptKind.Name) {
			var row londiste.AppliedScript
			if json.Unmarshal(raw, &row) == nil && row.Queue == q.Name {
				all[row.Name] = row.At
			}
		}
		return all
	}
	here := ran(database)
	for name, at := range ran(q.Home()) {
		if _, done := here[name]; !done && s.Now.Sub(time.Unix(at, 0)) < onItsWay {
			return true
		}
	}
	return false
}

// keyOn is the primary key of a table under other names, in the order of the names.
func keyOn(t table, names map[string]string) string {
	if t.PrimaryKey == nil {
		return ""
	}
	var key []string
	for _, column := range t.PrimaryKey.Columns {
		key = append(key, londiste.Here(names, column))
	}
	slices.Sort(key)
	return strings.Join(key, ", ")
}
