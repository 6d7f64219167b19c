package compare

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
)

// serverAbove is the provider's side. Where columns of the subscriber have other names
// or values, it is a query that gives them these, as the copy does.
func serverAbove(tx *pg.Tx, r *relation, p *point) (*server, error) {
	if !p.table.Maps() {
		return &server{tx: tx, relation: r, where: p.table.Selected()}, nil
	}
	filled, err := p.table.Fill(r.Relation, p.subscriber.Relation)
	if err != nil {
		return nil, fmt.Errorf("subscriber: %w", err)
	}
	seen := &relation{Relation: &replay.Relation{Partitioned: r.Partitioned}, name: r.name, places: map[string]string{}, encoding: r.encoding}
	var texts []string
	used := map[string]bool{}
	for _, f := range filled {
		c := *f.Column
		c.KeyPlace = 0
		if f.Origin != nil {
			used[f.Origin.Name] = true
			c.Type, c.Base, c.KeyPlace = f.Origin.Type, f.Origin.Base, f.Origin.KeyPlace
			seen.places[c.Name] = r.places[f.Origin.Name]
		}
		seen.Columns, texts = append(seen.Columns, c), append(texts, f.SQL+" as "+sql.Ident(c.Name))
	}
	for _, c := range r.Columns { // those that have no place here are only mentioned
		here := p.table.Here(c.Name)
		if used[c.Name] || here == "" || p.table.Transform[here] != "" {
			continue
		}
		texts = append(texts, "r."+sql.Ident(c.Name)+" as "+sql.Ident(here))
		c.Name = here
		seen.Columns = append(seen.Columns, c)
	}
	view := "select " + strings.Join(texts, ", ") + " from " + r.From(r.name) + " r"
	if p.table.Selected() != "" {
		view += " where (\n" + p.table.Selected() + "\n)"
	}
	return &server{tx: tx, relation: seen, view: view}, nil
}

// ignoredHere are the columns that are not replicated, as the subscriber calls them.
func ignoredHere(t *replay.Table, columns []string) []string {
	var all []string
	for _, c := range columns {
		all = append(all, t.Here(c))
	}
	return all
}

// mapped gives the rows of events the columns that the subscriber has.
func (p *point) mapped(ctx context.Context, changes []change) ([]change, error) {
	if !p.table.Maps() {
		return changes, nil
	}
	made, err := p.transformed(ctx, changes)
	if err != nil {
		return nil, err
	}
	for i := range changes {
		var row map[string]json.RawMessage
		if err := json.Unmarshal(changes[i].row, &row); err != nil {
			return nil, fmt.Errorf("read the row of an event: %w", err)
		}
		here := map[string]json.RawMessage{}
		for name, value := range row {
			if to := p.table.Here(name); to != "" && p.table.Transform[to] == "" {
				here[to] = value
			}
		}
		if made != nil {
			maps.Copy(here, made[i])
		}
		if changes[i].row, err = json.Marshal(here); err != nil {
			return nil, fmt.Errorf("map the row of an event: %w", err)
		}
	}
	return changes, nil
}

// transformed evaluates the expressions over the rows of events, as texts.
func (p *point) transformed(ctx context.Context, changes []change) ([]map[string]json.RawMessage, error) {
	if len(p.table.Transform) == 0 || len(changes) == 0 {
		return nil, nil
	}
	source, err := replay.Describe(ctx, p.provider.tx, p.provider.name)
	if err != nil {
		return nil, err
	}
	filled, err := p.table.Fill(source, p.subscriber.Relation)
	if err != nil {
		return nil, err
	}
	var declared, read, made []string
	for _, c := range source.Columns {
		declared = append(declared, sql.Ident(c.Name)+" text")
		read = append(read, sql.Ident(c.Name)+"::"+c.Type+" as "+sql.Ident(c.Name))
	}
	for _, f := range filled {
		if f.Origin == nil {
			made = append(made, sql.Literal(f.Column.Name)+"::text, ("+f.SQL+")::text")
		}
	}
	var all []map[string]json.RawMessage
	for part := range slices.Chunk(changes, 5000) {
		rows := make([]json.RawMessage, len(part))
		for i, c := range part {
			rows[i] = c.row
		}
		list, err := json.Marshal(rows)
		if err != nil {
			return nil, fmt.Errorf("evaluate transforms: %w", err)
		}
		texts, err := pg.Rows[string](ctx, p.provider.tx, "select pg_catalog.json_build_object("+strings.Join(made, ", ")+")::text from (select "+
			strings.Join(read, ", ")+" from pg_catalog.json_to_recordset($1::text::json) as j("+strings.Join(declared, ", ")+")) r", string(list))
		if err != nil {
			return nil, fmt.Errorf("evaluate transforms over the rows of events: %w", err)
		}
		for _, text := range texts {
			var row map[string]json.RawMessage
			if err := json.Unmarshal([]byte(text), &row); err != nil {
				return nil, fmt.Errorf("evaluate transforms: %w", err)
			}
			all = append(all, row)
		}
	}
	return all, nil
}
