package planner

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pgq"
)

// tableState is what is compared of a replicated table on one node. How far its
// copy is, is progress and not compared.
type tableState struct {
	Dest    string            `json:"dest,omitempty"` // its name here, when it is another
	Where   string            `json:"where,omitempty"`
	Columns map[string]string `json:"columns,omitempty"`   // the root's name -> its name here; empty: left out
	Compute map[string]string `json:"transform,omitempty"` // column here -> SQL over the root's row
	Types   map[string]string `json:"types,omitempty"`     // of the root's columns that the SQL speaks of
	londiste.Handling
	root     bool
	Attrs    map[string]string `json:"attrs,omitempty"` // other attributes, such as a handler
	Args     []string          `json:"args"`            // options of the trigger
	Triggers string            `json:"triggers"`        // capture, deny (leaf), none, or what is wrong with them
}

// Attributes that skytools gives a meaning to. Those of the original keep theirs.
// Source: contract/londiste.md section 1.5.
const (
	attrWhere    = londiste.AttrWhere
	attrCopyNode = "copy_node"
)

var tableKind = Kind[tableState]{
	Name:     "table",
	Catalog:  londiste.Tables,
	Read:     readTable,
	Declared: declaredTables,
	Steps:    tableSteps,
	Needs:    tableNeeds,
	Recreate: recopies,
	Hazards:  tableHazards,
	Notes:    tableNotes,
	Hidden:   isMerged,
	Adopt:    adoptTable,
}

// recopies reports a change after which the rows here are not those that belong
// here.
func recopies(o Object[tableState]) bool {
	return o.Have != nil && o.Want != nil && !o.Want.root && o.Want.Fills() && (!o.Have.Fills() || o.Have.Where != o.Want.Where || o.Have.Dest != o.Want.Dest ||
		!sameRows(o.Have.Shard, o.Want.Shard) || !reflect.DeepEqual(o.Have.Mask, o.Want.Mask) || !maps.Equal(o.Have.Columns, o.Want.Columns) || !maps.Equal(o.Have.Compute, o.Want.Compute))
}

func readTable(raw json.RawMessage) (string, tableState, bool, error) {
	var row londiste.Table
	if err := json.Unmarshal(raw, &row); err != nil || !row.Local {
		return row.Queue + "/" + row.Name, tableState{}, false, err
	}
	t := tableState{Attrs: map[string]string{}, Args: []string{}, Triggers: "none"}
	if row.Dest != row.Name {
		t.Dest = row.Dest
	}
	t.readHandling(row.Attrs)
	if err := t.readColumns(row.Attrs); err != nil {
		return row.Queue + "/" + row.Name, tableState{}, false, err
	}
	for key, value := range row.Attrs {
		switch {
		case key == attrWhere && value != nil:
			t.Where = *value
		case slices.Contains(t.Handling.Attrs(), key): // read together
		case key == londiste.AttrColumns: // read together
		case key == londiste.AttrTransform || key == londiste.AttrTypes:
			if err := t.readMapping(key, row.Attrs.Get(key)); err != nil {
				return row.Queue + "/" + row.Name, tableState{}, false, err
			}
		case key == attrCopyNode: // where to copy from says nothing about what is there
		case value == nil:
			t.Attrs[key] = ""
		default:
			t.Attrs[key] = *value
		}
	}
	fires := map[string]bool{}
	for _, trigger := range row.Triggers {
		for _, event := range trigger.Events {
			fires[event] = fires[event] || trigger.Enabled
		}
		if !slices.Contains(trigger.Events, "truncate") && t.Triggers != "disabled" {
			t.Args, t.Triggers = triggerOptions(row, trigger)
		}
	}
	t.plainArgs()
	wanted := []string{"truncate"}
	if slices.Contains(t.Args, pgq.Statement) { // a trigger for each
		wanted = append(wanted, "insert", "update", "delete")
	}
	for _, event := range wanted {
		if t.Triggers == "capture" && !fires[event] {
			t.Triggers = "capture, but no " + event
		}
	}
	return row.Queue + "/" + row.Name, t, true, nil
}

