package spec

import (
	"slices"
	"time"

	"gopkg.in/yaml.v3"
)

// An Allow is a standing approval of a hazard.
type Allow struct {
	Code    string // such as "drops-consumer"
	Address string // a glob, such as "consumer/orders/*@hub"
	Because string
	Until   string // a date, 2026-09-30; the approval holds through that day
	At      Pos
}

// An Ignore is drift that is known and not reported for a while.
type Ignore struct {
	Address string // a glob
	Field   string // empty: all fields
	Until   string
	At      Pos
}

// Hazards are the codes that an approval can name.
// Source: design/plan-apply.md section 5.7.
var Hazards = []string{
	"drops-queue", "drops-consumer", "drops-node", "drops-table", "loses-events", "recopies-table",
	"locks-table", "moves-root", "deletes-archive", "drops-slot", "widens-access", "mass-change", "empty-spec",
}

type allowList struct{ into *[]Allow }

func (l allowList) shape() shape {
	fields := []anyField{
		{name: "because", doc: "Why it is approved.", example: "replaced by report-v2", typ: new(string), must: true},
		{name: "until", doc: "The last day, as 2026-09-30.", example: "2026-09-30", typ: new(string), must: true},
	}
	for _, code := range Hazards {
		fields = append(fields, anyField{name: code, doc: "The address it is approved for; * matches anything.", example: exampleAddress(code), typ: new(string)})
	}
	return shape{kind: "list", doc: "A standing approval: {CODE: ADDRESS, because:, until:}.", fields: fields, keys: 3, oneOf: []string{"null"}}
}

// exampleAddress is an object that could need the approval.
func exampleAddress(code string) string {
	switch code {
	case "drops-consumer":
		return "consumer/audit/old_report@hub"
	case "drops-node", "moves-root":
		return "node/shop@edge1"
	case "drops-table", "recopies-table", "locks-table":
		return "table/shop/public.items@edge1"
	case "drops-queue", "loses-events":
		return "queue/audit@hub"
	}
	return `"*@hub"`
}

func (l allowList) decode(d *decoder, n *yaml.Node) {
	for _, item := range d.items(n, "allow") {
		a := Allow{At: d.at(item)}
		d.each(item, func(k, v *yaml.Node) {
			switch k.Value {
			case "because":
				d.value(k, v, &a.Because)
			case "until":
				d.date(k, v, &a.Until)
			default:
				if a.Code != "" {
					d.fail(k, "bad-allow", "allow: one approval names one hazard; this one names %s already", a.Code)
					return
				}
				a.Code = k.Value
				if !slices.Contains(Hazards, k.Value) {
					d.failNear(k, "unknown-hazard", Hazards, "allow: there is no hazard %q", k.Value)
				}
				d.value(k, v, &a.Address)
			}
		})
		if a.Code == "" || a.Address == "" {
			d.fail(item, "bad-allow", "allow: expected {CODE: ADDRESS, because: ..., until: ...}")
			continue
		}
		if a.Because == "" || a.Until == "" {
			d.fail(item, "bad-allow", "allow: %s needs because: and until:, so that the approval can be reviewed", a.Code)
		}
		*l.into = append(*l.into, a)
	}
}

type ignoreList struct{ into *[]Ignore }

func (l ignoreList) shape() shape {
	return shape{kind: "list", doc: "Known drift: {address:, field:, until:}.", oneOf: []string{"null"}, fields: []anyField{
		{name: "address", doc: "Which objects; * matches anything.", example: `"queue/*@hub"`, typ: new(string), must: true},
		{name: "field", doc: "Which of their fields; without it all.", example: "rotation_period", typ: new(string)},
		{name: "until", doc: "The last day, as 2026-09-30.", example: "2026-09-30", typ: new(string), must: true},
	}}
}

func (l ignoreList) decode(d *decoder, n *yaml.Node) {
	for _, item := range d.items(n, "ignore") {
		ig := Ignore{At: d.at(item)}
		d.each(item, func(k, v *yaml.Node) {
			switch k.Value {
			case "address":
				d.value(k, v, &ig.Address)
			case "field":
				d.value(k, v, &ig.Field)
			case "until":
				d.date(k, v, &ig.Until)
			default:
				d.failNear(k, "unknown-field", []string{"address", "field", "until"}, "ignore: unknown field %q", k.Value)
			}
		})
		if ig.Address == "" || ig.Until == "" {
			d.fail(item, "bad-ignore", "ignore: expected {address: GLOB, field: NAME, until: DATE}")
			continue
		}
		*l.into = append(*l.into, ig)
	}
}

// items are the mappings of a list; anything else is reported.
func (d *decoder) items(n *yaml.Node, key string) []*yaml.Node {
	n = d.follow(n)
	if n == nil || n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		d.fail(n, "not-a-list", "%s: expected a list, found %s", key, d.kindName(n))
		return nil
	}
	return slices.DeleteFunc(slices.Clone(n.Content), func(item *yaml.Node) bool {
		if item = d.follow(item); item == nil || item.Kind == yaml.MappingNode {
			return item == nil
		}
		d.fail(item, "not-a-mapping", "%s: expected keys and values here, found %s", key, d.kindName(item))
		return true
	})
}

func (d *decoder) date(k, n *yaml.Node, into *string) {
	if n = d.follow(n); n == nil {
		return
	}
	*into = "(wrong)" // said here, so that it is not said to be missing, too
	if n.Kind != yaml.ScalarNode {
		d.fail(n, "not-a-value", "%s: expected a single value, found %s", k.Value, d.kindName(n))
		return
	}
	*into = n.Value
	if _, err := time.Parse(time.DateOnly, n.Value); err != nil {
		d.fail(n, "bad-date", "%s: expected a date such as 2026-09-30, found %q", k.Value, n.Value)
	}
}
