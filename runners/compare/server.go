package compare

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
)

// A server is a side that is a table in a snapshot of a database.
type server struct {
	tx *pg.Tx
	*relation
	shape *shape
	where string  // only rows that meet it; empty: all
	view  string  // a query that is the table, with the columns of relation; empty: the table itself
	busy  []int64 // hashes of keys that are left out
}

// table is the table as an item of FROM, called t.
func (s *server) table() string {
	if s.view != "" {
		return "(" + s.view + ") t"
	}
	return s.From(s.name) + " t"
}

// order is the expression that rows are ordered by for a key column.
func (s *server) order(name string) string {
	if s.shape.bytewise[name] {
		return "(" + s.canonical(name) + `) collate pg_catalog."C"`
	}
	return "t." + sql.Ident(name)
}

// bound is a text as a value of that order.
func (s *server) bound(name, text string) string {
	if s.shape.bytewise[name] {
		return text + `::text collate pg_catalog."C"`
	}
	return text + "::text::" + s.Column(name).Type
}

func (s *server) keyTexts() string { return strings.Join(each(s.shape.key, s.canonical), ", ") }
func (s *server) keyHash() string  { return s.shape.hash(each(s.shape.key, s.canonical)) }
func (s *server) rowHash() string  { return s.shape.hash(each(s.shape.compared, s.canonical)) }
func (s *server) ordered() string  { return strings.Join(each(s.shape.key, s.order), ", ") }

// from is the table and the condition for a range. Rows that are left out are left out.
func (s *server) from(r keyRange) (text string, args []any) {
	conditions := []string{"true"}
	within := func(operator string, k Key) {
		if k == nil {
			return
		}
		var bounds []string
		for i, name := range s.shape.key {
			args = append(args, k[i])
			bounds = append(bounds, s.bound(name, "$"+strconv.Itoa(len(args))))
		}
		conditions = append(conditions, "row("+s.ordered()+") "+operator+" row("+strings.Join(bounds, ", ")+")")
	}
	within(">", r.after)
	within("<=", r.to)
	conditions = append(conditions, s.wanted()...)
	if len(s.busy) > 0 {
		args = append(args, s.busy)
		conditions = append(conditions, s.keyHash()+" <> all ($"+strconv.Itoa(len(args))+"::int8[])")
	}
	return " from " + s.table() + " where " + strings.Join(conditions, " and "), args
}

func (s *server) wanted() []string {
	if s.where == "" {
		return nil
	}
	return []string{"(\n" + s.where + "\n)"}
}

func (s *server) sum(ctx context.Context, r keyRange) (sum, error) {
	type row struct {
		Rows int64
		Hash string
	}
	from, args := s.from(r)
	got, err := pg.Struct[row](ctx, s.tx, "select count(*) as rows, coalesce(sum("+s.rowHash()+"), 0)::text as hash"+from, args...)
	if err != nil {
		return sum{}, fmt.Errorf("sum up rows of %s: %w", s.name, err)
	}
	return sum{got.Rows, got.Hash}, nil
}

// bounds counts rows that are left out, too: then the index alone can tell.
func (s *server) bounds(ctx context.Context, r keyRange, step, most int) (keys []Key, err error) {
	all := *s
	all.busy = nil
	from, args := all.from(r)
	args = append(args, int64(step), int64(most))
	texts := each(s.shape.key, s.canonical)
	var columns, names, order []string
	for i, text := range texts {
		k, o := "k"+strconv.Itoa(i), "o"+strconv.Itoa(i)
		columns = append(columns, text+" as "+k, s.order(s.shape.key[i])+" as "+o)
		names, order = append(names, k), append(order, o)
	}
	// Ordered like the window, so that nothing is sorted and the limit ends the walk.
	text := fmt.Sprintf("select %s from (select %s, row_number() over (order by %s) as n%s) t where n %% $%d = 0 order by %s limit $%d",
		strings.Join(names, ", "), strings.Join(columns, ", "), s.ordered(), from, len(args)-1, strings.Join(order, ", "), len(args))
	err = pg.Each(ctx, s.tx, func(values [][]byte) error {
		keys = append(keys, keyOf(values))
		return nil
	}, text, args...)
	if err != nil {
		return nil, fmt.Errorf("divide the keys of %s: %w", s.name, err)
	}
	return keys, nil
}

