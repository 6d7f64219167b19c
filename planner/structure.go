package planner

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/meta"
)

// What plans read beside objects: what tables look like, which sequences there
// are, and how large tables are.
var (
	structures    = named("structure", londiste.Structures)
	sequenceNames = named("sequence-name", londiste.Sequences)
	sizes         = named("size", meta.Sizes)
)

// table is a table of users.
type table struct{ londiste.Structure }

func (t table) columns() []string {
	var names []string
	for _, c := range t.Columns {
		names = append(names, c.Name)
	}
	return names
}

func (t table) has(column string) bool { return slices.Contains(t.columns(), column) }

// tables are the tables of users in a database, by name.
func (s *Scene) tables(database string) map[string]table {
	type key struct{ structure string }
	if got, ok := s.cache[key{database}]; ok {
		return got.(map[string]table)
	}
	all := map[string]table{}
	for _, raw := range s.database(database).rows(structures.Kind) {
		var t table
		if err := json.Unmarshal(raw, &t.Structure); err != nil {
			s.broken = append(s.broken, fmt.Errorf("structure of %s: %w", database, err))
			continue
		}
		all[t.Name] = t
	}
	s.cache[key{database}] = all
	return all
}

func structureOf(s *Scene, database, name string) (table, bool) {
	t, ok := s.tables(database)[name]
	return t, ok
}

func nearestTable(s *Scene, database, name string) string {
	return near(name, slices.Collect(maps.Keys(s.tables(database))))
}

// sequencesOf lists the names of all sequences of users in a database.
func (s *Scene) sequencesOf(database string) map[string]bool {
	type key struct{ sequences string }
	if got, ok := s.cache[key{database}]; ok {
		return got.(map[string]bool)
	}
	all := map[string]bool{}
	for _, raw := range s.database(database).rows(sequenceNames.Kind) {
		var row londiste.SequenceName
		if json.Unmarshal(raw, &row) == nil {
			all[row.Name] = true
		}
	}
	s.cache[key{database}] = all
	return all
}

// sizeOf is the size of a table's rows in bytes, or false where it is not known.
func (s *Scene) sizeOf(database, name string) (int64, bool) {
	type key struct{ sizes string }
	all, ok := s.cache[key{database}].(map[string]int64)
	if !ok {
		all = map[string]int64{}
		for _, raw := range s.database(database).Facts[sizes.Kind] {
			var row meta.Size
			if json.Unmarshal(raw, &row) == nil {
				all[row.Name] = row.Bytes
			}
		}
		s.cache[key{database}] = all
	}
	n, ok := all[name]
	return n, ok
}

// expand lists the tables that a declaration stands for: itself, or those of the
// root that match its pattern and are not declared by name. Partitions are left
// out of patterns: their rows are captured through the table that they belong to.
func expand(s *Scene, q *spec.Queue, t *spec.Table) []string {
	if !t.Pattern() {
		return []string{t.Name}
	}
	type key struct{ queue, pattern string }
	if got, ok := s.cache[key{q.Name, t.Name}]; ok {
		return got.([]string)
	}
	var names []string
	defer func() { s.cache[key{q.Name, t.Name}] = names }()
	for _, name := range slices.Sorted(maps.Keys(s.tables(q.Home()))) {
		if ok, err := path.Match(t.Name, name); err == nil && ok && q.Tables.Get(name) == nil && s.tables(q.Home())[name].PartitionOf == nil {
			names = append(names, name)
		}
	}
	return names
}
