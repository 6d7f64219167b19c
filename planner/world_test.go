package planner_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
)

// A world is a cluster in memory: catalog rows, which steps change as their
// results say. It stands for the databases in tests of plan, apply, plan again; it
// knows what a step claims to do, and not whether its statements do that, which
// the tests of the applier show on real servers.
type world struct {
	*planner.Live
	set *spec.Set
}

// newWorld is an empty server for each declared database, with a few tables.
func newWorld(set *spec.Set) *world {
	w := &world{&planner.Live{Format: planner.LiveFormat, At: now, Databases: map[string]*planner.Database{}}, set}
	for _, d := range set.Databases {
		if d.State != spec.Dead {
			w.Databases[d.Name] = emptyDatabase(d.Name)
		}
	}
	for _, b := range set.Standbys {
		w.Databases[b.Name] = &planner.Database{Name: "postgres", Server: "17.5", SystemID: "1" + b.Of, Rows: map[string][]json.RawMessage{}}
		for name := range b.Settings {
			w.Databases[b.Name].Rows["setting"] = append(w.Databases[b.Name].Rows["setting"], rowOf(planner.Address{Kind: "setting", Name: name}, planner.State{"value": "as installed"}))
		}
		w.Databases[b.Of].Facts["standby"] = append(w.Databases[b.Of].Facts["standby"], row(map[string]any{"name": b.Name, "state": "streaming", "commit": "on"}))
	}
	return w
}

func emptyDatabase(name string) *planner.Database {
	d := &planner.Database{Name: "shop", Server: "17.5", User: "deploy", SystemID: "1" + name, Primary: true, Location: "host=" + name, Rows: map[string][]json.RawMessage{},
		Facts: map[string][]json.RawMessage{}, Unreadable: map[string]string{}}
	for _, table := range []string{"public.invoices", "public.orders", "public.items", "public.log_a", "public.log_b"} {
		d.Rows["structure"] = append(d.Rows["structure"], row(map[string]any{
			"name": table, "kind": "table", "columns": []any{map[string]any{"name": "id", "type": "bigint"}, map[string]any{"name": "note", "type": "text"}},
			"primary_key": map[string]any{"name": "pkey", "columns": []string{"id"}}}))
	}
	for _, seq := range []string{"public.orders_id_seq", "public.items_id_seq"} {
		d.Rows["sequence-name"] = append(d.Rows["sequence-name"], row(map[string]any{"name": seq}))
	}
	return d
}