// triggerOptions separates what the YAML asked for from what registration adds.
// Source: contract/londiste.md section 1.6.
func triggerOptions(row londiste.Table, t londiste.Trigger) (args []string, kind string) {
	args, kind = []string{}, "capture"
	for _, arg := range t.Args[min(1, len(t.Args)):] {
		switch {
		case arg == "deny":
			kind = "deny"
		case row.Dest != row.Name && arg == "ev_extra1="+sql.Literal(row.Name):
		default:
			args = append(args, arg)
		}
	}
	switch {
	case !t.Enabled:
		kind = "disabled"
	case t.Generated && !t.IsCurrent:
		kind = "outdated"
	}
	return args, kind
}

func declaredTables(s *Scene) []Declared[tableState] {
	var all []Declared[tableState]
	for i := range s.Set.Queues {
		q := &s.Set.Queues[i]
		for j := range q.Tables {
			t := &q.Tables[j]
			for _, name := range expand(s, q, t) {
				for k := range q.Nodes {
					if d, ok := declareTable(s, q, t, name, &q.Nodes[k]); ok {
						all = append(all, d)
					}
				}
			}
		}
	}
	return all
}

// holds reports whether a node has a table.
func holds(t *spec.Table, n *spec.Node) bool {
	_, named := t.On[n.Name]
	return n.Type == spec.Root || len(t.On) == 0 || named
}

func declareTable(s *Scene, q *spec.Queue, t *spec.Table, name string, n *spec.Node) (Declared[tableState], bool) {
	d := Declared[tableState]{Database: n.Name, Name: q.Name + "/" + name, At: t.At}
	if !holds(t, n) || s.isDead(n.Name) {
		return d, false
	}
	if t.State == spec.Absent || n.State == spec.Absent || q.State == spec.Absent {
		return d, true
	}
	have := objects(s, n.Name, "table", readTable)[d.Name]
	w := tableState{Where: t.On[n.Name].Where, Attrs: map[string]string{}, Args: t.Args(), Triggers: "capture"}
	if as := t.On[n.Name].As; as != name {
		w.Dest = as
	}
	w.mapColumns(s, q, name, t.On[n.Name], have)
	w.root, w.Handling = n.Type == spec.Root, wantedHandling(t.How(n.Name), n.Type == spec.Root)
	w.Args = append(w.Args, w.TriggerArgs()...)
	for key, value := range have.Attrs { // handlers and the like, which the YAML does not speak of
		if keepsAttr(key, &w) {
			w.Attrs[key] = value
		}
	}
	copyAttrs(w.Attrs, t, n)
	if n.Type == spec.Leaf {
		w.Args, w.Triggers = have.Args, "deny"
		if have.Triggers == "none" { // registered without triggers, which a leaf may be
			w.Triggers = "none"
		}
	}
	if !w.Needs() {
		w.Args, w.Triggers = nil, "none"
	}
	w.Args = notNil(w.Args)
	d.Want = &w
	d.Refuse = refuseTable(s, q, t, name, n, &w)
	if d.Refuse == nil {
		d.Refuse = refuseUnmasked(have, w, name, n)
	}
	if n.Type == spec.Leaf && d.Refuse == nil {
		d.Refuse = refuseSources(s, q, t, name, n, &w)
	}
	if _, there := objects(s, n.Name, "table", readTable)[d.Name]; there && d.Refuse == nil {
		d.Refuse = refuseResync(s, q, name, n, Object[tableState]{Declared: d, Have: &have})
	}
	return d, true
}

