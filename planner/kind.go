package planner

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql"
)

// A Kind teaches skytools one sort of object. S is its settings, as a struct with
// json tags: the same type says what is there and what should be. All that differs
// between kinds is a field here; nothing elsewhere switches on the name of a kind.
type Kind[S any] struct {
	Name    string
	Catalog sql.Catalog

	// Read turns a catalog row into an object. Not ok: the row is no object of
	// this kind, such as the consumers that PgQ registers for itself.
	Read func(row json.RawMessage) (name string, settings S, ok bool, err error)

	// Declared lists what the YAML asks for.
	Declared func(*Scene) []Declared[S]

	// Steps says how to get from Have to Want. Nil lists nothing to do, which is
	// right only for adopting. Most kinds have one step.
	Steps func(*Scene, Object[S]) []Draft[S]

	// Needs lists the objects that must be there first; a drop goes the other way.
	Needs func(*Scene, Object[S]) []Address

	// Recreate reports a change that loses what is there before it is made anew.
	Recreate func(Object[S]) bool

	Hazards func(*Scene, Object[S]) []Hazard // nil: none
	Notes   func(*Scene, Object[S]) []string // facts for the reader; nil: none

	// Found says how drift tells what is there now, empty: as it is; and whether it is
	// drift at all. Nil: it is, as it is.
	Found func(s *Scene, database, path string) (text string, drift bool)

	Once   bool                                       // what was applied stands, also when the catalog has forgotten it
	Afar   bool                                       // objects of standbys, which cannot be written to: what was applied is recorded on the primary
	Vital  bool                                       // objects that exist for others: never counted as unmanaged
	Hidden func(s *Scene, database, name string) bool // objects that others make: the same; nil: none
	Adopt  func(a *Adoption, database, name string, settings S)
}

// Declared is one object that the YAML asks for, or asks to be gone.
type Declared[S any] struct {
	Database, Name string
	At             spec.Pos
	Want           *S          // nil: absent
	Refuse         *Diagnostic // why it cannot be planned
}

// An Object is a declared object and what is there.
type Object[S any] struct {
	Declared[S]
	Address Address
	Have    *S // nil: not there
}

// A Draft is a step in the making.
type Draft[S any] struct {
	Title   string
	Do      []sql.Stmt
	Inputs  []Input
	After   *S // settings when it is done; nil with Gone: the object has gone
	Gone    bool
	Label   string // by which other steps follow this one
	Follows []Ref  // comes after these, whether they create or drop; the needs of others do not reach such a step
	Wait    *Wait
	Alone   bool // its statements cannot be part of a transaction, and neither can its wait, after which Inputs may be asked for; running them again does no harm

	StatementTimeout int // milliseconds; 0: the default
	LockTimeout      int
}

// A Ref is a step of another object: the one with that label, or all.
type Ref struct {
	Address
	Label string
}

// kind is a [Kind] of any settings.
type kind interface {
	name() string
	catalog() sql.Catalog
	plan(*builder)
	find(rows []json.RawMessage, name string) (State, error)
	read(row json.RawMessage) (name string, s State, ok bool, err error)
	adopt(*Adoption, string, json.RawMessage) error
	vital() bool
	afar() bool
	once() bool
	foundAt(s *Scene, database, path string) (string, bool)
}

func (k Kind[S]) name() string         { return k.Name }
func (k Kind[S]) catalog() sql.Catalog { c := k.Catalog; c.Kind = k.Name; return c }
func (k Kind[S]) vital() bool          { return k.Vital }
func (k Kind[S]) afar() bool           { return k.Afar }
func (k Kind[S]) once() bool           { return k.Once }

func (k Kind[S]) foundAt(s *Scene, database, path string) (string, bool) {
	if k.Found == nil {
		return "", true
	}
	return k.Found(s, database, path)
}

func (k Kind[S]) read(row json.RawMessage) (string, State, bool, error) {
	name, settings, ok, err := k.Read(row)
	if err != nil || !ok {
		return name, nil, ok, err
	}
	return name, stateOf(settings), true, nil
}

func (k Kind[S]) find(rows []json.RawMessage, name string) (State, error) {
	for _, row := range rows {
		found, settings, ok, err := k.Read(row)
		if err != nil {
			return nil, fmt.Errorf("read a %s: %w", k.Name, err)
		}
		if ok && found == name {
			return stateOf(settings), nil
		}
	}
	return State{}, nil
}

func (k Kind[S]) adopt(a *Adoption, database string, row json.RawMessage) error {
	name, settings, ok, err := k.Read(row)
	if ok && err == nil && k.Adopt != nil {
		k.Adopt(a, database, name, settings)
	}
	return err
}

func (k Kind[S]) in(s *Scene, database string) map[string]S {
	return objects(s, database, k.Name, k.Read)
}

// objects reads what is there in one database, by name; once.
func objects[S any](s *Scene, database, kind string, read func(json.RawMessage) (string, S, bool, error)) map[string]S {
	type key struct{ kind, database string }
	if got, ok := s.cache[key{kind, database}]; ok {
		return got.(map[string]S)
	}
	all := map[string]S{}
	for _, row := range s.database(database).rows(kind) {
		name, settings, ok, err := read(row)
		if err != nil {
			s.broken = append(s.broken, fmt.Errorf("%s of %s: %w", kind, database, err))
			continue
		}
		if ok {
			all[name] = settings
		}
	}
	s.cache[key{kind, database}] = all
	return all
}

func (d *Database) rows(kind string) []json.RawMessage {
	if d == nil {
		return nil
	}
	return d.Rows[kind]
}

