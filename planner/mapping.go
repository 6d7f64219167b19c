package planner

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql/londiste"
)

// readColumns takes which columns a node has. A handler that stays as it is says nothing of
// them here.
func (t *tableState) readColumns(attrs londiste.Dict) (err error) {
	if _, stays := t.Attrs[londiste.AttrHandler]; stays {
		attrs = maps.Clone(attrs)
		delete(attrs, londiste.AttrHandler)
	}
	t.Columns, err = londiste.ParseColumns(attrs)
	return err
}

// readMapping takes one of the attributes that say how columns are computed.
func (t *tableState) readMapping(key, text string) error {
	d, err := londiste.ParseDict(text)
	if err != nil {
		return fmt.Errorf("table attribute %s: %w", key, err)
	}
	if key == londiste.AttrTransform {
		t.Compute = d.Texts()
	} else {
		t.Types = d.Texts()
	}
	return nil
}

// writeMapping is the opposite of readMapping.
func (t *tableState) writeMapping(d londiste.Dict) {
	for key, texts := range map[string]map[string]string{
		londiste.AttrColumns: t.Columns, londiste.AttrTransform: t.Compute, londiste.AttrTypes: t.Types,
	} {
		if len(texts) > 0 {
			d.Set(key, londiste.DictOf(texts).String())
		}
	}
}

// mapColumns asks for the columns that the YAML names. The types of those that its SQL
// may speak of come from the root; where that cannot be read, what is recorded stays.
func (t *tableState) mapColumns(s *Scene, q *spec.Queue, name string, on spec.OnNode, have tableState) {
	if len(on.Columns) > 0 {
		t.Columns = on.Columns
	}
	if len(on.Transform) == 0 {
		return
	}
	t.Compute, t.Types = on.Transform, have.Types
	source, ok := structureOf(s, q.Home(), name)
	if !ok {
		return
	}
	t.Types = nil
	text := on.Where + "\n" + strings.Join(slices.Sorted(maps.Values(on.Transform)), "\n")
	for _, c := range source.Columns {
		if mentions(text, c.Name) && builtin(c.Type) {
			if t.Types == nil {
				t.Types = map[string]string{}
			}
			t.Types[c.Name] = c.Type
		}
	}
}

// mentions reports whether SQL may speak of a column: too often is harmless.
func mentions(text, column string) bool {
	return strings.Contains(strings.ToLower(text), strings.ToLower(strings.ReplaceAll(column, `"`, `""`)))
}

// builtin reports a type that every server has: others are printed with their schema.
func builtin(typ string) bool { return !strings.Contains(typ, ".") }

// refuseMapping says why a node cannot have the columns that the YAML asks for. Exists
// tells whether the table is there already, as local.
func refuseMapping(t *spec.Table, name string, n *spec.Node, source, local table, exists bool) *Diagnostic {
	on := t.On[n.Name]
	key := source.PrimaryKey.Columns
	here := func(column string) string { return londiste.Here(on.Columns, column) }
	came := map[string]string{} // by the name here
	for _, c := range source.columns() {
		to := here(c)
		switch before, taken := came[to]; {
		case to == "":
		case taken:
			return &Diagnostic{Code: "mapped-twice", Message: fmt.Sprintf("columns %s and %s of %s both become %s on %s", before, c, name, to, n.Name),
				Try: "leave one of them out (" + before + ": null), or give it another name"}
		default:
			came[to] = c
		}
	}
	for _, column := range key {
		if here(column) == "" {
			return &Diagnostic{Code: "needs-key", Message: fmt.Sprintf("column %s of %s is in the primary key and cannot be left out: nobody could say which row an update means", column, name)}
		}
	}
	for _, column := range slices.Sorted(maps.Keys(on.Columns)) {
		to := on.Columns[column]
		switch {
		case column == londiste.Others && to == "":
			if !exists && t.Create == spec.CreateFull {
				return renamedFull(name, n)
			}
		case !source.has(column):
			return &Diagnostic{Code: "no-column", Message: fmt.Sprintf("columns: table %s has no column %s on the root", name, column), Try: near(column, source.columns())}
		case to != "" && exists && !local.has(to):
			return &Diagnostic{Code: "no-column", Message: fmt.Sprintf("columns: table %s has no column %s on %s", local.Name, to, n.Name), Try: near(to, local.columns())}
		case to != column && !exists && t.Create == spec.CreateFull:
			return renamedFull(name, n)
		}
	}
	for _, column := range slices.Sorted(maps.Keys(on.Transform)) {
		at := slices.IndexFunc(local.Columns, func(c londiste.Column) bool { return c.Name == column })
		switch {
		case slices.Contains(key, came[column]):
			return &Diagnostic{Code: "needs-key", Message: fmt.Sprintf("column %s of %s is in the primary key and cannot have a transform: updates would not find its rows", column, name),
				Try: "transform the column on the root, or leave the key as it is"}
		case exists && at < 0:
			return &Diagnostic{Code: "no-column", Message: fmt.Sprintf("transform: table %s has no column %s on %s", local.Name, column, n.Name), Try: near(column, local.columns())}
		case exists && local.Columns[at].Generated != "":
			return &Diagnostic{Code: "generated-column", Message: fmt.Sprintf("transform: column %s of %s is generated on %s", column, local.Name, n.Name)}
		case !exists && t.Create != spec.CreateNo && came[column] == "":
			return &Diagnostic{Code: "no-column", Message: fmt.Sprintf("transform: nobody knows which type column %s of %s has on %s", column, name, n.Name), Try: "create the table there by hand"}
		}
	}
	return nil
}

func renamedFull(name string, n *spec.Node) *Diagnostic {
	return &Diagnostic{Code: "renamed-full", Message: fmt.Sprintf("table %s cannot be created in full on %s with other columns: indexes and constraints name them", name, n.Name),
		Try: "write create: table, or create it by hand"}
}

// mappedStructure is what the root's table looks like with the columns that a node has.
// Expressions are left out: they may name columns.
func mappedStructure(source londiste.Structure, w *tableState) londiste.Structure {
	if len(w.Columns) == 0 {
		return source
	}
	here := func(column string) string { return londiste.Here(w.Columns, column) }
	var columns []londiste.Column
	for _, c := range source.Columns {
		if c.Name = here(c.Name); c.Name != "" {
			c.Default, c.Generated = "", ""
			columns = append(columns, c)
		}
	}
	source.Columns = columns
	if source.PrimaryKey != nil {
		key := londiste.PrimaryKey{Name: source.PrimaryKey.Name, Columns: slices.Clone(source.PrimaryKey.Columns)}
		for i, c := range key.Columns {
			key.Columns[i] = here(c)
		}
		source.PrimaryKey = &key
	}
	return source
}
