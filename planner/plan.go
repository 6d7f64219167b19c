package planner

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql"
)

// PlanFormat is the version of saved plans. A reader refuses another number; a
// new field keeps the number.
const PlanFormat = "skytools.plan/1"

// A Plan is the way from what is to what should be. It is data: it can be
// printed, saved, reviewed, hashed and applied later. Lists are never nil.
type Plan struct {
	Format      string       `json:"format"`
	Tool        string       `json:"tool"`
	MadeAt      time.Time    `json:"made_at"`
	Cluster     string       `json:"cluster"`
	Digest      string       `json:"digest"`
	Spec        SpecInfo     `json:"spec"`
	Scope       Scope        `json:"scope"`
	Complete    bool         `json:"complete"`  // everything declared was observed and is in scope
	Applyable   bool         `json:"applyable"` // there are steps, and no hazard waits for approval
	Summary     Summary      `json:"summary"`
	Nodes       []Node       `json:"nodes"`
	Changes     []*Change    `json:"changes"`
	Steps       []*Step      `json:"steps"`
	Unchanged   []Address    `json:"unchanged"` // with Options.All
	Orphans     []Orphan     `json:"orphans"`
	Unmanaged   []Unmanaged  `json:"unmanaged"`
	Diagnostics []Diagnostic `json:"diagnostics"`
}

// SpecInfo says which YAML the plan was made from.
type SpecInfo struct {
	Root     string `json:"root"`
	Files    int    `json:"files"`
	Digest   string `json:"digest"`
	Revision string `json:"revision"`
}

// Scope says what the plan was limited to; empty lists mean no limit.
type Scope struct {
	Only    []string  `json:"only"`
	Nodes   []string  `json:"nodes"`
	Added   []Address `json:"added"`    // needed by what was asked for
	LeftOut int       `json:"left_out"` // changes outside the scope
}

// A Node is a database that the plan is about.
type Node struct {
	Name     string `json:"name"`
	Server   string `json:"server"`
	Database string `json:"database"`
	SystemID string `json:"system_id"`
	Primary  bool   `json:"primary"`
	Reached  bool   `json:"reachable"`
}

// An Action is what becomes of an object.
type Action string

// The actions. Unobserved is no action: the object could not be looked at.
const (
	Create     Action = "create"
	Update     Action = "update"
	Recreate   Action = "recreate"
	Drop       Action = "drop"
	Adopt      Action = "adopt"
	Forget     Action = "forget"
	Unobserved Action = "unobserved"
)

// A Change is everything that happens to one object.
type Change struct {
	Address  Address  `json:"address"`
	Kind     string   `json:"kind"`
	Name     string   `json:"name"`
	Node     string   `json:"node"`
	Action   Action   `json:"action"`
	Reason   string   `json:"reason"` // new, spec-changed, drifted, declared-absent, needs-recopy, dependency, adopt, forget, unreachable
	Source   spec.Pos `json:"source"`
	Fields   []Field  `json:"fields"`
	Hazards  []Hazard `json:"hazards"`
	Notes    []string `json:"notes"` // facts for the reader; not part of the digest
	StepIDs  []string `json:"steps"`
	Recorded *Record  `json:"recorded,omitempty"` // the last apply, when there was one
}

// A Record says who applied an object last.
type Record struct {
	At time.Time `json:"at"`
	By string    `json:"by"`
}

// A Field is one setting that differs.
type Field struct {
	Path   string `json:"path"`
	Before any    `json:"before"`
	After  any    `json:"after"`
	Cause  string `json:"cause"`         // spec, drift, spec+drift
	Was    any    `json:"was,omitempty"` // when last applied, if that is neither
}