// refuseTable says why a table cannot be replicated to a node.
func refuseTable(s *Scene, q *spec.Queue, t *spec.Table, name string, n *spec.Node, w *tableState) *Diagnostic {
	dest := w.Dest
	db, root := s.database(n.Name), s.database(q.Home())
	if !db.reached() || !root.reached() || db.Unreadable[structures.Kind] != "" {
		return nil
	}
	source, ok := structureOf(s, q.Home(), name)
	if !ok {
		return &Diagnostic{Code: "no-table", Message: fmt.Sprintf("table %s does not exist on the root, %s", name, q.Home()), Try: nearestTable(s, q.Home(), name)}
	}
	if source.PrimaryKey == nil {
		return &Diagnostic{Code: "no-primary-key", Message: fmt.Sprintf("table %s has no primary key on %s: nobody could say which row an update means", name, q.Home()),
			Try: "alter table " + sql.ParseName(name).Ident() + " add primary key (...)"}
	}
	if refused := refuseLevel(s, q.Home(), name, t.Level); refused != nil && n.Type == spec.Root {
		return refused
	}
	if from := copySource(q, t, n); from != "" && n.Type != spec.Root && !holds(t, q.Nodes.Get(from)) {
		return &Diagnostic{Code: "no-table", Message: fmt.Sprintf("table %s cannot be copied from %s, which does not hold it", name, from),
			Try: "name a node that on: lists, or the root"}
	}
	for _, column := range t.Ignore {
		if !source.has(column) {
			return &Diagnostic{Code: "no-column", Message: "table " + name + " has no column " + column, Try: near(column, source.columns())}
		}
	}
	if !w.Needs() {
		return nil
	}
	local, ok := structureOf(s, n.Name, orName(dest, name))
	if w.Parts != nil {
		if err := w.Parts.Check(); err != nil {
			return &Diagnostic{Code: "bad-parts", Message: err.Error(), Try: "skytools explain table.apply.parts.create"}
		}
	}
	if refused := refuseMask(w.Mask, name, source); refused != nil {
		return refused
	}
	if refused := refuseMapping(t, name, n, source, local, ok); refused != nil {
		return refused
	}
	if !ok && t.Create == spec.CreateNo {
		return &Diagnostic{Code: "no-table", Message: fmt.Sprintf("table %s does not exist on %s", orName(dest, name), n.Name),
			Try: "write create: full (or table) to have it made like the provider's"}
	}
	if ok && local.PrimaryKey == nil && !s.rebuilding(n.Name, q.Name, name) {
		return &Diagnostic{Code: "no-primary-key", Message: fmt.Sprintf("table %s has no primary key on %s", orName(dest, name), n.Name),
			Try: "alter table " + sql.ParseName(orName(dest, name)).Ident() + " add primary key (...)"}
	}
	return nil
}

// rebuilding reports a table whose copy will make its indexes again.
func (s *Scene) rebuilding(database, queue, name string) bool {
	return slices.ContainsFunc(s.database(database).rows("table"), func(raw json.RawMessage) bool {
		var row londiste.Table
		return json.Unmarshal(raw, &row) == nil && row.Queue == queue && row.Name == name && row.Rebuilding
	})
}

func orName(dest, name string) string {
	if dest != "" {
		return dest
	}
	return name
}

// supplier is the nearest node upstream that holds the table as the root does; the
// root itself is one.
func supplier(q *spec.Queue, t *spec.Table, n *spec.Node) *spec.Node {
	for up := q.Nodes.Get(n.Provider); up != nil; up = q.Nodes.Get(up.Provider) {
		on := t.On[up.Name]
		if h := wantedHandling(t.How(up.Name), false); holds(t, up) && (up.Type == spec.Root || !on.Alters() && h.Fills()) {
			return up
		}
	}
	return nil
}

// lookup finds a table's declaration, also behind a pattern.
func lookup(s *Scene, queue, name string) (*spec.Queue, *spec.Table) {
	q := s.Set.Queues.Get(queue)
	if q == nil {
		return nil, nil
	}
	return q, s.declaredIn(q)[name]
}

// declaredIn are the declarations of a queue's tables, by the tables' names.
func (s *Scene) declaredIn(q *spec.Queue) map[string]*spec.Table {
	type key struct{ declared string }
	if got, ok := s.cache[key{q.Name}]; ok {
		return got.(map[string]*spec.Table)
	}
	all := map[string]*spec.Table{}
	for i := range q.Tables {
		for _, name := range expand(s, q, &q.Tables[i]) {
			if all[name] == nil || !q.Tables[i].Pattern() { // its own name goes before a pattern
				all[name] = &q.Tables[i]
			}
		}
	}
	s.cache[key{q.Name}] = all
	return all
}

func tableNeeds(s *Scene, o Object[tableState]) []Address {
	queue, name := splitName(o.Name)
	needs := []Address{{"node", queue, o.Database}}
	q, t := lookup(s, queue, name)
	if t == nil {
		return needs
	}
	if up := supplier(q, t, q.Nodes.Get(o.Database)); up != nil {
		needs = append(needs, Address{"table", o.Name, up.Name})
	}
	dest := name
	if o.Want != nil {
		dest = orName(o.Want.Dest, name)
	}
	if first := s.maker(o.Database, dest); first != nil && first.queue != q {
		needs = append(needs, Address{"table", first.String(), o.Database})
	}
	return append(needs, mergeNeeds(s, q, q.Nodes.Get(o.Database), name, dest)...)
}

