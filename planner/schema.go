package planner

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/meta"
	"github.com/skytools-go/skytools/sql/pgq"
	"github.com/skytools-go/skytools/sql/pgqcoop"
	"github.com/skytools-go/skytools/sql/pgqext"
	"github.com/skytools-go/skytools/sql/pgqnode"
)

// Schemas are those that apply installs, in order.
var Schemas = []sql.Schema{meta.Schema, pgq.Schema, pgqcoop.Schema, pgqext.Schema, pgqnode.Schema, londiste.Schema}

func schemaOf(name string) sql.Schema {
	i := slices.IndexFunc(Schemas, func(s sql.Schema) bool { return s.Name == name })
	return Schemas[i]
}

// schemaState is what is compared of a schema. Where the original is installed,
// as an extension or from its plain SQL, it is used as it is: Version and
// Functions are then empty, because they are not ours to change.
type schemaState struct {
	Origin    string            `json:"origin"` // skytools, extension, original
	Version   string            `json:"version,omitempty"`
	Functions map[string]string `json:"functions,omitempty"`
}

var schemaKind = Kind[schemaState]{
	Name:     "schema",
	Catalog:  meta.Schemas,
	Vital:    true,
	Read:     readSchema,
	Declared: declaredSchemas,
	Steps: func(s *Scene, o Object[schemaState]) []Draft[schemaState] {
		return []Draft[schemaState]{{
			Title: "install", Do: []sql.Stmt{{Text: schemaOf(o.Name).Script()}}, StatementTimeout: 300_000,
		}}
	},
	Needs: func(s *Scene, o Object[schemaState]) []Address {
		schema := schemaOf(o.Name)
		var needs []Address
		for _, r := range schema.Roles {
			needs = append(needs, Address{"role", r.Name, o.Database})
		}
		for _, name := range schema.Requires {
			needs = append(needs, Address{"schema", name, o.Database})
		}
		return append(needs, home(o.Address)...)
	},
	Notes: func(s *Scene, o Object[schemaState]) []string {
		if o.Have == nil {
			return nil
		}
		if changed := changedFunctions(o.Have.Functions, o.Want.Functions); len(changed) > 0 {
			return []string{"functions that differ: " + strings.Join(changed, ", ")}
		}
		return nil
	},
}

// home is the need for schema skytools, where every step is recorded.
func home(a Address) []Address {
	if a.Kind == "schema" && a.Name == meta.Schema.Name {
		return nil
	}
	return []Address{{"schema", meta.Schema.Name, a.Database}}
}

func changedFunctions(have, want map[string]string) []string {
	var changed []string
	for name, digest := range want {
		if have[name] != digest {
			changed = append(changed, name)
		}
	}
	slices.Sort(changed)
	return changed
}

func readSchema(raw json.RawMessage) (string, schemaState, bool, error) {
	var row meta.SchemaRow
	if err := json.Unmarshal(raw, &row); err != nil {
		return "", schemaState{}, false, err
	}
	if !slices.ContainsFunc(Schemas, func(s sql.Schema) bool { return s.Name == row.Name }) {
		return row.Name, schemaState{}, false, nil
	}
	version, ours := strings.CutPrefix(row.Comment, sql.Mark)
	switch {
	case row.Extension != nil:
		return row.Name, schemaState{Origin: "extension"}, true, nil
	case !ours:
		return row.Name, schemaState{Origin: "original"}, true, nil
	}
	functions := schemaFunctions(row.Name)
	maps.DeleteFunc(row.Functions, func(name, _ string) bool { return functions[name] == "" }) // generated, or somebody's own
	return row.Name, schemaState{"skytools", version, row.Functions}, true, nil
}

var functionsOf = func() map[string]map[string]string {
	all := map[string]map[string]string{}
	for _, s := range Schemas {
		all[s.Name] = s.Functions()
	}
	return all
}()

func schemaFunctions(name string) map[string]string { return functionsOf[name] }

