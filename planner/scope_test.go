package planner_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/skytools-go/skytools/planner"
)

// A plan limited to a part of a takeover holds all of it: a root that is closed and
// never demoted would take no more writes.
func TestScopeLeavesNothingHalfWay(t *testing.T) {
	for _, c := range planCases(t) {
		whole := c.build(t)
		for _, change := range whole.Changes {
			c.options.Only = []string{change.Address.String()}
			p := c.build(t)
			checkOrder(t, p)
			for _, x := range p.Changes {
				if full := whole.Change(x.Address); len(x.StepIDs) != len(full.StepIDs) {
					t.Errorf("%s: limited to %s, %s has steps %v of %v", c.name, change.Address, x.Address, x.StepIDs, full.StepIDs)
				}
			}
		}
	}
}

func TestMassChangeCountsWhatIsInScope(t *testing.T) {
	c := planCaseOf(t, "mass-change")
	c.options.Only = []string{"queue/q1"}
	for _, h := range c.build(t).Pending() {
		if h.Code == "mass-change" {
			t.Errorf("one drop is no mass change: %s", h.Message)
		}
	}
}

// What could not be read has not gone, and nobody knows who owns it.
func TestUnreadable(t *testing.T) {
	c := planCaseOf(t, "orphan")
	c.live.Databases["hub"].Unreadable["consumer"] = "permission denied"
	c.live.Databases["hub"].Rows["consumer"] = nil
	for _, o := range c.build(t).Orphans {
		if o.Address.Kind == "consumer" {
			t.Errorf("%s was not read, and is said to have gone: %t", o.Address, o.Gone)
		}
	}
	c = planCaseOf(t, "other-owner")
	c.live.Databases["hub"].Unreadable["applied"] = "permission denied"
	c.live.Databases["hub"].Applied = nil
	if p := c.build(t); len(p.Steps) > 0 || p.Complete {
		t.Errorf("nobody knows the owners, and there are %d steps", len(p.Steps))
	}
}

// A sequence comes with its table only where the table is.
func TestSequenceWithoutItsTable(t *testing.T) {
	c := planCaseOf(t, "create-full")
	q := c.set.Queues.Get("shop")
	items := q.Tables.Get("public.it*")
	items.On = q.Tables.Get("public.parts").On
	for name := range items.On {
		if name != "report" {
			t.Fatal("this test expects the table on report alone")
		}
	}
	if !slices.ContainsFunc(c.build(t).Diagnostics, func(d planner.Diagnostic) bool {
		return d.Code == "no-sequence" && d.Address == "sequence/shop/public.items_id_seq@edge1"
	}) {
		t.Error("edge1 has neither the sequence nor its table, and no error says so")
	}
}

// An approval in a saved plan is not covered by the digest: it does not count.
func TestForgedApproval(t *testing.T) {
	c := planCaseOf(t, "absent")
	forged := strings.ReplaceAll(string(saved(t, c.build(t))), `"allowed_by":null`, `"allowed_by":"me"`)
	p, err := planner.ReadPlan([]byte(forged))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Pending()) > 0 {
		t.Fatal("this test forges nothing")
	}
	if p = p.Approve(c.set, nil, now); len(p.Pending()) == 0 || p.Applyable {
		t.Error("a forged approval is accepted")
	}
}
