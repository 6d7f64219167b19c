package planner_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/planner/render"
	"github.com/skytools-go/skytools/spec"
)

func asJSON(t *testing.T, v any) string {
	t.Helper()
	var out bytes.Buffer
	if err := render.JSON(&out, v); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestBuildChangesNothingOfItsInput(t *testing.T) {
	for _, c := range planCases(t) {
		encode := func() string {
			return asJSON(t, c.set) + asJSON(t, c.live) + fmt.Sprintf("%+v %+v %+v %+v", c.set.Allow, c.set.Ignore, c.set.Files, c.options)
		}
		before := encode()
		c.build(t)
		if _, err := planner.FindDrift(c.set, c.live, c.options); err != nil {
			t.Fatal(err)
		}
		if _, _, err := planner.AdoptYAML(c.set, c.live, c.options, nil); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, encode()); diff != "" {
			t.Errorf("%s: planning changed its input: %s", c.name, diff)
		}
	}
}

// Maps have another order each time; plans do not.
func TestSamePlanEachTime(t *testing.T) {
	for _, c := range planCases(t) {
		want := asJSON(t, c.build(t))
		drift, err := planner.FindDrift(c.set, c.live, c.options)
		if err != nil {
			t.Fatal(err)
		}
		adopt, _, err := planner.AdoptYAML(c.set, c.live, c.options, nil)
		if err != nil {
			t.Fatal(err)
		}
		digest := c.build(t).Digest
		for i := range 100 {
			p := c.build(t)
			if p.Digest != digest {
				t.Fatalf("%s: another digest", c.name)
			}
			if i%10 > 0 { // the rest takes longer than planning
				continue
			}
			if got := asJSON(t, p); got != want {
				t.Fatalf("%s: another plan: %s", c.name, cmp.Diff(want, got))
			}
			again, err := planner.FindDrift(c.set, c.live, c.options)
			if err != nil || asJSON(t, again) != asJSON(t, drift) {
				t.Fatalf("%s: another drift report, %v", c.name, err)
			}
			text, _, err := planner.AdoptYAML(c.set, c.live, c.options, nil)
			if err != nil || text != adopt {
				t.Fatalf("%s: other YAML, %v", c.name, err)
			}
		}
	}
}

func TestOrder(t *testing.T) {
	for _, c := range planCases(t) {
		t.Run(c.name, func(t *testing.T) { checkOrder(t, c.build(t)) })
	}
}

// Every list is a list, and the counts are those of what is there.
func TestCounts(t *testing.T) {
	for _, c := range planCases(t) {
		p := c.build(t)
		if list := nullList.FindString(asJSON(t, p)); list != "" {
			t.Errorf("%s: a list is no list: %s", c.name, list)
		}
		counts := map[planner.Action]int{}
		blocked := 0
		for _, x := range p.Changes {
			counts[x.Action]++
			if slices.ContainsFunc(x.Hazards, func(h planner.Hazard) bool { return h.AllowedBy == nil }) {
				blocked++
			}
		}
		want := planner.Summary{Create: counts[planner.Create], Update: counts[planner.Update], Recreate: counts[planner.Recreate], Drop: counts[planner.Drop],
			Adopt: counts[planner.Adopt], Forget: counts[planner.Forget], Unobserved: counts[planner.Unobserved],
			Unchanged: p.Summary.Unchanged, Unmanaged: len(p.Unmanaged), Orphans: len(p.Orphans), Steps: len(p.Steps), Blocked: blocked}
		if diff := cmp.Diff(want, p.Summary); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		if p.Empty() != (len(p.Steps) == 0) || p.Applyable != (len(p.Steps) > 0 && blocked == 0 && p.Errors() == 0) {
			t.Errorf("%s: empty %t, applyable %t", c.name, p.Empty(), p.Applyable)
		}
		if c.options.All && len(p.Unchanged) != p.Summary.Unchanged {
			t.Errorf("%s: %d unchanged are listed, and %d counted", c.name, len(p.Unchanged), p.Summary.Unchanged)
		}
	}
}

// nullList finds a list that is null.
var nullList = regexp.MustCompile(`"(changes|steps|fields|hazards|notes|unchanged|orphans|unmanaged|diagnostics|nodes|only|added|needs|do|inputs)": null`)

