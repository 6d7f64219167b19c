// Package planner works out how to turn what is into what should be.
//
// It does no I/O and reads no clock and no environment: the same arguments always
// give the same plan. It knows every kind of object (kinds.go) and nothing of how
// statements are run or plans are printed.
//
// Three states meet here: what the YAML declares, what was last applied, and what
// is live. Plan compares the first with the last, drift the second with the last.
package planner

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql"
)

// Build returns the plan from live to set. It fails only when live is not what
// observing makes; everything a person can mend is a diagnostic in the plan.
func Build(set *spec.Set, live *Live, o Options) (*Plan, error) {
	b := survey(set, live, o)
	if len(b.broken) > 0 {
		return nil, fmt.Errorf("read the observation: %w", errors.Join(b.broken...))
	}
	return b.finish()
}

// survey looks at every kind.
func survey(set *spec.Set, live *Live, o Options) *builder {
	b := &builder{
		Scene:    &Scene{Set: set, Live: live, Options: o, cache: map[any]any{}},
		declared: map[Address]bool{}, hidden: map[Address]bool{}, seen: map[string]int{}, missing: map[Address]string{},
		steps: map[Address][]*Step{}, needs: map[*Step][]Address{}, follows: map[*Step][]Ref{}, labels: map[*Step]string{}, dropping: map[Address]bool{},
	}
	for _, k := range kinds {
		k.plan(b)
	}
	return b
}

// Addresses lists what the YAML declares, without looking at any database: tables
// behind a pattern are not among them. It is what shells complete.
func Addresses(set *spec.Set) []Address {
	live := &Live{Databases: map[string]*Database{}}
	for _, name := range set.Databases.Names() {
		live.Databases[name] = &Database{}
	}
	b := survey(set, live, Options{})
	return slices.SortedFunc(maps.Keys(b.declared), func(x, y Address) int { return strings.Compare(x.String(), y.String()) })
}

// Catalogs are the queries whose answers Build needs, in every database.
func Catalogs() []sql.Catalog {
	var all []sql.Catalog
	for _, k := range kinds {
		all = append(all, k.catalog())
	}
	return append(all, structures, sequenceNames)
}

// Find returns the state of one object among the catalog rows of its kind. The
// state of an object that is not there is empty.
func Find(a Address, rows []json.RawMessage) (State, error) {
	k := kindOf(a.Kind)
	if k == nil {
		return nil, fmt.Errorf("%s: there is no kind %q", a, a.Kind)
	}
	return k.find(rows, a.Name)
}

// FindAll returns the states of all objects among the catalog rows of a kind, by name.
func FindAll(kind string, rows []json.RawMessage) (map[string]State, error) {
	k, all := kindOf(kind), map[string]State{}
	for _, row := range rows {
		name, state, ok, err := k.read(row)
		if err != nil {
			return nil, fmt.Errorf("read a %s: %w", kind, err)
		}
		if ok {
			all[name] = state
		}
	}
	return all, nil
}

// StandbyCatalogs are those of Catalogs that a standby answers for itself. All others it
// has from its primary.
func StandbyCatalogs() []sql.Catalog {
	var all []sql.Catalog
	for _, k := range kinds {
		if k.afar() {
			all = append(all, k.catalog())
		}
	}
	return all
}

// CatalogOf is the query that finds objects of a kind.
func CatalogOf(name string) (sql.Catalog, bool) {
	k := kindOf(name)
	if k == nil {
		return sql.Catalog{}, false
	}
	return k.catalog(), true
}

func kindOf(name string) kind {
	for _, k := range kinds {
		if k.name() == name {
			return k
		}
	}
	return nil
}

// KindNames lists the kinds in the order of their steps.
func KindNames() []string {
	var names []string
	for _, k := range kinds {
		names = append(names, k.name())
	}
	return names
}

// builder gathers a plan.
type builder struct {
	*Scene
	declared    map[Address]bool
	hidden      map[Address]bool
	seen        map[string]int     // declared objects, by kind
	missing     map[Address]string // declared, but not observed: why
	steps       map[Address][]*Step
	needs       map[*Step][]Address
	follows     map[*Step][]Ref
	labels      map[*Step]string
	dropping    map[Address]bool
	order       []*Step // as added
	changes     []*Change
	unchanged   []Address
	orphans     []Orphan
	unmanaged   []Unmanaged
	diagnostics []Diagnostic
}

