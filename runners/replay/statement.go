package replay

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/skytools-go/skytools/sql"
)

// A shape is the list of columns that a row in an event has.
type shape struct {
	names []string // plain
	raw   [][]byte // as JSON strings, to recognise it quickly
}

// A command is a statement about rows. Each of its parameters is an array: what the
// rows have in one column, in their order. An array costs the server a quarter of what
// the same values cost as JSON.
type command struct {
	text  string
	takes []parameter
	copy  string // the same for many rows as a COPY; empty: there is none
}

// A parameter is a column of the events.
type parameter struct {
	column string
	typ    string
	asText bool // unnest would take its values apart, or we do not know
}

// isArray tells whether each value is an array.
func (p parameter) isArray() bool { return strings.HasSuffix(p.typ, "[]") }

// and adds to the text.
func (c command) and(text string) command { return command{text: c.text + text, takes: c.takes} }

// writer makes the commands for rows of one shape with one key.
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

// rows makes a command of what stands before and after the FROM item r: the rows with
// these columns. With a condition over the root's row they have one more column, which
// says whether it is met.
func (w *writer) rows(before string, cols []*Column, where, after string) command {
	names := w.names
	if where == "" && slices.Equal(cols, w.keys) { // an event may have nothing else
		names = nil
		for _, c := range w.keys {
			names = append(names, w.t.Origin(c.Name))
		}
	}
	if !w.t.Maps() && (where == "" || len(cols) == len(w.names)) {
		names = nil
		for _, c := range cols {
			names = append(names, c.Name)
		}
	}
	takes := make([]parameter, len(names))
	for i, name := range names {
		takes[i] = w.t.parameter(name)
	}
	from := unnested(takes)
	switch {
	case w.t.Maps() || where != "" && len(cols) != len(w.names):
		from = w.t.mapped(cols, where, from)
	case where != "":
		from = "(select r.*, (\n" + where + "\n) is true as " + sql.Ident(matches) + " from " + from + ") r"
	}
	return command{text: before + from + after, takes: takes}
}

// unnested is the FROM item r with a column for each parameter.
func unnested(takes []parameter) string {
	var arrays, names, values []string
	inner := "r"
	for i, p := range takes {
		name, element := sql.Ident(p.column), p.typ
		value := name
		if p.asText {
			element, value, inner = "text", name+"::"+p.typ+" as "+name, "j"
		}
		arrays, names, values = append(arrays, "$"+strconv.Itoa(i+1)+"::"+element+"[]"), append(names, name), append(values, value)
	}
	from := "unnest(" + strings.Join(arrays, ", ") + ") as " + inner + "(" + strings.Join(names, ", ") + ")"
	if inner == "r" {
		return from
	}
	return "(select " + strings.Join(values, ", ") + " from " + from + ") r"
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
func (w *writer) insert() command {
	wanted := ""
	if w.t.Where != "" {
		wanted = " where r." + sql.Ident(matches)
	}
	c := w.rows("insert into "+w.t.Dest.Ident()+" ("+list(w.cols, "")+") overriding system value select "+list(w.cols, "r.")+" from ", w.cols, w.t.Where, wanted)
	if w.t.rel.Copyable && w.t.Where == "" && !w.t.Maps() && len(w.t.Types) == 0 {
		c.copy = "copy " + w.t.Dest.Ident() + " (" + list(w.cols, "") + ") from stdin"
	}
	return c
}

// insertMissing adds the rows that are wanted and not there.
func (w *writer) insertMissing() command {
	more := " where"
	if w.t.Where != "" {
		more = " and"
	}
	return w.insert().and(more + " not exists (select 1 from " + w.t.rel.From(w.t.Dest) + " t where " + w.match + ")")
}

// update sets all columns but those of the key. It reports false when there are no
// others.
func (w *writer) update() (command, bool) {
	var set []string
	for _, c := range w.cols {
		if !slices.Contains(w.keys, c) && !c.Always {
			set = append(set, sql.Ident(c.Name)+" = r."+sql.Ident(c.Name))
		}
	}
	if len(set) == 0 {
		return command{}, false
	}
	return w.rows("update "+w.t.rel.From(w.t.Dest)+" t set "+strings.Join(set, ", ")+" from ", w.cols, w.t.Where, " where "+w.match+w.wanted()), true
}

// wanted continues a condition where only some rows are kept.
func (w *writer) wanted() string {
	if w.t.Where == "" {
		return ""
	}
	return " and r." + sql.Ident(matches)
}

// present finds the rows that are wanted and there.
func (w *writer) present() command {
	cols := w.keys
	if w.t.Where != "" {
		cols = w.cols
	}
	return w.rows("select 1 from "+w.t.rel.From(w.t.Dest)+" t, ", cols, w.t.Where, " where "+w.match+w.wanted())
}

// remove deletes by key.
func (w *writer) remove() command {
	return w.rows("delete from "+w.t.rel.From(w.t.Dest)+" t using ", w.keys, "", " where "+w.match)
}

// removeUnwanted deletes the rows whose new version is not wanted.
func (w *writer) removeUnwanted() command {
	return w.rows("delete from "+w.t.rel.From(w.t.Dest)+" t using ", w.cols, w.t.Where, " where "+w.match+" and not r."+sql.Ident(matches))
}

// updateFiltered is what an update means where only some rows are kept: rows that
// stop to be wanted go, rows that start to be come.
func (w *writer) updateFiltered() []command {
	all := []command{w.removeUnwanted()}
	if c, some := w.update(); some {
		all = append(all, c)
	}
	return append(all, w.insertMissing())
}
