package planner_test

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skytools-go/skytools/planner"
)

// The root of a combined queue moves only to where everything is merged that is merged
// into the old one, and a source that is merged is not copied again alone.
func TestMergeRefusals(t *testing.T) {
	find := func(p *planner.Plan, code string) string {
		for _, d := range p.Diagnostics {
			if d.Code == code {
				return d.Address + ": " + d.Message + ": " + d.Try
			}
		}
		return ""
	}
	c := planCaseOf(t, "merge-switchover")
	if got := find(c.build(t), "no-merge"); got != "" {
		t.Errorf("with all parts there: %s", got)
	}
	copied := c.live.Databases["copy"]
	copied.Rows["node"] = slices.DeleteFunc(copied.Rows["node"], func(raw json.RawMessage) bool {
		var row struct{ Queue string }
		return json.Unmarshal(raw, &row) == nil && row.Queue == "north"
	})
	if got := find(c.build(t), "no-merge"); !strings.HasPrefix(got, "node/everything@copy: queue north is merged into everything on all and not on copy") ||
		!strings.Contains(got, "copy: {type: leaf, merge: everything}") {
		t.Errorf("without a leaf of north on copy: %q", got)
	}

	all := c.live.Databases["all"] // a source that comes when the queue has readers already
	all.Rows["table"] = slices.DeleteFunc(all.Rows["table"], func(raw json.RawMessage) bool {
		var row struct{ Queue string }
		return json.Unmarshal(raw, &row) == nil && row.Queue == "south"
	})
	copied.Rows["table"] = append(copied.Rows["table"], row(map[string]any{"queue": "everything", "name": "public.orders", "local": true, "dest": "public.orders", "attrs": map[string]any{}, "triggers": []any{}}))
	was := readSpec(t, filepath.Join(testdata, "plan", "merge", "spec.yaml"))
	p, err := planner.Build(was, c.live, options())
	if err != nil {
		t.Fatal(err)
	}
	late, _ := planner.ParseAddress("table/south/public.orders@all")
	if x := p.Change(late); x == nil || !strings.Contains(strings.Join(x.Notes, "; "), "skytools resync everything/public.orders@copy") {
		t.Errorf("a source that comes late: %+v", x)
	}

	text := strings.Replace(mergedTables, "ORDERS", `on: {all: {where: "id > 7"}}, `, 1)
	set := parseSpec(t, strings.ReplaceAll(mergedTables, "ORDERS", ""))
	w := newWorld(set)
	w.settle(t, set)
	if got := find(w.plan(t, parseSpec(t, strings.ReplaceAll(text, "ORDERS", ""))), "merged-table"); !strings.HasPrefix(got, "table/north/public.orders@all: the change needs a new copy") {
		t.Errorf("another condition for one source: %q", got)
	}
}

const mergedTables = `
skytools: 1
cluster: shop
databases: {north: {dsn: service=north}, south: {dsn: service=south}, all: {dsn: service=all}}
queues:
  north:
    nodes: {north: {type: root}, all: {type: leaf, provider: north}}
    tables: {public.orders: {ORDERS merge: all}}
  south:
    nodes: {south: {type: root}, all: {type: leaf, provider: south}}
    tables: {public.orders: {ORDERS merge: all}}
`
