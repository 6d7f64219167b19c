package tablecopy

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql"
)

// commands are the two COPY commands that move the rows of a table.
type commands struct {
	values string // what to read of a row r of the source, a list
	source string // the table to copy from, as FROM names it
	plain  string // the same as COPY names it, with its columns; empty: COPY would refuse it, or take too much
	where  string
	dest   string                        // with its columns
	change func(io.Reader) io.ReadCloser // what happens to the rows on their way
	binary bool
}

// newCommands chooses the columns that the source's fill, in the order of the source.
func newCommands(table *replay.Table, dest, source *replay.Relation, from sql.Name) (*commands, error) {
	filled, err := table.Fill(source, dest)
	if err != nil {
		return nil, err
	}
	if table.Mask != nil { // which has no columns of other names
		filled = slices.DeleteFunc(filled, func(f replay.Filled) bool { return table.Hides(f.Column.Name) })
	}
	if len(filled) == 0 {
		return nil, fmt.Errorf("%s and %s of the source have no column in common", table.Dest, from)
	}
	var values, names []string
	for _, f := range filled {
		values, names = append(values, f.SQL), append(names, sql.Ident(f.Column.Name))
	}
	change := func(r io.Reader) io.ReadCloser { return io.NopCloser(r) }
	if table.Mask != nil {
		change = func(r io.Reader) io.ReadCloser { return table.MaskRows(r, plainNames(filled)) }
	}
	list := " (" + strings.Join(names, ", ") + ")"
	c := &commands{
		values: strings.Join(values, ", "), source: source.From(from) + " r", where: table.Selected(),
		dest: table.Dest.Ident() + list, change: change, binary: table.Mask == nil && binarySafe(filled),
	}
	if c.where == "" && !table.Maps() && !source.Partitioned && !generates(filled) {
		c.plain = from.Ident() + list
	}
	return c, nil
}

func plainNames(filled []replay.Filled) (names []string) {
	for _, f := range filled {
		names = append(names, f.Column.Name)
	}
	return names
}

// generates reports whether the source generates one of the columns: COPY of a table
// refuses it.
func generates(filled []replay.Filled) bool {
	return slices.ContainsFunc(filled, func(f replay.Filled) bool { return f.Origin != nil && f.Origin.Generated })
}

// pages is a part of a table: its pages from one up to, and without, another. To is
// zero in the last part, which goes on to where the table ends; the zero value is all.
type pages struct{ From, To int64 }

// condition selects the part by the place of rows, without looking at others.
// Source: PostgreSQL documentation, 5.5 System Columns (ctid); a TID range scan since 14.
func (p pages) condition() string {
	text := fmt.Sprintf("ctid >= '(%d,0)'", p.From)
	if p.To != 0 {
		text += fmt.Sprintf(" and ctid < '(%d,0)'", p.To)
	}
	return text
}

// out is the command that sends the rows of a part. All of a plain table needs no
// query, and its progress report knows the size.
func (c *commands) out(part pages) string {
	var where []string
	if part != (pages{}) {
		where = append(where, part.condition())
	}
	if c.where != "" {
		where = append(where, "(\n"+c.where+"\n)") // it may end in a comment
	}
	what := "(select " + c.values + " from " + c.source + ")"
	switch {
	case len(where) > 0:
		what = "(select " + c.values + " from " + c.source + " where " + strings.Join(where, " and ") + ")"
	case c.plain != "":
		what = c.plain
	}
	return "copy " + what + " to stdout" + c.options(false)
}

// in is the command that takes them.
func (c *commands) in(freeze bool) string {
	return "copy " + c.dest + " from stdin" + c.options(freeze)
}

func (c *commands) options(freeze bool) string {
	var all []string
	if c.binary {
		all = append(all, "format binary")
	}
	if freeze {
		all = append(all, "freeze")
	}
	if len(all) == 0 {
		return ""
	}
	return " (" + strings.Join(all, ", ") + ")"
}

// portable are the built-in types whose binary form says the same on every server of
// a version that we know, whatever its settings, locale and catalog. Left out are
// those that hold OIDs of a catalog (the reg types), depend on a locale (money), on
// the order of a catalog's rows (record), or are versions of a text (xml).
var portable = set(`bool int2 int4 int8 oid float4 float8 numeric char name text varchar bpchar bytea uuid
	date time timetz timestamp timestamptz interval json jsonb jsonpath inet cidr macaddr macaddr8 bit varbit
	point lseg box path polygon circle line pg_lsn tsvector
	int4range int8range numrange daterange tsrange tstzrange
	int4multirange int8multirange nummultirange datemultirange tsmultirange tstzmultirange`)

func set(words string) map[string]bool {
	all := map[string]bool{}
	for word := range strings.FieldsSeq(words) {
		all[word] = true
	}
	return all
}

// binarySafe reports whether columns can be copied in binary format: on both sides
// they are the same built-in type that is portable, an array of such, or a domain
// over one, or an enum, which travels by its labels. Length and precision may differ:
// the receiving functions apply them as those of the text format do. Arrays and
// composite types that users made hold OIDs, which differ between databases.
//
// Source: PostgreSQL documentation, COPY, Binary Format, and CREATE TYPE
// (receive_function).
func binarySafe(filled []replay.Filled) bool {
	for _, f := range filled {
		if f.Origin == nil || f.Origin.Base != f.Column.Base || f.Column.Base != "enum" && !portable[strings.TrimPrefix(f.Column.Base, "_")] {
			return false
		}
	}
	return true
}