// observed reports whether the object's database could be read, and notes the
// object as unobserved otherwise.
func (b *builder) observed(a Address, at spec.Pos) bool {
	d := b.database(a.Database)
	why := d.Error
	if why == "" {
		why = d.Unreadable[a.Kind]
	}
	if applied := d.Unreadable["applied"]; why == "" && applied != "" { // it may be another cluster's
		why = "nobody can tell who owns it: " + applied
	}
	if why != "" {
		b.miss(a, at, why)
	}
	return why == ""
}

// blocked notes the object as unobserved when something that it needs could not
// be observed: nobody can tell then what the way to it is.
func (b *builder) blocked(a Address, at spec.Pos, needs []Address) bool {
	for _, n := range needs {
		if why, ok := b.missing[n]; ok {
			b.miss(a, at, "it needs "+n.String()+": "+why)
			return true
		}
	}
	return false
}

func (b *builder) miss(a Address, at spec.Pos, why string) {
	b.missing[a] = why
	b.changes = append(b.changes, &Change{Address: a, Kind: a.Kind, Name: a.Name, Node: a.Database, Action: Unobserved, Reason: "unreachable",
		Source: at, Fields: []Field{}, Hazards: []Hazard{}, Notes: []string{why}, StepIDs: []string{}})
}

func (b *builder) foreign(a Address, at spec.Pos, row Applied) {
	b.diagnostics = append(b.diagnostics, Diagnostic{
		Severity: "error", Code: "other-owner", Address: a.String(), Source: at,
		Message: fmt.Sprintf("it belongs to cluster %q, applied %s by %s; two owners would undo each other's changes", row.Cluster, row.At.Format("2006-01-02"), row.By),
		Try:     "take it out of one of the two, then: skytools forget " + a.String(),
	})
}

// applied is the record of the last apply, or nil.
func (b *builder) applied(a Address) *Applied {
	all := b.appliedIn(a.Database)
	if row, ok := all[a.String()]; ok {
		return &row
	}
	return nil
}

func (s *Scene) appliedIn(database string) map[string]Applied {
	type key struct{ applied string }
	if got, ok := s.cache[key{database}]; ok {
		return got.(map[string]Applied)
	}
	all := map[string]Applied{}
	for _, row := range s.database(s.home(database)).Applied {
		a, err := ParseAddress(row.Address)
		k := kindOf(a.Kind)
		afar := err == nil && k != nil && k.afar()
		if afar && a.Database == database || !afar && s.home(database) == database {
			all[row.Address] = row
		}
	}
	s.cache[key{database}] = all
	return all
}

// found notes an object that exists and is not declared.
func (b *builder) found(hidden bool, a Address) {
	if hidden {
		b.hidden[a] = true
	}
	if b.declared[a] || hidden {
		return
	}
	if row := b.applied(a); row != nil {
		if row.Cluster == b.Set.Cluster {
			b.orphans = append(b.orphans, Orphan{Address: a, Hint: "declare it with state: absent to drop it, or keep it with: skytools forget " + a.String()})
		}
		return
	}
	b.unmanaged = append(b.unmanaged, Unmanaged{a, "skytools adopt " + a.String()})
}

// vanished notes records whose object has gone and is not declared.
func (b *builder) vanished() {
	known := map[Address]bool{}
	for _, o := range b.orphans {
		known[o.Address] = true
	}
	for _, database := range slices.Sorted(maps.Keys(b.Live.Databases)) {
		for _, text := range slices.Sorted(maps.Keys(b.appliedIn(database))) {
			a, err := ParseAddress(text)
			k := kindOf(a.Kind)
			if err != nil || k == nil || k.vital() || known[a] || b.database(database).Unreadable[a.Kind] != "" || b.hidden[a] || b.declared[a] || b.appliedIn(database)[text].Cluster != b.Set.Cluster {
				continue
			}
			b.orphans = append(b.orphans, Orphan{Address: a, Gone: true, Hint: "remove the record with: skytools forget " + a.String()})
		}
	}
}

// add adds a step of a change, with the objects it needs.
func (b *builder) add(c *Change, s *Step, needs []Address, drop bool) {
	b.steps[c.Address] = append(b.steps[c.Address], s)
	b.needs[s] = needs
	b.order = append(b.order, s)
	if drop {
		b.dropping[c.Address] = true
	}
}