// plan adds the kind's changes to the builder.
func (k Kind[S]) plan(b *builder) {
	declared := k.Declared(b.Scene)
	slices.SortFunc(declared, func(x, y Declared[S]) int {
		return cmp.Or(cmp.Compare(x.Database, y.Database), cmp.Compare(x.Name, y.Name))
	})
	for _, d := range declared {
		a := Address{k.Name, d.Name, d.Database}
		if b.declared[a] {
			continue // the first one wins; two patterns may match one table
		}
		b.declared[a] = true
		b.seen[k.Name]++
		k.planOne(b, a, d)
	}
	for _, database := range slices.Sorted(maps.Keys(b.Live.Databases)) {
		for _, name := range slices.Sorted(maps.Keys(k.in(b.Scene, database))) {
			b.found(k.Vital || k.Hidden != nil && k.Hidden(b.Scene, database, name), Address{k.Name, name, database})
		}
	}
}

func (k Kind[S]) planOne(b *builder, a Address, d Declared[S]) {
	o := Object[S]{Declared: d, Address: a}
	if !b.observed(a, d.At) {
		return
	}
	if have, ok := k.in(b.Scene, d.Database)[d.Name]; ok {
		o.Have = &have
	}
	if d.Refuse != nil {
		d.Refuse.Address, d.Refuse.Source, d.Refuse.Severity = a.String(), d.At, "error"
		b.diagnostics = append(b.diagnostics, *d.Refuse)
		return
	}
	var from, to State
	if o.Have != nil {
		from = stateOf(*o.Have)
	}
	if d.Want != nil {
		to = stateOf(*d.Want)
	}
	applied := b.applied(a)
	if k.Once && len(from) == 0 && applied != nil {
		from = applied.Spec
	}
	if applied != nil && applied.Cluster != b.Set.Cluster {
		if !k.Vital {
			b.foreign(a, d.At, *applied)
			return
		}
		if same(from, to) { // schemas and roles serve everybody: whoever needs them first records them
			return
		}
	}
	var needs []Address
	if k.Needs != nil {
		needs = k.Needs(b.Scene, o)
	}
	if b.blocked(a, d.At, needs) {
		return
	}
	c := &Change{Address: a, Kind: a.Kind, Name: a.Name, Node: a.Database, Source: d.At, Fields: []Field{}, Hazards: []Hazard{}, Notes: []string{}, StepIDs: []string{}}
	if !c.decide(from, to, applied) {
		if b.All && len(to) > 0 {
			b.unchanged = append(b.unchanged, a)
		}
		return
	}
	if k.Recreate != nil && c.Action == Update && k.Recreate(o) {
		c.Action, c.Reason = Recreate, "needs-recopy"
	}
	if k.Hazards != nil && c.Action != Adopt && c.Action != Forget {
		c.Hazards = append(c.Hazards, k.Hazards(b.Scene, o)...)
	}
	if k.Notes != nil && c.Action != Adopt && c.Action != Forget {
		c.Notes = append(c.Notes, k.Notes(b.Scene, o)...)
	}
	var drafts []Draft[S]
	if c.Action != Adopt && c.Action != Forget {
		drafts = k.Steps(b.Scene, o)
	}
	k.addSteps(b, c, needs, drafts, from, to)
}

// addSteps turns drafts into steps. The last one records what was applied; where
// there is nothing to do, one step only records it.
func (k Kind[S]) addSteps(b *builder, c *Change, needs []Address, drafts []Draft[S], from, to State) {
	if len(drafts) == 0 {
		drafts = []Draft[S]{{Title: string(c.Action)}}
	}
	b.changes = append(b.changes, c)
	state := from
	var chain []*Step
	for i, d := range drafts {
		after := to
		switch {
		case d.After != nil:
			after = stateOf(*d.After)
		case d.Gone:
			after = State{}
		}
		s := &Step{
			Address: c.Address, Title: d.Title, Node: c.Address.Database,
			Needs: []string{}, Inputs: notNil(d.Inputs), Do: notNil(d.Do), Wait: d.Wait, Alone: d.Alone && len(d.Do) > 0,
			StatementTimeout: cmp.Or(d.StatementTimeout, defaultStatementTimeout), LockTimeout: cmp.Or(d.LockTimeout, defaultLockTimeout),
		}
		if k.Afar {
			s.RecordedIn = b.home(s.Node)
		}
		s.Expect, s.Result = between(state, after)
		if len(d.Do) == 0 {
			s.Expect, s.Result = after, after
			if c.Action == Forget {
				s.Expect, s.Result = State{exists: nil}, State{exists: nil}
			}
		}
		if i == len(drafts)-1 {
			if s.Forget = c.Action == Drop || c.Action == Forget; !s.Forget {
				s.Record = to
			}
		}
		b.add(c, s, needs, c.Action == Drop)
		b.follows[s], b.labels[s] = d.Follows, d.Label
		state, chain = after, append(chain, s)
	}
	settle(chain, state)
}

// settle tells the steps of one object what it looks like when all of them are
// done: a step in the middle may leave a mark that a later one takes away, and
// would otherwise be done again when the plan is applied twice.
func settle(chain []*Step, final State) {
	if len(chain) < 2 {
		return
	}
	settled := State{}
	for _, s := range chain {
		for path := range s.Result {
			settled[path] = final[path]
		}
	}
	for _, s := range chain {
		s.Settled = settled
	}
}

func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// The default bounds of a step, in milliseconds. A step that waits longer for a
// lock than this would hold up everybody who queues behind it.
const (
	defaultStatementTimeout = 60_000
	defaultLockTimeout      = 5_000
)