// A Step is one transaction in one database. It can be printed, saved and checked
// without a database.
type Step struct {
	ID               string     `json:"id"`
	Address          Address    `json:"address"`
	Title            string     `json:"title"`
	Node             string     `json:"node"`                  // the database it runs in, as the YAML calls it
	RecordedIn       string     `json:"recorded_in,omitempty"` // the one whose skytools.applied has it; empty: Node's
	Needs            []string   `json:"needs"`
	StatementTimeout int        `json:"statement_timeout_ms"`
	LockTimeout      int        `json:"lock_timeout_ms"`
	Inputs           []Input    `json:"inputs"`
	Do               []sql.Stmt `json:"do"`
	Expect           State      `json:"expect"`  // must hold before, or the plan is stale
	Result           State      `json:"result"`  // holds after, or the step has failed
	Settled          State      `json:"settled"` // of an object with several steps: what holds when all are done; null: Result says it
	Record           State      `json:"record"`  // what skytools.applied says afterwards; null leaves it
	Forget           bool       `json:"forget"`  // the row of skytools.applied goes
	Wait             *Wait      `json:"wait"`
	Alone            bool       `json:"alone,omitempty"` // the statements run outside a transaction, and again after a failure; the wait leads to the result
}

// An Input is a value that another database has and a statement needs, read just
// before the step runs. A statement's argument [InputArg] stands for it.
type Input struct {
	Name string   `json:"name"`
	Node string   `json:"node"`
	Stmt sql.Stmt `json:"query"`
}

// InputArg is the argument that stands for the input of that name.
func InputArg(name string) any { return map[string]any{"input": name} }

// A Wait is a query that answers (done bool, progress float8, note text), asked
// again until done. Done is null when it has failed. Progress runs from 0 to 1.
type Wait struct {
	Node    string   `json:"node"`
	Inputs  []Input  `json:"inputs"`
	Stmt    sql.Stmt `json:"query"`
	EveryMS int      `json:"every_ms"`
	LimitMS int      `json:"timeout_ms"`
	Try     string   `json:"try,omitempty"` // what to try when it was in vain
}

// Summary counts the plan's contents. It is always there, even when all is zero.
type Summary struct {
	Create     int `json:"create"`
	Update     int `json:"update"`
	Recreate   int `json:"recreate"`
	Drop       int `json:"drop"`
	Adopt      int `json:"adopt"`
	Forget     int `json:"forget"`
	Unchanged  int `json:"unchanged"`
	Unobserved int `json:"unobserved"`
	Unmanaged  int `json:"unmanaged"`
	Orphans    int `json:"orphans"`
	Steps      int `json:"steps"`
	Blocked    int `json:"blocked"` // objects whose hazards wait for approval
}

// An Orphan is an object that was applied once and that the YAML no longer
// mentions. It is left alone.
type Orphan struct {
	Address Address `json:"address"`
	Gone    bool    `json:"gone"` // the object itself has disappeared too
	Hint    string  `json:"hint"`
}

// Unmanaged is an object that exists and was never declared.
type Unmanaged struct {
	Address Address `json:"address"`
	Hint    string  `json:"hint"`
}

// A Diagnostic is something the reader should know that is no change.
type Diagnostic struct {
	Severity string   `json:"severity"` // error, warning, note
	Code     string   `json:"code"`
	Address  string   `json:"address"`
	Message  string   `json:"message"`
	Try      string   `json:"try"`
	Source   spec.Pos `json:"source"`
}

// Empty reports whether there is nothing to do. The text, the exit code and CI
// all ask this.
func (p *Plan) Empty() bool { return len(p.Steps) == 0 }

// Change returns the change at that address, or nil.
func (p *Plan) Change(a Address) *Change {
	for _, c := range p.Changes {
		if c.Address == a {
			return c
		}
	}
	return nil
}

// Approve returns the plan with approvals added: those given, and those of the YAML
// that still hold. The plan itself is not changed, and neither is its digest.
func (p *Plan) Approve(set *spec.Set, given []Approval, now time.Time) *Plan {
	q, all := *p, approvals(set, given, now)
	q.Changes = make([]*Change, len(p.Changes))
	q.Summary.Blocked = 0
	for i, c := range p.Changes {
		copied := *c
		copied.Hazards = slices.Clone(c.Hazards)
		approve(&copied, all)
		q.Changes[i] = &copied
		if slices.ContainsFunc(copied.Hazards, func(h Hazard) bool { return h.AllowedBy == nil }) {
			q.Summary.Blocked++
		}
	}
	q.Applyable = len(q.Steps) > 0 && q.Summary.Blocked == 0 && q.Errors() == 0
	return &q
}

