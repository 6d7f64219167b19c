package planner_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql/londiste"
)

const handled = `
skytools: 1
cluster: shop
databases: {hub: {dsn: service=a}, edge: {dsn: service=b}, leaf: {dsn: service=c}}
queues:
  mails: {on: leaf}
  shop:
    mask_key: {env: KEY}
    nodes: {hub: {type: root}, edge: {type: branch, provider: hub}, leaf: {type: leaf, provider: edge}}
    tables:
      public.orders: {apply: APPLY}
`

// Every way to handle a table is planned, stored in the original's words where it has
// some, adopted by the YAML that adopt writes, and changed into every other.
func TestHandlings(t *testing.T) {
	ways := []struct{ yaml, stored string }{
		{"{apply: rows}", ""},
		{"{apply: bulk}", "handler=bulk"},
		{"{apply: nothing}", "skytools_apply=nothing"},
		{"{apply: virtual}", "handler=vtable"},
		{"{apply: {function: public.on_order, conf: 'a=1&b'}}", "handler=applyfn%28func_conf%3Da%253D1%2526b%26func_name%3Dpublic.on_order%29"},
		{"{apply: {newest: {timefield: changed}}}", "handler=multimaster%28timefield%3Dchanged%29"},
		{"{apply: {queue: mails}}", "handler=qsplitter%28queue%3Dmails%29"},
		{"{store: no}", "handler=qtable"},
		{"{shard: {key: note}}", "handler=shard%28key%3Dnote%29"},
		{"{shard: {key: note, replay: no}, truncate: no}", "handler=shard%28disable_replay%3D1%26ignore_truncate%3D1%26key%3Dnote%29"},
		{"{shard: {key: note, function: public.h}, on: {edge: {shard: {number: 1, of: 2}}, leaf: {shard: {number: 3, of: 4}}}}", "skytools_shard=function%3Dpublic.h%26key%3Dnote%26number%3D1%26of%3D2"},
		{"{mask: {id: hash64, note: hash}}", "skytools_mask=%7B%22id%22%3A%22hash64%22%2C%22note%22%3A%22hash%22%7D"},
		{"{apply: {parts: {by: field, field: note, period: month, rows: keep_latest, retention: 1 year, skip_old: true, events: [I, U]}}}", "skytools_parts="},
		{"{apply: {parts: {by: event_time, create: {before: 'lock %(parent)s', sql: 'create table %(part)s ()', after: 'analyze %(part)s'}}}, on: {edge: {columns: {'*': , id: id}}, leaf: }}", "skytools_columns=%252A%26id%3Did&skytools_parts="},
		{"{apply: {parts: {by: event_time, create: {function: public.f, after: 'analyze %(part)s; select 1'}}}}", "skytools_parts="},
		{"{truncate: no}", "handler=londiste%28ignore_truncate%3D1%29"},
		{"{truncate: cascade, on_missing: ignore, on_conflict: overwrite}", "skytools_on_conflict=overwrite&skytools_on_missing=ignore&skytools_truncate=cascade"},
		{"{on: {hub: {store: no}, edge: {apply: virtual}, leaf: {apply: {queue: mails}, truncate: no}}}", "handler=vtable"},
	}
	for i, way := range ways {
		set := parseSpec(t, strings.ReplaceAll(handled, "{apply: APPLY}", way.yaml))
		w := newWorld(set)
		first := w.plan(t, set)
		var text string
		for _, s := range first.Steps {
			if s.Address.String() == "table/shop/public.orders@edge" {
				for _, do := range s.Do {
					text += do.Pasteable() + "\n"
				}
			}
		}
		if !strings.Contains(text, "'"+way.stored) && way.stored != "" || way.stored == "" && strings.Contains(text, "handler") {
			t.Errorf("%s is stored by\n%s\nwant %s", way.yaml, text, way.stored)
		}
		w.settle(t, set)
		noDrift(t, w, set)
		adopted(t, w, set)
		next := ways[(i+1)%len(ways)].yaml
		other := parseSpec(t, strings.ReplaceAll(handled, "{apply: APPLY}", next))
		w.settle(t, other)
		adopted(t, w, other)
		if t.Failed() {
			t.Fatalf("from %s to %s", way.yaml, next)
		}
	}
}

// A virtual branch has no rows: a copy below it comes from the root, and it needs no table.
func TestVirtualBranch(t *testing.T) {
	set := parseSpec(t, strings.ReplaceAll(handled, "public.orders: {apply: APPLY}", "public.orders: {on: {edge: {apply: virtual}, leaf: }}"))
	w := newWorld(set)
	w.Databases["edge"].Rows["structure"] = nil
	p := w.plan(t, set)
	if p.Errors() > 0 {
		t.Fatalf("%+v", p.Diagnostics)
	}
	found := false
	for _, s := range p.Steps {
		for _, do := range s.Do {
			found = found || s.Address.String() == "table/shop/public.orders@leaf" && strings.Contains(do.Pasteable(), "copy_node=hub")
		}
	}
	if !found {
		t.Error("the leaf does not copy from the root")
	}
	var change *planner.Change
	for _, c := range p.Changes {
		if c.Address.String() == "table/shop/public.orders@edge" {
			change = c
		}
	}
	if change == nil || len(change.Hazards) > 0 {
		t.Errorf("%+v", change)
	}
}