// What is observed about progress, and when and by what a plan is made, is told in
// a plan and is no part of what it does.
func TestFactsAreNoPartOfTheDigest(t *testing.T) {
	for _, c := range planCases(t) {
		want := c.build(t).Digest
		for _, d := range c.live.Databases {
			for kind := range d.Facts {
				for i := range d.Facts[kind] {
					d.Facts[kind][i] = grown(t, d.Facts[kind][i])
				}
			}
			for i := range d.Applied {
				d.Applied[i].At = d.Applied[i].At.Add(time.Hour)
				d.Applied[i].By, d.Applied[i].Revision = "somebody else", "git:other"
			}
			d.Server, d.User = "18.1", "other"
		}
		c.live.At = c.live.At.Add(time.Hour)
		o := c.options
		o.Now, o.Tool, o.Root, o.Revision, o.All = o.Now.Add(time.Minute), "skytools 99", "elsewhere", "git:abc", !o.All
		p, err := planner.Build(c.set, c.live, o)
		if err != nil {
			t.Fatal(err)
		}
		if p.Digest != want {
			t.Errorf("%s: the digest depends on facts", c.name)
		}
	}
}

// grown multiplies the numbers of a fact; what is nothing stays nothing.
func grown(t *testing.T, raw json.RawMessage) json.RawMessage {
	t.Helper()
	var fact map[string]any
	if err := json.Unmarshal(raw, &fact); err != nil {
		t.Fatal(err)
	}
	for key, v := range fact {
		if n, ok := v.(float64); ok {
			fact[key] = n * 3
		}
	}
	return row(fact)
}

func TestSettingsAreThePlansDigest(t *testing.T) {
	c := planCaseOf(t, "spec-change")
	seen := map[string]string{c.build(t).Digest: "as it is"}
	try := func(what string, build func(planCase) *planner.Plan) {
		t.Helper()
		digest := build(planCaseOf(t, "spec-change")).Digest
		if before, twice := seen[digest]; twice {
			t.Errorf("%s: the same digest as %s", what, before)
		}
		seen[digest] = what
	}
	try("another value wanted", func(c planCase) *planner.Plan { c.set.Queues[0].TickerMaxCount = 7; return c.build(t) })
	try("another value found", func(c planCase) *planner.Plan {
		rows := c.live.Databases["hub"].Rows
		rows["queue"][0] = json.RawMessage(strings.Replace(string(rows["queue"][0]), `"ticker_max_lag": 1`, `"ticker_max_lag": 2`, 1))
		return c.build(t)
	})
	try("another server", func(c planCase) *planner.Plan { c.live.Databases["hub"].SystemID = "2"; return c.build(t) })
	try("another database", func(c planCase) *planner.Plan { c.live.Databases["hub"].Name = "other"; return c.build(t) })
	try("another owner", func(c planCase) *planner.Plan { c.set.Cluster = "other"; return c.build(t) })
	try("another scope", func(c planCase) *planner.Plan { c.options.Only = []string{"queue/*"}; return c.build(t) })
	try("a drop more", func(c planCase) *planner.Plan {
		c.set.Queues[0].Consumers[0].State = spec.Absent
		return c.build(t)
	})
}

// An approval changes what may happen, and not what would happen.
func TestApprovalIsNoPartOfTheDigest(t *testing.T) {
	if a, b := planCaseOf(t, "absent").build(t), planCaseOf(t, "absent-allowed").build(t); a.Digest != b.Digest || a.Applyable || !b.Applyable {
		t.Errorf("digests %s and %s, applyable %t and %t", a.ShortDigest(), b.ShortDigest(), a.Applyable, b.Applyable)
	}
}

func TestPrintedApprovalsSuffice(t *testing.T) {
	for _, c := range planCases(t) {
		p := c.build(t)
		for _, h := range p.Pending() {
			a, err := planner.ParseApproval(h.Allow)
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			c.options.Allow = append(c.options.Allow, a)
		}
		if again := c.build(t); len(again.Pending()) > 0 || again.Digest != p.Digest {
			t.Errorf("%s: with all that was asked for, it still asks for %+v", c.name, again.Pending())
		}
		later := p.Approve(c.set, c.options.Allow, c.options.Now)
		if len(later.Pending()) > 0 || later.Digest != p.Digest || len(p.Pending()) != p.Summary.Blocked && p.Summary.Blocked == 0 {
			t.Errorf("%s: approving a saved plan leaves %+v", c.name, later.Pending())
		}
	}
}