func keyOf(values [][]byte) Key {
	k := make(Key, len(values))
	for i, v := range values {
		k[i] = string(v)
	}
	return k
}

func (s *server) rows(ctx context.Context, r keyRange) ([]hashed, error) {
	from, args := s.from(r)
	return s.hashed(ctx, "select "+s.rowHash()+", "+s.keyTexts()+from, args...)
}

func (s *server) hashed(ctx context.Context, text string, args ...any) (rows []hashed, err error) {
	err = pg.Each(ctx, s.tx, func(values [][]byte) error {
		hash, err := strconv.ParseInt(string(values[0]), 10, 64)
		rows = append(rows, hashed{keyOf(values[1:]), hash})
		return err
	}, text, args...)
	if err != nil {
		return nil, fmt.Errorf("read rows of %s: %w", s.name, err)
	}
	return rows, nil
}

// named is the table joined with keys, which are the parameter $1.
func (s *server) named() string {
	var declared, match []string
	for i, name := range s.shape.key {
		declared = append(declared, fmt.Sprintf("k%d text", i))
		match = append(match, fmt.Sprintf("t.%s = j.k%d::%s", sql.Ident(name), i, s.Column(name).Type))
	}
	return " from pg_catalog.json_to_recordset($1::text::json) as j(" + strings.Join(declared, ", ") + ") join " + s.table() + " on " + strings.Join(append(match, s.wanted()...), " and ")
}

// parameter is keys as the parameter of named.
func parameter(keys []Key) string {
	all := make([]map[string]string, len(keys))
	for i, k := range keys {
		all[i] = map[string]string{}
		for place, text := range k {
			all[i]["k"+strconv.Itoa(place)] = text
		}
	}
	text, _ := json.Marshal(all) // maps of strings cannot fail
	return string(text)
}

// rowsOf reads the rows with these keys; s.busy does not matter.
func (s *server) rowsOf(ctx context.Context, keys []Key) ([]hashed, error) {
	return s.hashed(ctx, "select "+s.rowHash()+", "+s.keyTexts()+s.named(), parameter(keys))
}

// A value is a column's text, and the text to compare it by. Nil is NULL.
type value struct{ text, canonical *string }

// valuesOf reads all columns of shape.filled of the rows with these keys, by the id of
// the key. Of rows with the same key it has one.
func (s *server) valuesOf(ctx context.Context, keys []Key) (map[string][]value, error) {
	found := map[string][]value{}
	columns := each(s.shape.filled, func(name string) string { return "(t." + sql.Ident(name) + ")::text, " + s.canonical(name) })
	text := func(v []byte) *string {
		if v == nil {
			return nil
		}
		return new(string(v))
	}
	err := pg.Each(ctx, s.tx, func(values [][]byte) error {
		n := len(s.shape.key)
		var row []value
		for i := n; i < len(values); i += 2 {
			row = append(row, value{text(values[i]), text(values[i+1])})
		}
		found[keyOf(values[:n]).id()] = row
		return nil
	}, "select "+s.keyTexts()+", "+strings.Join(columns, ", ")+s.named(), parameter(keys))
	if err != nil {
		return nil, fmt.Errorf("read rows of %s: %w", s.name, err)
	}
	return found, nil
}

// before is a row that replay will do with before a change: none, what will be deleted, or
// what will be written over. Columns that the event lacks are what the provider has now.
func (s *server) before(c change, now []value) ([]value, error) {
	if c.insert {
		return nil, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(c.row, &fields); err != nil {
		return nil, fmt.Errorf("read the row of an event: %w", err)
	}
	row := make([]value, len(s.shape.filled))
	for i, name := range s.shape.filled {
		text, has := fields[name]
		switch {
		case !has && now != nil:
			row[i] = now[i]
		case has && text[0] == '"':
			row[i].text = new(string)
			if err := json.Unmarshal(text, row[i].text); err != nil {
				return nil, fmt.Errorf("read the row of an event: %w", err)
			}
		case has && string(text) != "null":
			row[i].text = new(string(text))
		}
	}
	return row, nil
}
