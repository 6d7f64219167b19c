package planner

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/skytools-go/skytools/spec"
)

// A Hazard is a reason to ask first. Source: design/plan-apply.md section 5.7.
type Hazard struct {
	Code      string  `json:"code"`
	Severity  string  `json:"severity"` // approve
	Message   string  `json:"message"`
	Allow     string  `json:"allow"`      // the approval that would do
	AllowedBy *string `json:"allowed_by"` // nil: nobody yet
	Address   Address `json:"-"`
}

func hazard(code, format string, args ...any) Hazard {
	return Hazard{Code: code, Severity: "approve", Message: fmt.Sprintf(format, args...)}
}

// An Approval allows one hazard for the addresses that a glob matches.
type Approval struct{ Code, Glob, By string }

// ParseApproval reads CODE:ADDRESS. Globs are allowed in the address only.
func ParseApproval(text string) (Approval, error) {
	code, glob, ok := strings.Cut(text, ":")
	if !ok || glob == "" {
		return Approval{}, fmt.Errorf("%q is not an approval; write CODE:ADDRESS, such as drops-queue:queue/old@hub", text)
	}
	if !slices.Contains(spec.Hazards, code) {
		near := ""
		if c := spec.Nearest(code, spec.Hazards); c != "" {
			near = "; did you mean " + c + "?"
		}
		return Approval{}, fmt.Errorf("there is no hazard %q%s", code, near)
	}
	return Approval{code, glob, "--allow " + text}, nil
}

// approvals are those of the command line and those of the YAML that still hold.
func approvals(set *spec.Set, given []Approval, now time.Time) []Approval {
	all := slices.Clone(given)
	for _, a := range set.Allow {
		if !expired(a.Until, now) {
			all = append(all, Approval{a.Code, a.Address, a.At.String() + ": " + a.Because})
		}
	}
	return all
}

// expired reports whether the day until is over, in UTC.
func expired(until string, now time.Time) bool {
	day, err := time.Parse(time.DateOnly, until)
	return err == nil && !now.UTC().Before(day.AddDate(0, 0, 1))
}

// approve completes the hazards of a change.
func approve(c *Change, all []Approval) {
	for i := range c.Hazards {
		h := &c.Hazards[i]
		h.Address, h.AllowedBy = c.Address, nil // a saved plan's are not covered by its digest, and may have ended
		h.Allow = h.Code + ":" + c.Address.String()
		for _, a := range all {
			if a.Code == h.Code && c.Address.Match(a.Glob) {
				h.AllowedBy = &a.By
				break
			}
		}
	}
	slices.SortFunc(c.Hazards, func(a, b Hazard) int { return strings.Compare(a.Code, b.Code) })
}

// guard adds the hazard of the plan as a whole: a large share of a kind dropped at
// once. Declared counts the objects by kind.
func (p *Plan) guard(declared map[string]int) {
	victims := map[string]int{}
	for _, c := range p.Changes {
		if c.Action == Drop || c.Action == Recreate {
			victims[c.Kind]++
		}
	}
	for _, c := range p.Changes {
		n := victims[c.Kind]
		if (c.Action == Drop || c.Action == Recreate) && n > 5 && n*3 > declared[c.Kind] {
			c.Hazards = append(c.Hazards, hazard("mass-change", "%d of %d objects of kind %s are dropped or recreated at once", n, declared[c.Kind], c.Kind))
		}
	}
}