func saved(t *testing.T, p *planner.Plan) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := p.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestSavedPlanComesBack(t *testing.T) {
	for _, c := range planCases(t) {
		p := c.build(t)
		for how, text := range map[string][]byte{"Write": saved(t, p), "JSON": []byte(asJSON(t, p))} {
			back, err := planner.ReadPlan(text)
			if err != nil {
				t.Errorf("%s, %s: %v", c.name, how, err)
				continue
			}
			if diff := cmp.Diff(asJSON(t, p), asJSON(t, back)); diff != "" {
				t.Errorf("%s, %s: %s", c.name, how, diff)
			}
			if again := saved(t, back); how == "Write" && !bytes.Equal(again, text) {
				t.Errorf("%s: saved again, it is another file", c.name)
			}
		}
	}
}

// A plan that somebody edited is refused. What the digest does not cover is told
// to people only, and changes nothing that would be done.
func TestChangedPlanIsRefused(t *testing.T) {
	for _, name := range []string{"switchover", "create-full", "absent", "where-change", "forget"} {
		p := planCaseOf(t, name).build(t)
		want, text := doing(t, p), saved(t, p)
		refused := 0
		for i := 0; i < len(text); i += 7 {
			changed := bytes.Clone(text)
			if changed[i]++; changed[i] == '"' {
				changed[i]++
			}
			back, err := planner.ReadPlan(changed)
			switch {
			case err != nil:
				refused++
			case doing(t, back) != want:
				t.Fatalf("%s: byte %d changed from %q to %q, and the plan is accepted and does something else:\n%s", name, i, text[i], changed[i], changed[max(0, i-80):min(len(text), i+80)])
			}
		}
		if refused == 0 {
			t.Errorf("%s: no change was refused", name)
		}
		if _, err := planner.ReadPlan(bytes.Replace(text, []byte(planner.PlanFormat), []byte("skytools.plan/2"), 1)); err == nil || !strings.Contains(err.Error(), `it says format "skytools.plan/2"`) {
			t.Errorf("another format: %v", err)
		}
		if _, err := planner.ReadPlan(text[:len(text)/2]); err == nil {
			t.Error("half a plan is accepted")
		}
	}
}

// doing is all of a plan that says what would be done.
func doing(t *testing.T, p *planner.Plan) string {
	t.Helper()
	var out strings.Builder
	out.WriteString(p.Cluster + asJSON(t, p.Scope) + asJSON(t, p.Steps))
	for _, c := range p.Changes {
		out.WriteString(c.Address.String() + string(c.Action) + asJSON(t, c.Fields))
		for _, h := range c.Hazards {
			out.WriteString(h.Code)
		}
	}
	return out.String()
}

func TestHazardCodesAreKnown(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range planCases(t) {
		for _, x := range c.build(t).Changes {
			for _, h := range x.Hazards {
				seen[h.Code] = true
				if !slices.Contains(spec.Hazards, h.Code) {
					t.Errorf("%s: hazard %s cannot be approved in the YAML", c.name, h.Code)
				}
				if h.Message == "" || h.Allow != h.Code+":"+x.Address.String() || h.Severity != "approve" {
					t.Errorf("%s: %+v", c.name, h)
				}
			}
		}
	}
	for _, code := range []string{"drops-queue", "drops-consumer", "drops-node", "drops-table", "loses-events", "recopies-table", "moves-root", "mass-change"} {
		if !seen[code] {
			t.Errorf("no case has hazard %s", code)
		}
	}
}