// finish orders the steps, limits the plan to its scope and counts.
func (b *builder) finish() (*Plan, error) {
	b.vanished()
	b.twins()
	b.replication()
	b.settings()
	p := &Plan{
		Format: PlanFormat, Tool: b.Tool, MadeAt: b.Now.UTC().Truncate(1e9), Cluster: b.Set.Cluster,
		Spec:  SpecInfo{Root: b.Root, Files: len(b.Set.Files), Digest: "sha256:" + b.Set.Digest(), Revision: b.Revision},
		Scope: Scope{Only: notNil(b.Only), Nodes: notNil(b.Options.Nodes), Added: []Address{}}, Complete: true,
		Nodes: []Node{}, Changes: notNil(b.changes), Unchanged: notNil(b.unchanged), Orphans: notNil(b.orphans), Unmanaged: notNil(b.unmanaged), Diagnostics: []Diagnostic{},
	}
	steps, err := b.sorted()
	if err != nil {
		return nil, err
	}
	p.Steps = steps
	p.arrange()
	p.limit(b)
	p.guard(b.seen)
	b.describe(p)
	b.warn(p)
	allowed := approvals(b.Set, b.Allow, b.Now)
	for _, c := range p.Changes {
		approve(c, allowed)
	}
	p.count(b)
	p.seal()
	return p, nil
}

// twins refuses two names for one database: its objects would be planned twice.
func (b *builder) twins() {
	first := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(b.Live.Databases)) {
		d := b.Live.Databases[name]
		if !d.reached() || d.SystemID == "" || b.home(name) != name {
			continue
		}
		place := d.SystemID + " " + d.Name
		if other, twice := first[place]; twice {
			diagnostic := Diagnostic{Severity: "error", Code: "same-database", Address: name,
				Message: fmt.Sprintf("%s and %s lead to the same database, %s", other, name, d.Name), Try: "correct one of the two dsn"}
			if declared := b.Set.Database(name); declared != nil {
				diagnostic.Source = declared.At
			}
			b.diagnostics = append(b.diagnostics, diagnostic)
		}
		first[place] = name
	}
}

// arrange puts the changes into the order of their first steps; what has none
// comes last.
func (p *Plan) arrange() {
	first := map[Address]int{}
	for i, s := range p.Steps {
		if _, ok := first[s.Address]; !ok {
			first[s.Address] = i + 1
		}
	}
	rank := func(c *Change) int {
		if i, ok := first[c.Address]; ok {
			return i
		}
		return len(p.Steps) + 1
	}
	slices.SortStableFunc(p.Changes, func(x, y *Change) int { return rank(x) - rank(y) })
}

// describe lists the databases.
func (b *builder) describe(p *Plan) {
	for _, name := range slices.Sorted(maps.Keys(b.Live.Databases)) {
		d := b.Live.Databases[name]
		p.Nodes = append(p.Nodes, Node{Name: name, Server: d.Server, Database: d.Name, SystemID: d.SystemID, Primary: d.Primary, Reached: d.reached()})
		if !d.reached() && b.home(name) != name { // once it was there, it is an unobserved change as well
			p.Diagnostics = append(p.Diagnostics, Diagnostic{Severity: "note", Code: "no-standby-yet", Address: name, Message: d.Error, Try: d.Hint})
			continue
		}
		if !d.reached() {
			p.Complete = false
			p.Diagnostics = append(p.Diagnostics, Diagnostic{Severity: "warning", Code: "unreachable", Address: name, Message: d.Error, Try: d.Hint})
		}
		for _, kind := range slices.Sorted(maps.Keys(d.Unreadable)) {
			p.Complete = false
			p.Diagnostics = append(p.Diagnostics, Diagnostic{Severity: "warning", Code: "unreadable", Address: kind + "@" + name, Message: d.Unreadable[kind],
				Try: "grant what the command prints: skytools sql grants"})
		}
	}
}

// count fills in the summary, after ids have been given.
func (p *Plan) count(b *builder) {
	s := &p.Summary
	*s = Summary{Unmanaged: len(p.Unmanaged), Orphans: len(p.Orphans), Steps: len(p.Steps)}
	changed := 0
	for _, c := range p.Changes {
		changed++
		switch c.Action {
		case Create:
			s.Create++
		case Update:
			s.Update++
		case Recreate:
			s.Recreate++
		case Drop:
			s.Drop++
		case Adopt:
			s.Adopt++
		case Forget:
			s.Forget++
		case Unobserved:
			s.Unobserved++
			p.Complete = false
		}
		if slices.ContainsFunc(c.Hazards, func(h Hazard) bool { return h.AllowedBy == nil }) {
			s.Blocked++
		}
	}
	refused := 0
	for _, d := range p.Diagnostics {
		if d.Severity == "error" {
			refused++
		}
	}
	s.Unchanged = max(0, len(b.declared)-changed-p.Scope.LeftOut-refused)
	p.Applyable = len(p.Steps) > 0 && s.Blocked == 0 && refused == 0
}
