package planner

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pgq"
)

// scriptState is what is compared of a script: that it ran with this text.
type scriptState struct {
	Digest string `json:"sha256"`
}

// scriptTimeout is how long a script may take, in milliseconds: it may write a table anew.
const scriptTimeout = 3_600_000

// scriptKind are the scripts of a cascade, on its root: there they run, and from there
// they travel through the queue.
var scriptKind = Kind[scriptState]{
	Name:    "script",
	Catalog: londiste.Scripts,
	Read:    readScript,
	Once:    true,
	Hidden:  func(*Scene, string, string) bool { return true }, // those of others, and of years ago
	Declared: func(s *Scene) []Declared[scriptState] {
		var all []Declared[scriptState]
		for i := range s.Set.Queues {
			q := &s.Set.Queues[i]
			for j := range q.Scripts {
				if x := &q.Scripts[j]; q.Root() != nil && !s.isDead(q.Home()) && q.State == spec.Present {
					all = append(all, Declared[scriptState]{Database: q.Home(), Name: q.Name + "/" + x.Name, At: x.At,
						Want: &scriptState{x.Digest}, Refuse: refuseScript(s, q, x)})
				}
			}
		}
		return all
	},
	Steps: func(s *Scene, o Object[scriptState]) []Draft[scriptState] {
		q, x := s.script(o.Name)
		text, err := londiste.ParseScript(x.Name, x.Text)
		if err != nil { // is refused before
			s.broken = append(s.broken, err)
			return nil
		}
		run, err := text.Run(q.Name, text.Here(nil))
		if err != nil {
			s.broken = append(s.broken, err)
		}
		do := append(s.quiet(o.Database, q.Name), run...)
		return []Draft[scriptState]{{Title: "run", Do: append(do, pgq.RenewCaptures()), StatementTimeout: scriptTimeout}}
	},
	Needs: func(s *Scene, o Object[scriptState]) []Address {
		q, x := s.script(o.Name)
		needs := []Address{{"node", q.Name, o.Database}}
		at := slices.IndexFunc(q.Scripts, func(other spec.Script) bool { return other.Name == x.Name })
		if at > 0 {
			needs = append(needs, Address{"script", q.Name + "/" + q.Scripts[at-1].Name, o.Database})
		}
		return append(needs, s.about(q, x)...)
	},
	Notes: func(s *Scene, o Object[scriptState]) []string {
		q, x := s.script(o.Name)
		text, err := londiste.ParseScript(x.Name, x.Text)
		if err != nil || o.Have != nil {
			return nil
		}
		return whoRuns(s, q, text)
	},
}

func readScript(raw json.RawMessage) (string, scriptState, bool, error) {
	var row londiste.AppliedScript
	err := json.Unmarshal(raw, &row)
	return row.Queue + "/" + row.Name, scriptState{row.Digest}, err == nil, err
}

// script is a declared script, by the name of its object.
func (s *Scene) script(name string) (*spec.Queue, *spec.Script) {
	queue, file := splitName(name)
	q := s.Set.Queues.Get(queue)
	at := slices.IndexFunc(q.Scripts, func(x spec.Script) bool { return x.Name == file })
	return q, &q.Scripts[at]
}

// about are the tables and sequences that conditions of a script name, on every node
// that has them: they are registered there before the script can come.
func (s *Scene) about(q *spec.Queue, x *spec.Script) (all []Address) {
	text, err := londiste.ParseScript(x.Name, x.Text)
	if err != nil {
		return nil
	}
	for _, local := range text.Locals() {
		name := sql.ParseName(local).String()
		_, t := lookup(s, q.Name, name)
		for i := range q.Nodes {
			n := &q.Nodes[i]
			switch {
			case n.State == spec.Absent || s.isDead(n.Name):
			case t != nil && t.State == spec.Present && holds(t, n):
				all = append(all, Address{"table", q.Name + "/" + name, n.Name})
			case q.Sequences.Get(name) != nil && q.Sequences.Get(name).State == spec.Present:
				all = append(all, Address{"sequence", q.Name + "/" + name, n.Name})
			}
		}
	}
	return all
}