func TestParseApproval(t *testing.T) {
	if a, err := planner.ParseApproval("drops-queue:queue/*@hub"); err != nil || a.Code != "drops-queue" || a.Glob != "queue/*@hub" || a.By != "--allow drops-queue:queue/*@hub" {
		t.Errorf("%+v, %v", a, err)
	}
	for text, want := range map[string]string{
		"":                   `"" is not an approval; write CODE:ADDRESS, such as drops-queue:queue/old@hub`,
		"drops-queue":        `"drops-queue" is not an approval; write CODE:ADDRESS, such as drops-queue:queue/old@hub`,
		"drops-queue:":       `"drops-queue:" is not an approval; write CODE:ADDRESS, such as drops-queue:queue/old@hub`,
		"drops-queues:q@hub": `there is no hazard "drops-queues"; did you mean drops-queue?`,
		"*:queue/old@hub":    `there is no hazard "*"`,
	} {
		if _, err := planner.ParseApproval(text); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// An observation that is no observation is an error, and no panic.
func TestBadObservation(t *testing.T) {
	for _, kind := range append(planner.KindNames(), "structure") {
		for _, raw := range []string{`[]`, `"x"`, `{"name": 3, "queue": [], "members": 1}`} {
			c := planCaseOf(t, "cascade-nothing-to-do")
			c.live.Databases["hub"].Rows[kind] = []json.RawMessage{json.RawMessage(raw)}
			if _, err := planner.Build(c.set, c.live, c.options); err == nil {
				t.Errorf("a %s row %s is accepted", kind, raw)
			}
		}
	}
	c := planCaseOf(t, "cascade-nothing-to-do")
	maps.DeleteFunc(c.live.Databases, func(name string, _ *planner.Database) bool { return name == "hub" })
	p := c.build(t)
	if p.Summary.Unobserved == 0 || p.Complete {
		t.Errorf("a declared database that was not observed: %+v", p.Summary)
	}
}

func TestPlanSchema(t *testing.T) {
	var schema map[string]any
	if err := json.Unmarshal(planner.JSONSchema(), &schema); err != nil {
		t.Fatal(err)
	}
	if schema["$schema"] != "http://json-schema.org/draft-07/schema#" || schema["title"] != planner.PlanFormat {
		t.Errorf("%v, %v", schema["$schema"], schema["title"])
	}
	validate := func(text []byte) error {
		var doc any
		if err := json.Unmarshal(text, &doc); err != nil {
			t.Fatal(err)
		}
		return valid("$", schema, doc)
	}
	for _, c := range planCases(t) {
		if err := validate([]byte(asJSON(t, c.build(t)))); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for what, replace := range map[string][2]string{
		"a missing field": {`"digest"`, `"digets"`}, "a text for a list": {`"changes": [`, `"changes": "x", "ignored": [`}, "a number for a text": {`"cluster": "shop"`, `"cluster": 3`},
	} {
		text := strings.Replace(asJSON(t, planCaseOf(t, "drift").build(t)), replace[0], replace[1], 1)
		if validate([]byte(text)) == nil {
			t.Errorf("the schema accepts %s", what)
		}
	}
}

// valid is as much of draft-07 as the schema of plans uses.
func valid(at string, s map[string]any, v any) error {
	if options, ok := s["anyOf"].([]any); ok {
		var err error
		for _, option := range options {
			if err = valid(at, option.(map[string]any), v); err == nil {
				return nil
			}
		}
		return err
	}
	if t, ok := s["type"]; ok {
		names, isList := t.([]any)
		if !isList {
			names = []any{t}
		}
		if !slices.Contains(names, any(typeName(v))) && !(typeName(v) == "number" && slices.Contains(names, any("integer")) && v == float64(int64(v.(float64)))) {
			return fmt.Errorf("%s is %v, want %v", at, v, t)
		}
	}
	switch v := v.(type) {
	case []any:
		items, _ := s["items"].(map[string]any) // none: anything
		for i, item := range v {
			if err := valid(fmt.Sprintf("%s[%d]", at, i), items, item); err != nil {
				return err
			}
		}
	case map[string]any:
		required, _ := s["required"].([]any)
		for _, name := range required {
			if _, ok := v[name.(string)]; !ok {
				return fmt.Errorf("%s has no %s", at, name)
			}
		}
		properties, _ := s["properties"].(map[string]any)
		others, _ := s["additionalProperties"].(map[string]any)
		for name, inner := range v {
			p, known := properties[name].(map[string]any)
			if !known {
				p = others
			}
			if !known && properties != nil {
				return fmt.Errorf("%s.%s is not in the schema", at, name)
			}
			if err := valid(at+"."+name, p, inner); err != nil {
				return err
			}
		}
	}
	return nil
}

func typeName(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case float64:
		return "number"
	case []any:
		return "array"
	}
	return "object"
}