func tableSteps(s *Scene, o Object[tableState]) []Draft[tableState] {
	queue, name := splitName(o.Name)
	if o.Want == nil {
		return []Draft[tableState]{{Title: "stop replicating", Gone: true, Do: []sql.Stmt{londiste.LocalRemoveTable(queue, name)}}}
	}
	q, t := lookup(s, queue, name)
	n := q.Nodes.Get(o.Database)
	add := addTable(s, q, t, name, n, o.Want)
	switch {
	case o.Have == nil:
		do, title := createMissing(s, q, t, name, n, o.Want), "register"
		if len(do) > 0 {
			title = "create and register"
		}
		if n.Type != spec.Root {
			do = append(do, londiste.GlobalAddTable(queue, name)) // the root's event may still be on its way
		}
		return []Draft[tableState]{{Title: title, Do: append(do, add), StatementTimeout: 300_000}}
	case recopies(o) || o.Have.Needs() != o.Want.Needs():
		do := append([]sql.Stmt{londiste.LocalRemoveTable(queue, name)}, createMissing(s, q, t, name, n, o.Want)...)
		title := "copy again"
		if !o.Want.Fills() {
			title = "register again"
		}
		return []Draft[tableState]{{Title: title, Do: append(do, londiste.GlobalAddTable(queue, name), add)}}
	}
	if o.Have.Triggers == o.Want.Triggers && slices.Equal(o.Have.Args, o.Want.Args) {
		return []Draft[tableState]{{Title: "change attributes", Do: []sql.Stmt{londiste.SetTableAttrs(queue, name, attrs(q, t, n, o.Want))}}}
	}
	return []Draft[tableState]{{Title: "renew triggers", Do: []sql.Stmt{londiste.LocalChangeHandler(queue, name, slices.Concat(o.Want.Args, o.Want.AddArgs()), attrs(q, t, n, o.Want))}}}
}

func addTable(s *Scene, q *spec.Queue, t *spec.Table, name string, n *spec.Node, w *tableState) sql.Stmt {
	args := slices.Concat(w.Args, w.AddArgs())
	if t.Copy == spec.CopyNo && n.Type != spec.Root {
		args = append(args, "expect_sync")
	}
	if t.Merge != spec.MergeUnsaid && n.Type == spec.Leaf && !slices.Contains(args, "no_merge") { // the others are registered by steps of their own
		args = append(args, "no_merge")
	}
	return londiste.LocalAddTable(q.Name, name, londiste.AddTable{Args: args, Attrs: attrs(q, t, n, w), Dest: w.Dest})
}

// attrs are the stored attributes. Where the provider does not hold the table as the
// root does, the copy has to look for it further upstream.
func attrs(q *spec.Queue, t *spec.Table, n *spec.Node, w *tableState) londiste.Dict {
	d := londiste.Dict{}
	for key, value := range w.Attrs {
		d[key] = &value
	}
	if w.Where != "" {
		d[attrWhere] = &w.Where
	}
	w.writeMapping(d)
	w.Handling.Write(d)
	if from := copySource(q, t, n); from != "" && from != n.Provider {
		d.Set(attrCopyNode, from)
	} else if up := supplier(q, t, n); up != nil && up.Name != n.Provider {
		d.Set(attrCopyNode, copyFrom(q, t, n, up))
	}
	return d
}

// createMissing is the DDL of a table that the node does not have.
func createMissing(s *Scene, q *spec.Queue, t *spec.Table, name string, n *spec.Node, w *tableState) []sql.Stmt {
	dest := orName(w.Dest, name)
	if _, ok := structureOf(s, n.Name, dest); ok || t.Create == spec.CreateNo || n.Type == spec.Root || !w.Needs() {
		return nil
	}
	if first := s.maker(n.Name, dest); first != nil && first.queue != q {
		return nil
	}
	source, ok := structureOf(s, q.Home(), name)
	if !ok {
		return nil
	}
	mode := londiste.TableOnly
	if t.Create == spec.CreateFull {
		mode = londiste.Full
	}
	return londiste.CreateTable(mappedStructure(source.Structure, w), sql.ParseName(dest), mode)
}