// quiet keeps triggers from publishing what a script changes: every node runs it itself.
// The setting is for the triggers that skytools makes; the role, for which not
// everybody has the right, silences those of the original, too.
func (s *Scene) quiet(database, queue string) []sql.Stmt {
	do := []sql.Stmt{sql.Exec("select set_config('skytools.replaying', $1, true)", queue)}
	if r := s.database(database).Rights; r.Superuser || r.ReplicaRole {
		do = append(do, sql.Exec("select set_config('session_replication_role', 'local', true)"))
	}
	return do
}

// refuseScript says why a script cannot run: what is wrong with it, or that it ran with
// another text.
func refuseScript(s *Scene, q *spec.Queue, x *spec.Script) *Diagnostic {
	refused := func(format string, args ...any) *Diagnostic {
		return &Diagnostic{Code: "bad-script", Message: x.File + ": " + fmt.Sprintf(format, args...)}
	}
	if _, err := londiste.ParseScript(x.Name, x.Text); err != nil {
		return refused("%v", err)
	}
	statements := sql.Statements(x.Text)
	if len(statements) == 0 {
		return refused("there is no statement in it")
	}
	for _, one := range statements {
		if one.Ends() {
			return refused("line %d: %q: a script runs in one transaction, with the record that it ran: leave that out", one.Line, firstWords(one.Text))
		}
	}
	home := q.Home()
	ran, before := objects(s, home, "script", readScript)[q.Name+"/"+x.Name]
	if row, recorded := s.appliedIn(home)[Address{"script", q.Name + "/" + x.Name, home}.String()]; !before && recorded {
		ran.Digest, _ = row.Spec["sha256"].(string)
		before = true
	}
	if before && ran.Digest != x.Digest {
		return &Diagnostic{Code: "script-changed", Message: fmt.Sprintf("%s ran on %s with another text (sha256 %.12s, now %.12s), and no script runs twice", x.File, home, ran.Digest, x.Digest),
			Try: "give it back the text with which it ran, and write what is new into a new file"}
	}
	if d := s.database(home); d.reached() && !before && s.original(home) && !d.Rights.Superuser && !d.Rights.ReplicaRole {
		return &Diagnostic{Code: "needs-replica-role", Message: fmt.Sprintf("%s may not set session_replication_role on %s: the triggers there would publish what the script changes, and every node would make the changes twice", d.User, home),
			Try: replicaTry(d.Server)}
	}
	return nil
}

func firstWords(text string) string {
	words := strings.Fields(text)
	return strings.Join(words[:min(len(words), 6)], " ")
}

// whoRuns says which nodes will run a script, as far as can be known: what a node
// replicates is declared, and what exists there is seen when the script comes.
func whoRuns(s *Scene, q *spec.Queue, text londiste.Script) (notes []string) {
	var run, pass []string
	for i := range q.Nodes {
		n := &q.Nodes[i]
		if n.State == spec.Absent || s.isDead(n.Name) {
			continue
		}
		if all, some := replicates(s, q, n, text); all {
			run = append(run, n.Name)
		} else if !some {
			pass = append(pass, n.Name)
		} else {
			notes = append(notes, fmt.Sprintf("%s replicates a part of %s: there the script would stop replay", n.Name, strings.Join(text.Locals(), ", ")))
		}
	}
	where := ""
	for _, key := range slices.Sorted(maps.Keys(text.When)) {
		if strings.HasPrefix(key, "need-") {
			where = fmt.Sprintf(", where it finds %s %s", strings.TrimPrefix(key, "need-"), text.When.Get(key))
		}
	}
	if len(run) > 0 {
		notes = append(notes, "will run on "+strings.Join(run, ", ")+where)
	}
	if len(pass) > 0 {
		notes = append(notes, "will be passed over on "+strings.Join(pass, ", "))
	}
	return notes
}

// replicates reports whether a node has all, or some, of what a script is about.
func replicates(s *Scene, q *spec.Queue, n *spec.Node, text londiste.Script) (all, some bool) {
	all = true
	for _, local := range text.Locals() {
		name := sql.ParseName(local).String()
		has := q.Sequences.Get(name) != nil
		if _, t := lookup(s, q.Name, name); t != nil {
			has = holds(t, n)
		}
		all, some = all && has, some || has
	}
	return all, some
}