func row(v any) json.RawMessage {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

// apply carries out a plan, with the applier's rule for each step.
func (w *world) apply(t *testing.T, p *planner.Plan) {
	t.Helper()
	for _, s := range p.Steps {
		found := w.find(t, s.Address)
		if !s.Result.Holds(found) && !s.Expect.Holds(found) {
			t.Fatalf("%s %s (%s): expects %v, found %v", s.ID, s.Address, s.Title, s.Expect, found)
		}
		after := maps.Clone(found)
		for path, v := range s.Result {
			if after[path] = jsonValue(t, v); v == nil {
				delete(after, path)
			}
		}
		if after["exists"] == nil {
			after = nil
		}
		if s.Record != nil {
			want := jsonValue(t, s.Record).(map[string]any)
			if !planner.State(want).Holds(after) || !after.Holds(want) {
				t.Errorf("%s %s (%s): leaves %v, and records %v", s.ID, s.Address, s.Title, after, want)
			}
			w.record(p, cmp.Or(s.RecordedIn, s.Node), s.Address, want)
		}
		if s.Forget {
			d := w.Databases[s.Node]
			d.Applied = slices.DeleteFunc(d.Applied, func(a planner.Applied) bool { return a.Address == s.Address.String() })
		}
		w.store(t, s.Address, after)
		if found := w.find(t, s.Address); !s.Result.Holds(found) {
			t.Fatalf("%s %s (%s): should result in %v, found %v: is rowOf wrong?", s.ID, s.Address, s.Title, s.Result, found)
		}
	}
}

func (w *world) record(p *planner.Plan, database string, a planner.Address, s planner.State) {
	d := w.Databases[database]
	row := planner.Applied{Address: a.String(), Cluster: p.Cluster, Spec: s, At: now, By: "test"}
	if i := slices.IndexFunc(d.Applied, func(x planner.Applied) bool { return x.Address == row.Address }); i >= 0 {
		d.Applied[i] = row
		return
	}
	d.Applied = append(d.Applied, row)
}

// jsonValue is v as it comes back from a database or a saved plan.
func jsonValue(t *testing.T, v any) any {
	t.Helper()
	var out any
	if err := json.Unmarshal(row(v), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func (w *world) find(t *testing.T, a planner.Address) planner.State {
	t.Helper()
	s, err := planner.Find(a, w.Databases[a.Database].Rows[a.Kind])
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// store replaces an object's rows, and what the server changes with it: a branch
// has a queue, and a queue takes its consumers and captures with it.
func (w *world) store(t *testing.T, a planner.Address, s planner.State) {
	t.Helper()
	w.remove(t, a)
	d := w.Databases[a.Database]
	if s != nil {
		d.Rows[a.Kind] = append(d.Rows[a.Kind], rowOf(a, s))
	}
	switch {
	case a.Kind == "node" && s["type"] == "branch" && len(w.find(t, planner.Address{Kind: "queue", Name: a.Name, Database: a.Database})) == 0:
		d.Rows["queue"] = append(d.Rows["queue"], row(map[string]any{"name": a.Name, "ticker_max_lag": 3, "ticker_max_count": 500, "ticker_idle_period": 60,
			"rotation_period": s["rotation_period"], "external_ticker": true, "disable_insert": true}))
	case a.Kind == "node" && s == nil:
		w.remove(t, planner.Address{Kind: "queue", Name: a.Name, Database: a.Database})
	case a.Kind == "queue" && s == nil:
		for _, kind := range []string{"consumer", "capture"} {
			d.Rows[kind] = slices.DeleteFunc(d.Rows[kind], func(r json.RawMessage) bool {
				var x struct{ Queue string }
				return json.Unmarshal(r, &x) == nil && x.Queue == a.Name
			})
		}
	}
}

func (w *world) remove(t *testing.T, a planner.Address) {
	t.Helper()
	d := w.Databases[a.Database]
	d.Rows[a.Kind] = slices.DeleteFunc(d.Rows[a.Kind], func(r json.RawMessage) bool {
		s, err := planner.Find(a, []json.RawMessage{r})
		if err != nil {
			t.Fatal(err)
		}
		return len(s) > 0
	})
}

// rowOf is the catalog row of an object in that state.
func rowOf(a planner.Address, s planner.State) json.RawMessage {
	queue, name, _ := strings.Cut(a.Name, "/")
	under := func(prefix string) map[string]any {
		all := map[string]any{}
		for path, v := range s {
			if key, ok := strings.CutPrefix(path, prefix+"."); ok {
				all[key] = v
			}
		}
		return all
	}
	out := map[string]any{"queue": queue, "name": name}
	switch a.Kind {
	case "script":
		out["sha256"] = s["sha256"]
	case "archive":
		out = map[string]any{"mode": s["archive_mode"], "command": s["archive_command"], "wal_level": s["wal_level"], "arrived": s["arrives"]}
	case "standby":
		out = map[string]any{"name": a.Name, "slot": s["slot"], "sync": s["sync"]}
	case "replay":
		delay, err := spec.ParseDuration(fmt.Sprint(s["delay"]))
		if err != nil {
			panic(err)
		}
		state := "not paused"
		if s["replay"] == "paused" {
			state = "paused"
		}
		out = map[string]any{"name": a.Name, "delay": time.Duration(delay).Milliseconds(), "state": state}
	case "setting":
		out = map[string]any{"name": a.Name, "value": s["value"], "type": "string", "context": "sighup", "source": "configuration file"}
	case "schema":
		out = map[string]any{"name": a.Name, "comment": "", "functions": under("functions")}
		switch s["origin"] {
		case "skytools":
			out["comment"] = sql.Mark + fmt.Sprint(s["version"])
		case "extension":
			out["extension"] = "3.5"
		}
	case "role":
		out = map[string]any{"name": a.Name, "member_of": s["member_of"]}
	case "queue":
		out = maps.Clone(s)
		out["name"] = a.Name
	case "consumer":
		out["members"] = s["members"]
	case "capture":
		out = map[string]any{"queue": queue, "table": name, "trigger": "_skytools_" + queue, "on": "row", "args": s["args"], "is_current": s["current"]}
	case "sequence":
		out["local"] = s["local"]
	case "table":
		out = tableRow(queue, name, s, under)
	case "node":
		out = nodeRow(a.Name, s, under("subscribers"), under("locations"))
	}
	return row(out)
}

func tableRow(queue, name string, s planner.State, under func(string) map[string]any) map[string]any {
	attrs := under("attrs")
	for _, key := range []string{"columns", "transform", "types"} {
		d := londiste.Dict{}
		for name, text := range under(key) {
			if d[name] = new(text.(string)); text == "" {
				d[name] = nil
			}
		}
		if len(d) > 0 {
			attrs["skytools_"+key] = d.String()
		}
	}
	dest := name
	if d, ok := s["dest"].(string); ok {
		dest = d
	}
	if where, ok := s["where"]; ok {
		attrs["skytools_where"] = where
	}
	for key, value := range handlingOf(s, under) {
		attrs[key] = *value
	}
	args := append([]any{queue}, s["args"].([]any)...)
	if dest != name {
		args = append(args, "ev_extra1="+sql.Literal(name))
	}
	if s["triggers"] == "deny" {
		args = append(args, "deny")
	}
	trigger := func(events ...string) map[string]any {
		return map[string]any{"events": events, "args": args, "enabled": s["triggers"] != "disabled", "is_current": true}
	}
	if s["triggers"] == "none" {
		return map[string]any{"queue": queue, "name": name, "local": true, "dest": dest, "attrs": attrs, "triggers": []any{}}
	}
	return map[string]any{"queue": queue, "name": name, "local": true, "dest": dest, "attrs": attrs,
		"triggers": []any{trigger("insert", "update", "delete"), trigger("truncate")}}
}

// handlingOf is the attributes of a table's handling.
func handlingOf(s planner.State, under func(string) map[string]any) londiste.Dict {
	text := func(key string) string { v, _ := s[key].(string); return v }
	h := londiste.Handling{OnMissing: text("on_missing"), OnConflict: text("on_conflict"), Truncate: text("truncate"),
		Apply: text("apply"), Queue: text("queue"), Store: text("store")}
	if text("function.name") != "" {
		h.Function = &londiste.Function{Name: text("function.name"), Conf: text("function.conf")}
	}
	if text("shard.key") != "" {
		h.Shard = &londiste.Shard{Key: text("shard.key"), Function: text("shard.function"), Replay: text("shard.replay")}
		if number, ok := s["shard.number"].(float64); ok {
			h.Shard.Number, h.Shard.Of = new(int(number)), new(int(s["shard.of"].(float64)))
		}
	}
	if parts := under("parts"); len(parts) > 0 {
		text, _ := json.Marshal(parts)
		json.Unmarshal(text, &h.Parts)
	}
	for path, word := range under("mask") {
		if h.Mask == nil {
			h.Mask = londiste.Mask{}
		}
		column, member, inside := strings.Cut(path, ".")
		if !inside {
			h.Mask[column] = londiste.Rule{Word: word.(string)}
			continue
		}
		if h.Mask[column].Inside == nil {
			h.Mask[column] = londiste.Rule{Inside: londiste.Mask{}}
		}
		h.Mask[column].Inside[member] = londiste.Rule{Word: word.(string)}
	}
	for arg, value := range under("newest") {
		if h.Newest == nil {
			h.Newest = map[string]string{}
		}
		h.Newest[arg] = value.(string)
	}
	d := londiste.Dict{}
	h.Write(d)
	return d
}

func nodeRow(queue string, s planner.State, subscribers, others map[string]any) map[string]any {
	locations := map[string]any{}
	dead, _ := s["dead"].([]any)
	place := func(name string, location any) {
		locations[name] = map[string]any{"location": location, "dead": slices.Contains(dead, any(name))}
	}
	for _, name := range dead {
		place(name.(string), "host=dead")
	}
	for name, location := range others {
		place(name, location)
	}
	place(s["node"].(string), s["location"])
	if s["type"] != "root" {
		place(s["provider"].(string), s["provider_location"])
	}
	readers := map[string]any{}
	for name, worker := range subscribers {
		readers[name] = map[string]any{"worker": worker, "watermark": "." + name + ".watermark"}
	}
	closed := s["closed"] == true || s["type"] == "branch"
	return map[string]any{"queue": queue, "name": s["node"], "type": s["type"], "provider": s["provider"], "combined": s["combined"], "stopped": s["stopped"], "worker": s["worker"], "paused": s["paused"] == true,
		"insert_disabled": closed, "external_ticker": closed, "rotation_period": s["rotation_period"], "attrs": map[string]any{},
		"locations": locations, "subscribers": readers, "consumers": map[string]any{}}
}

// plan plans the world.
func (w *world) plan(t *testing.T, set *spec.Set) *planner.Plan {
	t.Helper()
	p, err := planner.Build(set, w.Live, options())
	if err != nil {
		t.Fatal(err)
	}
	checkOrder(t, p)
	return p
}

// settle applies the set and requires that nothing is left to do.
func (w *world) settle(t *testing.T, set *spec.Set) *planner.Plan {
	t.Helper()
	p := w.plan(t, set)
	if p.Errors() > 0 {
		t.Fatalf("it cannot be planned: %+v", p.Diagnostics)
	}
	w.apply(t, p)
	requireEmpty(t, w.plan(t, set))
	return p
}

func requireEmpty(t *testing.T, p *planner.Plan) {
	t.Helper()
	if p.Empty() && len(p.Changes) == 0 && p.Errors() == 0 {
		return
	}
	for _, c := range p.Changes {
		t.Errorf("still to do: %s %s %+v", c.Action, c.Address, c.Fields)
	}
	t.Errorf("the plan after the apply is not empty: %+v %+v", p.Summary, p.Diagnostics)
}

// checkOrder requires that every step comes after what it needs, and that each
// change and step knows the other.
func checkOrder(t *testing.T, p *planner.Plan) {
	t.Helper()
	place := map[string]int{}
	for i, s := range p.Steps {
		if _, twice := place[s.ID]; twice {
			t.Errorf("%s is there twice", s.ID)
		}
		place[s.ID] = i
		for _, need := range s.Needs {
			if at, ok := place[need]; !ok || at >= i {
				t.Errorf("%s %s needs %s, which does not come before it", s.ID, s.Address, need)
			}
		}
		c := p.Change(s.Address)
		if c == nil || !slices.Contains(c.StepIDs, s.ID) {
			t.Errorf("%s %s belongs to no change", s.ID, s.Address)
		}
	}
	for _, c := range p.Changes {
		for _, id := range c.StepIDs {
			if i, ok := place[id]; !ok || p.Steps[i].Address != c.Address {
				t.Errorf("change %s names step %s, which is not in the plan", c.Address, id)
			}
		}
		if c.Action != planner.Unobserved && len(c.StepIDs) == 0 {
			t.Errorf("change %s has no step", c.Address)
		}
	}
}