// A mask decides about every column, by rules that the columns can bear.
func TestRefuseMask(t *testing.T) {
	for mask, code := range map[string]string{
		"{id: keep}": "mask-incomplete", "{id: skip, note: keep}": "needs-key", "{id: bool, note: keep}": "needs-key", "{id: keep, note: keep, more: skip}": "no-column",
		"{id: keep, note: {a: keep}}": "mask-type", "{id: hash32, note: skip}": "",
	} {
		set := parseSpec(t, strings.ReplaceAll(handled, "{apply: APPLY}", "{on: {edge: {mask: "+mask+"}}}"))
		p := newWorld(set).plan(t, set)
		got := ""
		for _, d := range p.Diagnostics {
			if d.Severity == "error" {
				got = d.Code
			}
		}
		if got != code {
			t.Errorf("%s: %q, want %q", mask, got, code)
		}
	}
}

// SQL that makes parts is checked before it is stored.
func TestRefuseTemplate(t *testing.T) {
	for create, code := range map[string]string{
		"{sql: 'create table %(table)s ()'}": "bad-parts", "{after: 'commit'}": "bad-parts", "{before: 'select 5 % 2'}": "bad-parts", "{after: 'analyze %(part)s'}": "",
	} {
		set := parseSpec(t, strings.ReplaceAll(handled, "APPLY", "{parts: {by: event_time, create: "+create+"}}"))
		got := ""
		for _, d := range newWorld(set).plan(t, set).Diagnostics {
			if d.Severity == "error" {
				got = d.Code
			}
		}
		if got != code {
			t.Errorf("%s: %q, want %q", create, got, code)
		}
	}
}

// The original's handler obfuscate gives way to a mask alone, which adopt makes of the file
// that has its rules: columns that it does not name are left out.
func TestObfuscate(t *testing.T) {
	set := parseSpec(t, strings.ReplaceAll(handled, "{apply: APPLY}", "{on: {edge: }}"))
	w := newWorld(set)
	w.settle(t, set)
	w.handler(t, "public.orders", "edge", "obfuscate(ignore_truncate=1)")
	for said, code := range map[string]string{"": "", "on_missing: warn": "mask-missing", "apply: virtual": "mask-missing", "mask: {id: keep, note: skip}": ""} {
		p := w.plan(t, parseSpec(t, strings.ReplaceAll(handled, "{apply: APPLY}", "{on: {edge: {"+said+"}}}")))
		got := ""
		for _, d := range p.Diagnostics {
			if d.Severity == "error" {
				got = d.Code
			}
		}
		if got != code || strings.Contains(said, "mask:") != slices.ContainsFunc(p.Changes, func(c *planner.Change) bool { return c.Action == planner.Recreate }) {
			t.Errorf("%s: %q %+v, want %q", said, got, p.Diagnostics, code)
		}
	}
	bare := parseSpec(t, handled[:strings.Index(handled, "queues:")]+"queues: {mails: {on: leaf}}\n")
	for rules, want := range map[string]string{
		"{public.other: {id: keep}}":    "public.orders: {on: [edge]}  # handler obfuscate on edge stays, and stops the table: its rules are in a file",
		"{public.orders: {id: hash64}}": "public.orders: {on: {edge: {mask: {id: hash64, note: skip}}}}  # masked on edge by the handler obfuscate so far",
	} {
		masks, problems := spec.ParseMasks(spec.Source{Name: "rules.yaml", Text: []byte(rules)})
		text, _, err := planner.AdoptYAML(bare, w.Live, planner.Options{Masks: masks}, nil)
		if len(problems) > 0 || err != nil || !strings.Contains(text, want) || strings.Contains(text, "mask_key: {env") != strings.Contains(rules, "hash") {
			t.Errorf("%v %v\n%s\nwant %s", problems, err, text, want)
		}
	}
	for _, bad := range []string{"{public.a: {id: hide}}", "{public.a: [id]}", "[a]", "{a: {b: keep}", "", "{a: {b: {c: drop}}}"} {
		if masks, problems := spec.ParseMasks(spec.Source{Name: "rules.yaml", Text: []byte(bad)}); len(problems) == 0 {
			t.Errorf("%s is read as %v", bad, masks)
		}
	}
}

// handler gives a table that is registered on a node a handler of the original.
func (w *world) handler(t *testing.T, table, database, handler string) {
	t.Helper()
	for i, raw := range w.Databases[database].Rows["table"] {
		var row map[string]any
		if err := json.Unmarshal(raw, &row); err != nil {
			t.Fatal(err)
		}
		if row["name"] == table {
			row["attrs"] = map[string]any{"handler": handler}
			w.Databases[database].Rows["table"][i], _ = json.Marshal(row)
		}
	}
}

// A handler of the original with a list of fields and SQL that makes parts is adopted in
// the words for these, and changes nothing.
func TestAdoptDispatch(t *testing.T) {
	set := parseSpec(t, strings.ReplaceAll(handled, "{apply: APPLY}", "{on: {edge: }}"))
	w := newWorld(set)
	w.settle(t, set)
	handler := londiste.Handler{Name: "daily_event", Args: londiste.DictOf(map[string]string{"fields": "id", "post_part": "grant select on %(part)s to x"})}
	w.handler(t, "public.orders", "edge", handler.String())
	bare := parseSpec(t, handled[:strings.Index(handled, "queues:")]+"queues: {mails: {on: leaf}}\n")
	text, _, err := planner.AdoptYAML(bare, w.Live, planner.Options{}, nil)
	want := `{columns: {"*": null, id: id}, apply: {parts: {by: event_time, period: day, rows: keep_latest, create: {after: "grant select on %(part)s to x"}}}}`
	if err != nil || !strings.Contains(text, want) {
		t.Errorf("%v\n%s\nwant %s", err, text, want)
	}
}
