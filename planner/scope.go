package planner

import (
	"fmt"
	"slices"
	"strings"
)

// limit cuts the plan down to what Options.Only and Options.Nodes ask for, and
// adds the steps that these need. What it added and left out is in the scope.
func (p *Plan) limit(b *builder) {
	if len(b.Only) == 0 && len(b.Options.Nodes) == 0 {
		return
	}
	asked := func(a Address) bool {
		return (len(b.Only) == 0 || matchAny(a, b.Only)) && (len(b.Options.Nodes) == 0 || slices.Contains(b.Options.Nodes, a.Database))
	}
	byID, keep := map[string]*Step{}, map[string]bool{}
	for _, s := range p.Steps {
		byID[s.ID] = s
	}
	var pull func(s *Step)
	pull = func(s *Step) {
		if keep[s.ID] {
			return
		}
		keep[s.ID] = true
		for _, id := range s.Needs {
			pull(byID[id])
		}
		for _, sibling := range b.steps[s.Address] { // no object is left half-way
			pull(sibling)
		}
	}
	inScope := map[Address]bool{}
	for _, c := range p.Changes {
		if asked(c.Address) {
			inScope[c.Address] = true
		}
	}
	for _, s := range p.Steps {
		if inScope[s.Address] {
			pull(s)
		}
	}
	pulled := map[Address]bool{}
	p.Steps = slices.DeleteFunc(p.Steps, func(s *Step) bool {
		if keep[s.ID] && !inScope[s.Address] {
			pulled[s.Address] = true
		}
		return !keep[s.ID]
	})
	p.Changes = slices.DeleteFunc(p.Changes, func(c *Change) bool {
		if inScope[c.Address] || pulled[c.Address] {
			return false
		}
		p.Scope.LeftOut++
		return true
	})
	for _, c := range p.Changes {
		if pulled[c.Address] {
			p.Scope.Added = append(p.Scope.Added, c.Address)
		}
	}
	p.Complete = p.Complete && p.Scope.LeftOut == 0
	b.diagnostics = slices.DeleteFunc(b.diagnostics, func(d Diagnostic) bool {
		a, err := ParseAddress(d.Address)
		return err == nil && !asked(a)
	})
	if len(inScope) == 0 && p.Scope.LeftOut > 0 {
		b.diagnostics = append(b.diagnostics, Diagnostic{Severity: "warning", Code: "nothing-in-scope",
			Message: fmt.Sprintf("nothing that differs matches %s", strings.Join(append(slices.Clone(b.Only), b.Options.Nodes...), ", "))})
	}
}

// warn completes the diagnostics: approvals that have expired or match nothing,
// and YAML that asks for nothing.
func (b *builder) warn(p *Plan) {
	for _, c := range p.Changes {
		for _, s := range b.steps[c.Address] {
			c.StepIDs = append(c.StepIDs, s.ID)
		}
	}
	p.Diagnostics = append(p.Diagnostics, b.diagnostics...)
	b.rights(p)
	for _, a := range b.Set.Allow {
		if expired(a.Until, b.Now) {
			p.Diagnostics = append(p.Diagnostics, Diagnostic{Severity: "warning", Code: "allow-expired", Source: a.At,
				Message: fmt.Sprintf("the approval of %s for %s ended on %s", a.Code, a.Address, a.Until), Try: "remove it, or give it a new date"})
		}
	}
	if len(b.declared) == 0 && len(p.Orphans) > 0 {
		p.Diagnostics = append(p.Diagnostics, Diagnostic{Severity: "warning", Code: "empty-spec",
			Message: fmt.Sprintf("the YAML asks for nothing, but %d objects are managed; nothing is dropped because of that", len(p.Orphans)),
			Try:     "is this the right directory?"})
	}
}
