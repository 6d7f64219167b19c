package replay

import (
	"fmt"
	"slices"
	"strings"

	"github.com/skytools-go/skytools/sql"
)

// A shape is the list of columns that a row in an event has.
type shape struct {
	names []string // plain
	raw   [][]byte // as JSON strings, to recognise it quickly
}

// writer makes the statements for rows of one shape with one key. All of them
// take one parameter: a JSON array of rows.
type writer struct {
	t     *target
	names []string  // the root's, of the shape
	cols  []*Column // that can be written here
	keys  []*Column
	match string // t.key = r.key and ...
}

func newWriter(t *target, s *shape, keys []string) (*writer, error) {
	w := &writer{t: t, names: s.names}
	for _, name := range s.names {
		if c := t.column(name); c != nil && !c.Generated && t.Transform[c.Name] == "" {
			w.cols = append(w.cols, c)
		}
	}
	for _, name := range t.transformed() {
		c := t.rel.Column(name)
		if c == nil || c.Generated {
			return nil, fmt.Errorf("%s has no column %s that its transform could fill", t.Dest, sql.Ident(name))
		}
		w.cols = append(w.cols, c)
	}
	if len(w.cols) == 0 {
		return nil, fmt.Errorf("the event has no column that %s has", t.Dest)
	}
	var match []string
	for _, name := range keys {
		c := t.column(name)
		if c == nil {
			return nil, fmt.Errorf("%s has no column %s, which is in the key of its events", t.Dest, sql.Ident(name))
		}
		if t.Transform[c.Name] != "" {
			return nil, fmt.Errorf("column %s is in the key, which a transform must not change", sql.Ident(c.Name))
		}
		if !slices.Contains(s.names, name) {
			return nil, fmt.Errorf("the event lacks column %s, which is in its key", sql.Ident(name))
		}
		w.keys = append(w.keys, c)
		match = append(match, "t."+sql.Ident(c.Name)+" = r."+sql.Ident(c.Name))
	}
	w.match = strings.Join(match, " and ")
	return w, nil
}

// rows is the FROM item that turns the parameter into rows called r; see [rows].
func (w *writer) rows(cols []*Column, where string) string {
	if !w.t.Maps() && (where == "" || len(cols) == len(w.names)) {
		return rows(cols, where)
	}
	names := w.names
	if where == "" && len(cols) == len(w.keys) && slices.Equal(cols, w.keys) { // an event may have nothing else
		names = nil
		for _, c := range w.keys {
			names = append(names, w.t.Origin(c.Name))
		}
	}
	return w.t.mapped(names, cols, where)
}

// rows is the FROM item that turns the parameter into typed rows called r. With a
// condition they have one more column, which says whether it is met.
func rows(cols []*Column, where string) string {
	var declared, read []string
	plain := true
	for _, c := range cols {
		name := sql.Ident(c.Name)
		if c.isJSON() { // the trigger writes it as a string, which would become a JSON string
			declared = append(declared, name+" text")
			read = append(read, name+"::"+c.Type+" as "+name)
			plain = false
			continue
		}
		declared = append(declared, name+" "+c.Type)
		read = append(read, name)
	}
	from := "json_to_recordset($1::text::json) as "
	if plain && where == "" {
		return from + "r(" + strings.Join(declared, ", ") + ")"
	}
	inner := "(select " + strings.Join(read, ", ") + " from " + from + "j(" + strings.Join(declared, ", ") + ")) r"
	if where == "" {
		return inner
	}
	return "(select r.*, (\n" + where + "\n) is true as " + sql.Ident(matches) + " from " + inner + ") r"
}

// matches is the column that says whether a row meets the table's condition.
const matches = "skytools: row is wanted"

func list(cols []*Column, prefix string) string {
	names := make([]string, len(cols))
	for i, c := range cols {
		names[i] = prefix + sql.Ident(c.Name)
	}
	return strings.Join(names, ", ")
}

// insert adds the rows; of a filtered table those that are wanted.
func (w *writer) insert() string {
	text := "insert into " + w.t.Dest.Ident() + " (" + list(w.cols, "") + ") overriding system value select " +
		list(w.cols, "r.") + " from " + w.rows(w.cols, w.t.Where)
	if w.t.Where != "" {
		text += " where r." + sql.Ident(matches)
	}
	return text
}

// insertMissing adds the rows that are wanted and not there.
func (w *writer) insertMissing() string {
	more := " where"
	if w.t.Where != "" {
		more = " and"
	}
	return w.insert() + more + " not exists (select 1 from " + w.t.rel.From(w.t.Dest) + " t where " + w.match + ")"
}

// update sets all columns but those of the key. Empty: there are no others.
func (w *writer) update() string {
	var set []string
	for _, c := range w.cols {
		if !slices.Contains(w.keys, c) && !c.Always {
			set = append(set, sql.Ident(c.Name)+" = r."+sql.Ident(c.Name))
		}
	}
	if len(set) == 0 {
		return ""
	}
	text := "update " + w.t.rel.From(w.t.Dest) + " t set " + strings.Join(set, ", ") + " from " + w.rows(w.cols, w.t.Where) + " where " + w.match
	if w.t.Where != "" {
		text += " and r." + sql.Ident(matches)
	}
	return text
}

// present finds the rows that are wanted and there.
func (w *writer) present() string {
	text := "select 1 from " + w.t.rel.From(w.t.Dest) + " t, "
	if w.t.Where != "" {
		return text + w.rows(w.cols, w.t.Where) + " where " + w.match + " and r." + sql.Ident(matches)
	}
	return text + w.rows(w.keys, "") + " where " + w.match
}

// remove deletes by key.
func (w *writer) remove() string {
	return "delete from " + w.t.rel.From(w.t.Dest) + " t using " + w.rows(w.keys, "") + " where " + w.match
}

// removeUnwanted deletes the rows whose new version is not wanted.
func (w *writer) removeUnwanted() string {
	return "delete from " + w.t.rel.From(w.t.Dest) + " t using " + w.rows(w.cols, w.t.Where) + " where " + w.match + " and not r." + sql.Ident(matches)
}

// updateFiltered is what an update means where only some rows are kept: rows that
// stop to be wanted go, rows that start to be come.
func (w *writer) updateFiltered() []string {
	texts := []string{w.removeUnwanted()}
	if text := w.update(); text != "" {
		texts = append(texts, text)
	}
	return append(texts, w.insertMissing())
}