// Errors counts the diagnostics that stand in the way of applying.
func (p *Plan) Errors() int {
	n := 0
	for _, d := range p.Diagnostics {
		if d.Severity == "error" {
			n++
		}
	}
	return n
}

// Pending lists the hazards that nobody has approved.
func (p *Plan) Pending() []Hazard {
	var all []Hazard
	for _, c := range p.Changes {
		for _, h := range c.Hazards {
			if h.AllowedBy == nil {
				all = append(all, h)
			}
		}
	}
	return all
}

// seal computes the digest: SHA-256 over the canonical JSON of what would be
// done. Facts, such as how many events are unread, do not enter, so that planning
// twice a minute apart gives the same digest.
func (p *Plan) seal() {
	p.Digest = p.digest()
}

func (p *Plan) digest() string {
	sum := sha256.New()
	enc := json.NewEncoder(sum) // value by value: a plan over thousands of tables is large
	add := func(v any) {
		if err := enc.Encode(v); err != nil {
			panic("planner: a plan is not JSON: " + err.Error()) // only a programmer can cause this
		}
	}
	add(p.Cluster)
	add(p.Scope)
	for _, n := range p.Nodes {
		add([]string{n.Name, n.SystemID, n.Database})
	}
	for _, c := range p.Changes {
		var hazards []string
		for _, h := range c.Hazards {
			hazards = append(hazards, h.Code)
		}
		add([]any{c.Address, c.Action, c.Fields, hazards})
	}
	for _, s := range p.Steps {
		add(s)
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil))
}

// Write saves the plan as JSON, a change and a step on a line each: such a file can
// be compared with another by lines, and a large plan never is in memory twice.
func (p *Plan) Write(w io.Writer) error {
	head := *p
	head.Changes, head.Steps = []*Change{}, []*Step{}
	text, err := json.MarshalIndent(&head, "", "  ")
	if err != nil {
		return err
	}
	fill := func(key string, n int, item func(i int) any) error {
		mark := fmt.Sprintf("\"%s\": []", key)
		before, after, found := bytes.Cut(text, []byte("\n  "+mark))
		if !found {
			return fmt.Errorf("write the plan: it has no %s", key)
		}
		text = after
		if _, err := fmt.Fprintf(w, "%s\n  \"%s\": [", before, key); err != nil {
			return err
		}
		for i := range n {
			line, err := json.Marshal(item(i))
			if err != nil {
				return err
			}
			comma := ","
			if i == n-1 {
				comma = ""
			}
			if _, err := fmt.Fprintf(w, "\n    %s%s", line, comma); err != nil {
				return err
			}
		}
		_, err := io.WriteString(w, map[bool]string{true: "]", false: "\n  ]"}[n == 0])
		return err
	}
	if err := fill("changes", len(p.Changes), func(i int) any { return p.Changes[i] }); err != nil {
		return err
	}
	if err := fill("steps", len(p.Steps), func(i int) any { return p.Steps[i] }); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", text)
	return err
}

// ShortDigest is enough of the digest to tell plans apart in speech.
func (p *Plan) ShortDigest() string {
	if len(p.Digest) < 7+12 {
		return p.Digest
	}
	return p.Digest[7 : 7+12]
}

// ReadPlan reads a saved plan and checks that it is whole.
func ReadPlan(text []byte) (*Plan, error) {
	var p Plan
	if err := json.Unmarshal(text, &p); err != nil {
		return nil, fmt.Errorf("read the plan: %w", err)
	}
	if p.Format != PlanFormat {
		return nil, fmt.Errorf("read the plan: it says format %q, and this program reads %q", p.Format, PlanFormat)
	}
	if got := p.digest(); got != p.Digest {
		return nil, fmt.Errorf("read the plan: its contents do not match its digest: it was changed after it was made")
	}
	return &p, nil
}
