package compare

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
)

//go:embed order.sql
var orderSQL string

// A relation is a table as one side has it.
type relation struct {
	*replay.Relation
	name     sql.Name
	places   map[string]string // what the order of a column depends on
	encoding string            // of the server
}

func describe(ctx context.Context, tx *pg.Tx, name sql.Name) (*relation, error) {
	rel, err := replay.Describe(ctx, tx, name)
	if err != nil {
		return nil, err
	}
	r := &relation{Relation: rel, name: name, places: map[string]string{}}
	type row struct{ Name, Place string }
	rows, err := pg.Structs[row](ctx, tx, orderSQL, name.Schema, name.Rel)
	if err != nil {
		return nil, fmt.Errorf("read how columns of %s are ordered: %w", name, err)
	}
	for _, c := range rows {
		r.places[c.Name] = c.Place
	}
	r.encoding, err = pg.One[string](ctx, tx, "select current_setting('server_encoding')")
	return r, err
}

// A shape is what is compared of a table, the same on both sides.
type shape struct {
	key      []string        // columns of the provider's primary key, in its order
	compared []string        // columns, the key's too, in the provider's order
	filled   []string        // columns that an insert fills: compared ones, and those that are ignored
	bytewise map[string]bool // key columns whose text is ordered, as the sides order values differently
	hex      bool            // the databases have different encodings
	notes    []string
}

// shapeOf decides what can be compared. Ignored are columns that are not replicated,
// masked are those that have other values here.
func shapeOf(provider, subscriber *relation, ignored, masked []string) (*shape, error) {
	s := &shape{bytewise: map[string]bool{}, hex: provider.encoding != subscriber.encoding}
	var alone, generated, skipped, hidden []string
	for _, c := range provider.Columns {
		here := subscriber.Column(c.Name)
		switch {
		case here == nil:
			alone = append(alone, c.Name)
			continue
		case here.Generated:
			generated = append(generated, c.Name)
			continue
		}
		if slices.Contains(masked, c.Name) {
			hidden = append(hidden, c.Name)
			continue
		}
		s.filled = append(s.filled, c.Name)
		if slices.Contains(ignored, c.Name) && c.KeyPlace == 0 {
			skipped = append(skipped, c.Name)
			continue
		}
		s.compared = append(s.compared, c.Name)
	}
	for place := 1; ; place++ {
		at := slices.IndexFunc(provider.Columns, func(c replay.Column) bool { return c.KeyPlace == place })
		if at < 0 {
			break
		}
		s.key = append(s.key, provider.Columns[at].Name)
	}
	if len(s.key) == 0 {
		return nil, fmt.Errorf("%s has no primary key on the provider", provider.name)
	}
	for _, name := range s.key {
		if slices.Contains(hidden, name) {
			return nil, fmt.Errorf("column %s of the primary key has a mask: nobody can say which rows belong together", sql.Ident(name))
		}
		if !slices.Contains(s.compared, name) {
			return nil, fmt.Errorf("%s lacks column %s of the provider's primary key, or generates it", subscriber.name, sql.Ident(name))
		}
		if provider.places[name] == "" || provider.places[name] != subscriber.places[name] {
			s.bytewise[name] = true
			s.note("is put into order by its text, which is slow: the two databases order it differently", name)
		}
	}
	var more []string
	for _, c := range subscriber.Columns {
		if provider.Column(c.Name) == nil {
			more = append(more, c.Name)
		}
	}
	s.note("is only on the provider", alone...)
	s.note("is only on the subscriber", more...)
	s.note("is generated on the subscriber and not compared", generated...)
	s.note("has a mask and is not compared", hidden...)
	s.note("is not replicated (ignore) and not compared", skipped...)
	return s, nil
}

func (s *shape) note(what string, columns ...string) {
	for _, c := range columns {
		s.notes = append(s.notes, "column "+sql.Ident(c)+" "+what)
	}
}

// canonical is an expression's text so that equal texts are equal values.
//
// Texts decide: the same text is what replay writes, and a type needs no equality for
// it. Two exceptions follow the = of PostgreSQL, as nothing that a row is found by can
// tell these values apart: zeros at the end of a numeric's fraction, and the sign of a
// zero. NULL is not the empty text.
func canonical(base, expression string) string {
	switch base {
	case "numeric":
		return "pg_catalog.trim_scale(" + expression + ")::text"
	case "float4":
		return "(" + expression + " + '0'::float4)::text"
	case "float8":
		return "(" + expression + " + '0'::float8)::text"
	}
	return "(" + expression + ")::text"
}

func (r *relation) canonical(name string) string {
	return canonical(r.Column(name).Base, "t."+sql.Ident(name))
}

// hash is the 64-bit hash of a row of texts, the same on every version and encoding.
func (s *shape) hash(texts []string) string {
	row := "row(" + strings.Join(texts, ", ") + ")::text"
	if s.hex {
		row = "pg_catalog.encode(pg_catalog.convert_to(" + row + ", 'UTF8'), 'hex')"
	}
	return "pg_catalog.hashtextextended((" + row + `) collate pg_catalog."C", 0)`
}

func each(names []string, f func(string) string) []string {
	all := make([]string, len(names))
	for i, name := range names {
		all[i] = f(name)
	}
	return all
}
