package spec

import (
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// A Field is all that is known about one YAML key of a T. The decoder, the JSON
// Schema, explain and the suggestions read it.
type Field[T any] struct {
	Name    string
	Doc     string       // one or two sentences
	Default string       // as YAML; empty: there is none, or nothing happens
	Example string       // as YAML
	Catalog string       // where the server keeps it
	Hazard  string       // the approval that changing it can need
	Into    func(*T) any // what to set; its type says how to parse
	Refers  string       // what the value names: "database" or "node"
	Must    bool         // the key may not be missing
}

// fielded is implemented by pointers to the objects of the YAML.
type fielded[T any] interface {
	*T
	fields() []Field[T]
	about() string // the object's own doc
}

// anyField is a [Field] of any object.
type anyField struct {
	name, doc, def, example, catalog, hazard, refers string
	must                                             bool
	typ                                              any // a pointer like those of Into, of a throw-away object
}

// describe lists the fields of T.
func describe[T any, P fielded[T]]() []anyField {
	var zero T
	var all []anyField
	for _, f := range P(&zero).fields() {
		all = append(all, anyField{f.Name, f.Doc, f.Default, f.Example, f.Catalog, f.Hazard, f.Refers, f.Must, f.Into(&zero)})
	}
	return all
}

// node is implemented by what decodes itself: secrets, lists of approvals, named
// objects. Everything else is a scalar or a list of scalars.
type node interface {
	decode(d *decoder, n *yaml.Node)
	shape() shape
}

// shape describes a node for the JSON Schema and the manual.
type shape struct {
	kind    string     // "object", "map", "list", "text", "number", "texts", "relations"
	keys    int        // how many keys an entry has; 0: any number
	entries int        // how many entries a map has at least
	doc     string     // what one entry is
	fields  []anyField // of the object, or of each entry of the map or list
	oneOf   []string   // an entry may also be: "null", "text", "list"
}

// Named are objects by name, sorted by name.
type Named[T any] []T

// namedOf decodes a mapping from names to objects. It is what a Field's Into
// returns for a Named.
type namedOf[T any, P fielded[T]] struct {
	into  *Named[T]
	label string                                     // "queue", for messages
	name  func(d *decoder, key *yaml.Node) (ok bool) // a rule for the names; nil: any
}

func (m namedOf[T, P]) shape() shape {
	var zero T
	return shape{kind: "map", doc: P(&zero).about(), fields: describe[T, P](), oneOf: []string{"null"}}
}

func (m namedOf[T, P]) decode(d *decoder, n *yaml.Node) {
	declared := map[string]Pos{} // in other files; within one, keys do not repeat
	for i := range *m.into {
		h := headOf(&(*m.into)[i])
		declared[h.Name] = h.At
	}
	d.each(n, func(key, value *yaml.Node) {
		switch {
		case key.Value == "":
			d.fail(key, "empty-name", "a %s needs a name", m.label)
			return
		case strings.ContainsRune(key.Value, 0):
			d.fail(key, "bad-name", "a name cannot hold a zero byte")
			return
		}
		if m.name != nil && !m.name(d, key) {
			return
		}
		var t T
		h := headOf(&t)
		h.Name, h.At = key.Value, d.at(key)
		if p, ok := any(&t).(interface{ preset() }); ok {
			p.preset()
		}
		if before, twice := declared[h.Name]; twice {
			d.fail(key, "declared-twice", "%s %q is declared at %s already", m.label, h.Name, before)
			return
		}
		d.in(m.label, key.Value, func() { decodeObject[T, P](d, key, value, &t) })
		*m.into = append(*m.into, t)
	})
}

// decodeObject sets t from a mapping. An empty value is an object with defaults.
func decodeObject[T any, P fielded[T]](d *decoder, key, n *yaml.Node, t *T) {
	fields := P(t).fields()
	seen := map[string]bool{}
	d.each(n, func(k, v *yaml.Node) {
		for _, f := range fields {
			if f.Name == k.Value {
				seen[f.Name] = true
				d.value(k, v, f.Into(t))
				if s, ok := f.Into(t).(*string); ok && f.Refers != "" {
					d.refer(v, f.Refers, *s)
				}
				return
			}
		}
		var names []string
		for _, f := range fields {
			names = append(names, f.Name)
		}
		if looksSecret(k.Value+": x") || holdsSecrets(fields) && Nearest(k.Value, names) == "" {
			d.conceal(v)
		}
		d.failNear(k, "unknown-field", names, "unknown field %q", k.Value)
	})
	for _, f := range fields {
		if f.Must && !seen[f.Name] {
			d.fail(key, "missing-field", "%s is missing", f.Name)
		}
	}
}

// holdsSecrets reports an object where an unknown key may well be a password.
func holdsSecrets[T any](fields []Field[T]) bool {
	var zero T
	return slices.ContainsFunc(fields, func(f Field[T]) bool { _, ok := f.Into(&zero).(secretOf); return ok })
}

// Get returns the object of that name, or nil.
func (all Named[T]) Get(name string) *T {
	low, high := 0, len(all)
	for low < high { // by hand, because slices.BinarySearchFunc copies every object it looks at
		if mid := (low + high) / 2; headOf(&all[mid]).Name < name {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low < len(all) && headOf(&all[low]).Name == name {
		return &all[low]
	}
	return nil
}

// Names lists the objects' names.
func (all Named[T]) Names() []string {
	var names []string
	for i := range all {
		names = append(names, headOf(&all[i]).Name)
	}
	return names
}

func headOf[T any](t *T) *Head { return any(t).(interface{ head() *Head }).head() }
