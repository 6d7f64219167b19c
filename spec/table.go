package spec

import (
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// A Table is a replicated table, or a pattern that stands for several.
type Table struct {
	Head
	On     map[string]OnNode `json:"on"` // by node; empty: every node but the root
	Create Create            `json:"create"`
	Copy   Copy              `json:"copy"`

	Copying Copying `json:"copying,omitzero"` // unless Copy is no

	Merge  Merge    `json:"merge,omitempty"`
	Ignore []string `json:"ignore"`
	Backup bool     `json:"backup"`
	Level  Level    `json:"level"`
	State  State    `json:"state"`
	Handling
}

// OnNode is what differs on one node.
type OnNode struct {
	Head
	Where string `json:"where"`
	As    string `json:"as"`

	Columns   map[string]string `json:"columns,omitempty"`   // the root's column -> its name there; empty: left out
	Transform map[string]string `json:"transform,omitempty"` // column there -> SQL expression over the root's row
	Handling
}

// Alters reports whether the rows on the node are other than the root's.
func (o *OnNode) Alters() bool { return o.Where != "" || len(o.Columns) > 0 || len(o.Transform) > 0 }

func (t *Table) about() string { return "A table whose rows follow the root's." }

func (t *Table) fields() []Field[Table] {
	return append([]Field[Table]{
		{Name: "on", Doc: "The nodes that hold the table beside the root: a list, or a mapping from node to what differs there.", Default: "every node",
			Example: `{report: {where: "region = 'eu'"}}`, Into: func(t *Table) any { return onNodes{&t.On} }},
		{Name: "create", Doc: "What to do where the table is missing. table: make its columns and primary key like the provider's; full: also defaults, constraints, indexes and owned sequences; no: refuse.",
			Default: "no", Example: "full", Into: func(t *Table) any { return &t.Create }},
		{Name: "copy", Doc: "no: the subscriber has the same rows already; only changes are replayed. Or how rows are copied: {from, rate, indexes}.", Default: "yes", Example: "{rate: 20MB}",
			Into: func(t *Table) any { return copyOf{t} }},
		{Name: "merge", Doc: "Where a leaf's database gets the table from several queues. all: their rows come together, and no copy takes away those of another. none: all of them write the same rows, of which one is copied at most (copy: no for the others).",
			Default: "the queue is the table's only source", Example: "all", Into: func(t *Table) any { return &t.Merge }},
		{Name: "ignore", Doc: "Columns that are not replicated after the copy.", Example: "[search_text]",
			Into: func(t *Table) any { return &t.Ignore }},
		{Name: "backup", Doc: "Put the old row of an update into ev_extra2.", Default: "false", Example: "true",
			Into: func(t *Table) any { return &t.Backup }},
		levelField(func(t *Table) *Level { return &t.Level }),
		{Name: "state", Doc: "absent: stop replicating it everywhere; no rows are deleted.", Default: "present", Example: "absent", Hazard: "drops-table",
			Into: func(t *Table) any { return &t.State }},
	}, handlingFields(func(t *Table) *Handling { return &t.Handling })...)
}

func (o *OnNode) about() string { return "What differs on one node." }

func (o *OnNode) fields() []Field[OnNode] {
	return append([]Field[OnNode]{
		{Name: "where", Doc: "SQL condition over the row: only matching rows are copied and replayed.", Example: `"region = 'eu'"`,
			Hazard: "recopies-table", Into: func(o *OnNode) any { return &o.Where }},
		{Name: "as", Doc: "The table's name on that node.", Example: "eu.orders", Catalog: "londiste.table_info.dest_table",
			Into: func(o *OnNode) any { return relationOf{&o.As} }},
		{Name: "columns", Doc: "Columns that have another name there: the root's to theirs. A column mapped to nothing is left out; all others keep their names, or are left out too with \"*\": (nothing).",
			Example: "{mail: email, notes: }", Hazard: "recopies-table", Into: func(o *OnNode) any { return textMap{&o.Columns, "columns", true} }},
		{Name: "transform", Doc: "Columns there that are filled by an SQL expression over the root's row, with the root's names and types. The copy and the replay evaluate it, so it must mean the same on both servers: immutable functions only.",
			Example: `{email: "lower(mail)"}`, Hazard: "recopies-table", Into: func(o *OnNode) any { return textMap{&o.Transform, "transform", false} }},
	}, handlingFields(func(o *OnNode) *Handling { return &o.Handling })...)
}

// Args are the table's capture options as trigger arguments.
func (t *Table) Args() []string { return triggerArgs(t.Level, t.Ignore, nil, "", t.Backup) }

// Pattern reports whether the name stands for all tables that match it.
func (t *Table) Pattern() bool { return strings.ContainsAny(t.Name, "*?") }

// onNodes reads a list of nodes, or a mapping from nodes to their differences.
type onNodes struct{ into *map[string]OnNode }

func (o onNodes) shape() shape {
	var zero OnNode
	return shape{kind: "map", doc: zero.about(), fields: describe[OnNode, *OnNode](), entries: 1, oneOf: []string{"text", "list"}}
}

func (o onNodes) decode(d *decoder, n *yaml.Node) {
	if n = d.follow(n); n == nil {
		return
	}
	*o.into = map[string]OnNode{}
	switch {
	case n.Tag == "!!null": // said below
	case n.Kind == yaml.MappingNode:
		var all Named[OnNode]
		namedOf[OnNode, *OnNode]{&all, "on", nil}.decode(d, n)
		for _, each := range all {
			(*o.into)[each.Name] = each
		}
	default:
		d.names(&yaml.Node{Value: "on"}, n, func(item *yaml.Node, name string) {
			(*o.into)[name] = OnNode{Head: Head{Name: name, At: d.at(item)}}
		})
	}
	if len(*o.into) == 0 {
		d.fail(n, "empty-list", "on: no node is named; leave the key out for every node, or write state: absent")
	}
	for _, name := range slices.Sorted(maps.Keys(*o.into)) {
		at := (*o.into)[name].At
		d.refer(&yaml.Node{Kind: yaml.ScalarNode, Value: name, Line: at.Line, Column: at.Column}, "node", name)
	}
}

// textMap reads a mapping from names to texts.
type textMap struct {
	into  *map[string]string
	key   string
	empty bool // a text may be missing
}

func (m textMap) shape() shape {
	s := shape{kind: "textmap", entries: 1}
	if m.empty {
		s.oneOf = []string{"null"}
	}
	return s
}

func (m textMap) decode(d *decoder, n *yaml.Node) {
	all := map[string]string{}
	d.each(n, func(key, value *yaml.Node) {
		if key.Value == "" || strings.ContainsRune(key.Value, 0) {
			d.fail(key, "empty-name", "%s: a column needs a name", m.key)
			return
		}
		if v := d.follow(value); m.empty && v != nil && v.Tag == "!!null" {
			all[key.Value] = ""
			return
		}
		before, text := len(d.problems), ""
		d.value(&yaml.Node{Value: m.key + ": " + key.Value}, value, &text)
		if len(d.problems) == before && !m.empty && strings.TrimSpace(text) == "" {
			d.fail(value, "empty-value", "%s: %s: the value is missing", m.key, key.Value)
		}
		all[key.Value] = text
	})
	if len(all) == 0 {
		d.fail(n, "empty-list", "%s: nothing is named; leave the key out", m.key)
	}
	*m.into = all
}

// relationOf reads the name of a table.
type relationOf struct{ into *string }

func (r relationOf) shape() shape { return shape{kind: "text"} }

func (r relationOf) decode(d *decoder, n *yaml.Node) {
	if n = d.follow(n); n == nil {
		return
	}
	var name string
	if d.value(&yaml.Node{Value: "as"}, n, &name); name != "" && relationName(d, n) {
		*r.into = name
	}
}

// Create says what apply does about a table that is missing on a subscriber.
type Create string

// The ways to create a table.
const (
	CreateNo    Create = ""
	CreateTable Create = "table"
	CreateFull  Create = "full"
)

func (c *Create) choices() []string { return []string{"no", "table", "full"} }

func (c *Create) set(s string) {
	if *c = Create(s); s == "no" {
		*c = CreateNo
	}
}

// Copy says whether a new table's rows are copied.
type Copy string

// The ways to begin.
const (
	CopyYes Copy = ""
	CopyNo  Copy = "no"
)

func (c *Copy) choices() []string { return []string{"yes", "no"} }

func (c *Copy) set(s string) {
	if *c = Copy(s); s == "yes" {
		*c = CopyYes
	}
}

// A Sequence is a replicated sequence.
type Sequence struct {
	Head
	State State `json:"state"`
}

func (s *Sequence) about() string { return "A sequence whose values follow the root's." }

func (s *Sequence) fields() []Field[Sequence] {
	return []Field[Sequence]{
		{Name: "state", Doc: "absent: stop replicating it.", Default: "present", Example: "absent", Into: func(s *Sequence) any { return &s.State }},
	}
}

// sequenceList reads a list of names, or a mapping from names to options.
type sequenceList struct{ into *Named[Sequence] }

func (l sequenceList) shape() shape {
	var zero Sequence
	return shape{kind: "map", doc: zero.about(), fields: describe[Sequence, *Sequence](), oneOf: []string{"null", "list"}}
}

func (l sequenceList) decode(d *decoder, n *yaml.Node) {
	if n = d.follow(n); n == nil {
		return
	}
	if n.Kind == yaml.SequenceNode { // the same thing as a mapping to nothing
		as := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: n.Line, Column: n.Column}
		for _, item := range n.Content {
			as.Content = append(as.Content, item, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: item.Line, Column: item.Column})
		}
		n = as
	}
	namedOf[Sequence, *Sequence]{l.into, "sequence", relationName}.decode(d, n)
}
