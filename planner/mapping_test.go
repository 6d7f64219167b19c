package planner_test

import (
	"strings"
	"testing"

	"github.com/skytools-go/skytools/planner"
)

// What a node's columns cannot be, and how apply and the copy treat those that can.
func TestMapping(t *testing.T) {
	for _, c := range []struct{ on, code, says string }{
		{"{columns: {nope: x}}", "no-column", "public.orders has no column nope on the root"},
		{"{columns: {note: nope}}", "no-column", "has no column nope on edge"},
		{"{columns: {id: null}}", "needs-key", "cannot be left out"},
		{"{columns: {id: note}}", "mapped-twice", "columns id and note"},
		{`{transform: {id: "id + 1"}}`, "needs-key", "updates would not find its rows"},
		{`{columns: {id: note, note: id}, transform: {note: "id + 1"}}`, "needs-key", "primary key"},
		{`{transform: {other: "1"}}`, "no-column", "public.orders has no column other on edge"},
		{`{as: public.new, columns: {note: text}}`, "renamed-full", "with other columns"},
		{`{as: public.new, transform: {other: "1"}}`, "no-column", "nobody knows which type"},
		{`{columns: {id: note, note: id}}`, "", ""},
		{`{columns: {note: null}, transform: {note: "upper(note)"}}`, "", ""},
	} {
		set := parseSpec(t, "skytools: 1\ncluster: shop\ndatabases: {hub: {dsn: service=a}, edge: {dsn: service=b}}\nqueues:\n  shop:\n"+
			"    nodes: {hub: {type: root}, edge: {type: leaf, provider: hub}}\n    tables: {public.orders: {create: full, on: {edge: "+c.on+"}}}\n")
		w := newWorld(set)
		p := w.plan(t, set)
		got := planner.Diagnostic{}
		for _, d := range p.Diagnostics {
			if d.Severity == "error" {
				got = d
			}
		}
		if got.Code != c.code || !strings.Contains(got.Message, c.says) {
			t.Errorf("%s: %s %q, want %s %q", c.on, got.Code, got.Message, c.code, c.says)
		}
	}
}

// Below a branch whose columns are others, a copy comes from further up.
func TestCopyPastAlteredBranch(t *testing.T) {
	set := parseSpec(t, `
skytools: 1
cluster: shop
databases: {hub: {dsn: service=a}, edge: {dsn: service=b}, leaf: {dsn: service=c}}
queues:
  shop:
    nodes: {hub: {type: root}, edge: {type: branch, provider: hub}, leaf: {type: leaf, provider: edge}}
    tables:
      public.orders: {on: {edge: {transform: {note: "upper(note)"}}, leaf: }}
      public.items: {on: [leaf]}
`)
	w := newWorld(set)
	p := w.plan(t, set)
	for address, want := range map[string]string{"table/shop/public.orders@leaf": "copy_node=hub", "table/shop/public.items@leaf": "copy_node=%3F"} {
		var text string
		for _, s := range p.Steps {
			if s.Address.String() == address {
				for _, do := range s.Do {
					text += do.Pasteable() + "\n"
				}
			}
		}
		if !strings.Contains(text, want) {
			t.Errorf("%s: want %s in\n%s", address, want, text)
		}
	}
}