// declaredSchemas is what the queues and archives need in each database.
func declaredSchemas(s *Scene) []Declared[schemaState] {
	need := map[Address]spec.Pos{}
	want := func(database string, at spec.Pos, names ...string) {
		for _, name := range names {
			a := Address{"schema", name, database}
			if _, ok := need[a]; !ok && s.Set.Database(database) != nil {
				need[a] = at
			}
		}
	}
	for _, q := range s.Set.Queues {
		if q.State == spec.Present {
			at := q.Home()
			want(at, q.At, "skytools", "pgq")
			for _, c := range q.Consumers {
				if len(c.Members) > 0 && c.State == spec.Present {
					want(consumerPlace(&q, &c), c.At, "pgq_coop")
				}
				if c.Target != "" && c.State == spec.Present {
					want(c.Target, c.At, "skytools", "pgq_ext")
				}
			}
			for _, f := range q.Forward {
				if f.State == spec.Present && f.Target(&q) != f.Place(&q) {
					want(f.Target(&q), f.At, "skytools", "pgq", "pgq_ext")
				}
			}
		}
		for _, n := range q.Nodes {
			if n.State == spec.Present && q.State == spec.Present {
				want(n.Name, n.At, "skytools", "pgq", "pgq_node", "londiste")
			}
		}
	}
	for _, x := range s.Set.Archives {
		if x.WAL.Settings == spec.ByApply {
			want(x.Of, x.At, "skytools")
		}
	}
	for _, b := range s.Set.Standbys {
		if b.State == spec.Present {
			want(b.Of, b.At, "skytools")
		}
	}
	var all []Declared[schemaState]
	for _, a := range slices.SortedFunc(maps.Keys(need), func(x, y Address) int { return strings.Compare(x.String(), y.String()) }) {
		at := need[a]
		if s.Set.Database(a.Database).State == spec.Dead {
			continue
		}
		wanted := schemaState{"skytools", schemaOf(a.Name).Version, schemaFunctions(a.Name)}
		if have, ok := objects(s, a.Database, "schema", readSchema)[a.Name]; ok && have.Origin != "skytools" {
			wanted = have
		}
		all = append(all, Declared[schemaState]{Database: a.Database, Name: a.Name, At: at, Want: &wanted})
	}
	return all
}

// roleState is what is compared of a group role.
type roleState struct {
	MemberOf []string `json:"member_of"`
}

var roleKind = Kind[roleState]{
	Name:    "role",
	Catalog: meta.Roles,
	Vital:   true,
	Read:    readRole,
	Declared: func(s *Scene) []Declared[roleState] {
		var all []Declared[roleState]
		for _, schema := range declaredSchemas(s) {
			if schema.Want.Origin != "skytools" {
				continue
			}
			for _, r := range schemaOf(schema.Name).Roles {
				all = append(all, Declared[roleState]{Database: schema.Database, Name: r.Name, At: schema.At, Want: roleWanted(s, schema.Database, r)})
			}
		}
		return all
	},
	Steps: func(s *Scene, o Object[roleState]) []Draft[roleState] {
		return []Draft[roleState]{{Title: "create", Do: []sql.Stmt{knownRole(o.Name).Create()}}}
	},
	Needs: func(s *Scene, o Object[roleState]) []Address {
		needs := home(o.Address)
		for _, group := range knownRole(o.Name).MemberOf {
			needs = append(needs, Address{"role", group, o.Database})
		}
		return needs
	},
}

func readRole(raw json.RawMessage) (string, roleState, bool, error) {
	var row sql.Role
	err := json.Unmarshal(raw, &row)
	slices.Sort(row.MemberOf)
	return row.Name, roleState{notNil(row.MemberOf)}, err == nil, err
}

// roleWanted keeps memberships that somebody has added: they are not ours to end.
func roleWanted(s *Scene, database string, r sql.Role) *roleState {
	groups := slices.Clone(r.MemberOf)
	for _, group := range objects(s, database, "role", readRole)[r.Name].MemberOf {
		if !slices.Contains(groups, group) {
			groups = append(groups, group)
		}
	}
	slices.Sort(groups)
	return &roleState{notNil(groups)}
}

func knownRole(name string) sql.Role {
	for _, schema := range Schemas {
		for _, r := range schema.Roles {
			if r.Name == name {
				return r
			}
		}
	}
	return sql.Role{Name: name}
}
