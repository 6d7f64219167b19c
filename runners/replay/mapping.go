package replay

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
)

// A Mapping says how the root's row, which events and copies have, becomes a row of
// the table here. The zero value changes nothing.
type Mapping struct {
	Columns   map[string]string // the root's column -> its name here; empty: left out. Others keep their names, or see [londiste.Others].
	Transform map[string]string // column here -> SQL expression over the root's row
	Types     map[string]string // of the root's columns, for SQL over them; others have the type they have here, or text
}

func readMapping(attrs londiste.Dict) (m Mapping, err error) {
	if m.Columns, err = londiste.ParseColumns(attrs); err != nil {
		return m, err
	}
	for key, into := range map[string]*map[string]string{londiste.AttrTransform: &m.Transform, londiste.AttrTypes: &m.Types} {
		d, err := londiste.ParseDict(attrs.Get(key))
		if err != nil {
			return m, fmt.Errorf("table attribute %s: %w", key, err)
		}
		*into = d.Texts()
	}
	return m, nil
}

// Maps reports whether the columns here are other than the root's.
func (m *Mapping) Maps() bool { return len(m.Columns) > 0 || len(m.Transform) > 0 }

// Here is the name of the root's column here; empty: it is left out.
func (m *Mapping) Here(column string) string { return londiste.Here(m.Columns, column) }

// Origin is the root's name of a column here, which no transform fills.
func (m *Mapping) Origin(here string) string {
	for from, to := range m.Columns {
		if to == here {
			return from
		}
	}
	return here
}

// transformed lists the columns that expressions fill, in order.
func (m *Mapping) transformed() []string { return slices.Sorted(maps.Keys(m.Transform)) }

// A Filled is a column here and the SQL over a row r of the root that fills it.
type Filled struct {
	Column *Column // here
	Origin *Column // at the source; nil: an expression fills it
	SQL    string
}

// Fill lists the columns here that a row of the source fills, in the source's order,
// and then those that expressions fill. Generated columns here are not filled.
func (m *Mapping) Fill(source, dest *Relation) (all []Filled, err error) {
	for i := range source.Columns {
		from := &source.Columns[i]
		here := dest.Column(m.Here(from.Name))
		if here == nil || here.Generated || m.Transform[here.Name] != "" {
			continue
		}
		all = append(all, Filled{here, from, "r." + sql.Ident(from.Name)})
	}
	for _, name := range m.transformed() {
		here := dest.Column(name)
		if here == nil || here.Generated {
			return nil, fmt.Errorf("there is no column %s here that its transform could fill", sql.Ident(name))
		}
		text := "(\n" + m.Transform[name] + "\n)"
		if here.Base != "" && here.Base != "enum" { // a type that the source has, too
			text += "::pg_catalog." + sql.Ident(here.Base)
		}
		all = append(all, Filled{here, nil, text})
	}
	return all, nil
}

// parameter is how the root's column travels, with its type in SQL over the root's row.
func (t *target) parameter(column string) parameter {
	c := t.column(column)
	switch typ := t.Types[column]; {
	case typ != "":
		return parameter{column, typ, true}
	case c != nil && t.Transform[c.Name] == "":
		return parameter{column, c.Type, c.Base == "" || strings.HasPrefix(c.Base, "_")}
	}
	return parameter{column, "text", false}
}

// column is the column here that the root's becomes; nil: there is none.
func (t *target) column(name string) *Column {
	here := t.Here(name)
	if here == "" {
		return nil
	}
	return t.rel.Column(here)
}

// mapped is the FROM item r with the columns here, made from one with columns of the
// root. With a condition over the root's row they have one more column, which says
// whether it is met.
func (t *target) mapped(cols []*Column, where, from string) string {
	var out []string
	for _, c := range cols {
		text := "r." + sql.Ident(t.Origin(c.Name))
		if expression := t.Transform[c.Name]; expression != "" {
			text = "(\n" + expression + "\n)"
		}
		out = append(out, text+"::"+c.Type+" as "+sql.Ident(c.Name))
	}
	if where != "" {
		out = append(out, "(\n"+where+"\n) is true as "+sql.Ident(matches))
	}
	return "(select " + strings.Join(out, ", ") + " from " + from + ") r"
}
