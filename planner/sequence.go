package planner

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
)

// sequenceState is what is compared of a replicated sequence: that it is one.
type sequenceState struct {
	Local bool `json:"local"`
}

var sequenceKind = Kind[sequenceState]{
	Name:    "sequence",
	Catalog: londiste.RegisteredSequences,
	Read: func(raw json.RawMessage) (string, sequenceState, bool, error) {
		var row londiste.Sequence
		err := json.Unmarshal(raw, &row)
		return row.Queue + "/" + row.Name, sequenceState{true}, err == nil && row.Local, err
	},
	Declared: func(s *Scene) []Declared[sequenceState] {
		var all []Declared[sequenceState]
		for i := range s.Set.Queues {
			q := &s.Set.Queues[i]
			for _, x := range q.Sequences {
				for _, n := range q.Nodes {
					if s.isDead(n.Name) {
						continue
					}
					d := Declared[sequenceState]{Database: n.Name, Name: q.Name + "/" + x.Name, At: x.At}
					if x.State == spec.Present && n.State == spec.Present && q.State == spec.Present {
						d.Want = &sequenceState{true}
						d.Refuse = refuseSequence(s, q, x.Name, &n)
					}
					all = append(all, d)
				}
			}
		}
		return all
	},
	Steps: func(s *Scene, o Object[sequenceState]) []Draft[sequenceState] {
		queue, name := splitName(o.Name)
		if o.Want == nil {
			return []Draft[sequenceState]{{Title: "stop replicating", Gone: true, Do: []sql.Stmt{londiste.LocalRemoveSeq(queue, name)}}}
		}
		d := Draft[sequenceState]{Title: "register", Do: []sql.Stmt{londiste.LocalAddSeq(queue, name)}}
		if n := s.Set.Queues.Get(queue).Nodes.Get(o.Database); n.Type != spec.Root {
			d.Inputs = []Input{{Name: "published", Node: n.Provider,
				Stmt: sql.Exec("select last_value from londiste.get_seq_list($1) where seq_name = $2", queue, name)}}
			d.Do = slices.Insert(d.Do, 0, withArg(londiste.GlobalUpdateSeq(queue, name, 0), 2, InputArg("published")))
		}
		return []Draft[sequenceState]{d}
	},
	Needs: func(s *Scene, o Object[sequenceState]) []Address {
		queue, name := splitName(o.Name)
		needs := []Address{{"node", queue, o.Database}}
		q := s.Set.Queues.Get(queue)
		if n := q.Nodes.Get(o.Database); n != nil && n.Type != spec.Root {
			needs = append(needs, Address{"sequence", o.Name, n.Provider})
		}
		for _, owner := range s.owners(q)[name] {
			needs = append(needs, Address{"table", queue + "/" + owner, o.Database})
		}
		return needs
	},
	Adopt: adoptSequence,
}

// owners are the replicated tables of a queue's root that use each sequence, and
// whose creation elsewhere makes it there.
func (s *Scene) owners(q *spec.Queue) map[string][]string {
	type key struct{ owners string }
	if got, ok := s.cache[key{q.Name}]; ok {
		return got.(map[string][]string)
	}
	all := map[string][]string{}
	for i := range q.Tables {
		for _, name := range expand(s, q, &q.Tables[i]) {
			for _, x := range s.tables(q.Home())[name].Sequences {
				if q.Tables[i].Create == spec.CreateFull && !x.Identity {
					all[x.Name] = append(all[x.Name], name)
				}
			}
		}
	}
	s.cache[key{q.Name}] = all
	return all
}

func refuseSequence(s *Scene, q *spec.Queue, name string, n *spec.Node) *Diagnostic {
	if !s.database(n.Name).reached() || s.database(n.Name).Unreadable[sequenceNames.Kind] != "" || s.sequencesOf(n.Name)[name] {
		return nil
	}
	for _, owner := range s.owners(q)[name] {
		if _, t := lookup(s, q.Name, owner); n.Type != spec.Root && holds(t, n) {
			return nil // made with its table
		}
	}
	try := near(name, slices.Collect(maps.Keys(s.sequencesOf(n.Name))))
	if n.Type != spec.Root && try == "" {
		try = "create it there, or declare the table that owns it with create: full"
	}
	return &Diagnostic{Code: "no-sequence", Message: fmt.Sprintf("sequence %s does not exist on %s", name, n.Name), Try: try}
}
