package planner_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/spec"
)

const standbys = `skytools: 1
cluster: shop
databases: {hub: {dsn: service=hub}}
standbys:
  b: {of: hub, dsn: service=b, data_dir: /srv/pg, sync: true}
  c: {of: hub, dsn: service=c, data_dir: /srv/pg}
`

// Commits are never made to wait for somebody who is not there, and nobody is taken for a
// standby who is none.
func TestStandbyRefusals(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*world)
		code   string // empty: it is planned
	}{
		{"all is well", func(*world) {}, ""},
		{"it does not stream", func(w *world) { w.Databases["hub"].Facts["standby"] = nil }, "not-streaming"},
		{"it only catches up", func(w *world) {
			w.Databases["hub"].Facts["standby"] = []json.RawMessage{row(map[string]any{"name": "b", "state": "catchup", "commit": "on"})}
		}, "not-streaming"},
		{"nobody may look", func(w *world) {
			w.Databases["hub"].Facts["standby"] = []json.RawMessage{row(map[string]any{"name": "b", "state": nil, "commit": "on"})}
		}, "not-streaming"},
		{"commits wait for replay", func(w *world) {
			w.Databases["hub"].Facts["standby"] = []json.RawMessage{row(map[string]any{"name": "b", "state": "streaming", "commit": "remote_apply"})}
		}, "remote-apply"},
		{"somebody else is named", func(w *world) {
			w.Databases["hub"].Rows["standby"] = []json.RawMessage{row(map[string]any{"name": "receiver", "slot": true, "sync": true})}
		}, "names-elsewhere"},
		{"Patroni", func(w *world) {
			w.Databases["hub"].Rows["archive"] = []json.RawMessage{row(map[string]any{"patroni": true})}
		}, "patroni"},
		{"its primary is a standby", func(w *world) { w.Databases["hub"].Primary = false }, "standby"},
		{"it was promoted", func(w *world) { w.Databases["b"].Primary = true }, "no-standby"},
		{"it follows another system", func(w *world) { w.Databases["b"].SystemID = "2" }, "other-system"},
		{"it is not there yet", func(w *world) { w.Databases["c"] = &planner.Database{Error: "connection refused"} }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := parseSpec(t, standbys)
			w := newWorld(set)
			c.change(w)
			p := w.plan(t, set)
			codes := []string{}
			for _, d := range p.Diagnostics {
				if d.Severity == "error" {
					codes = append(codes, d.Code)
				}
			}
			if c.code == "" && len(codes) > 0 || c.code != "" && !slices.Contains(codes, c.code) {
				t.Errorf("refused for %v; want %q", codes, c.code)
			}
			if !p.Complete {
				t.Error("the plan is not complete")
			}
		})
	}
}

// A standby goes in an order that holds no commit up: first its name, then its slot; and
// what was recorded of its replay goes with it.
func TestStandbyDrop(t *testing.T) {
	set := parseSpec(t, standbys)
	w := newWorld(set)
	w.settle(t, set)
	gone := *set
	gone.Standbys = slices.Clone(set.Standbys)
	gone.Standbys[0].State = spec.Absent
	w.Databases["b"] = &planner.Database{Error: "connection refused"}
	p := w.plan(t, &gone)
	var titles []string
	text := ""
	for _, s := range p.Steps {
		titles = append(titles, s.Title)
		for _, stmt := range s.Do {
			text += stmt.Pasteable() + "\n"
		}
	}
	if !slices.Equal(titles, []string{"set synchronous names", "drop slot"}) {
		t.Errorf("steps: %v", titles)
	}
	for _, want := range []string{`alter system set "synchronous_standby_names" = '';`, "pg_drop_replication_slot('b')", "'replay/b@b'"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in:\n%s", want, text)
		}
	}
	if len(p.Changes) != 1 || len(p.Changes[0].Hazards) != 1 || p.Changes[0].Hazards[0].Code != "drops-slot" {
		t.Errorf("changes: %+v", p.Changes)
	}
	less := *set
	less.Standbys = set.Standbys[1:]
	if p := w.plan(t, &less); len(p.Changes) > 0 {
		t.Errorf("taking lines away changes something: %+v", p.Changes[0])
	}
}

// A standby that is down is no drift before it was ever there, and unchecked afterwards.
func TestStandbyDown(t *testing.T) {
	set := parseSpec(t, standbys)
	for _, was := range []bool{false, true} {
		w := newWorld(set)
		if was {
			w.settle(t, set)
		}
		w.Databases["b"] = &planner.Database{Error: "connection refused"}
		if !was {
			w.settle(t, set)
		}
		d, err := planner.FindDrift(set, w.Live, options())
		if err != nil {
			t.Fatal(err)
		}
		if len(d.Drifted) > 0 || (len(d.Unchecked) > 0) != was {
			t.Errorf("was there: %t; drift: %+v", was, d)
		}
		if p := w.plan(t, set); p.Complete == was {
			t.Errorf("was there: %t; the plan is complete: %t", was, p.Complete)
		}
	}
}

// A pause is drift when it has lasted, beside the delay, and says since when. While replay
// waits for its delay, the server only calls it requested.
func TestStandbyPaused(t *testing.T) {
	set := parseSpec(t, standbys)
	w := newWorld(set)
	w.settle(t, set)
	for _, c := range []struct{ state, facts, want string }{
		{"paused", `"since": "2026-11-29 13:00:00Z", "behind": 12`, ""},
		{"paused", `"since": null, "behind": 0`, ""},
		{"paused", `"since": "2026-11-29 13:00:00Z", "behind": 100000`, "paused: nothing is replayed that was committed after 2026-11-29 13:00:00Z"},
		{"paused", `"since": null, "behind": null`, "paused"},
		{"pause requested", `"since": null, "behind": null`, "paused"},
		{"not paused", `"since": null, "behind": null`, ""},
	} {
		row := w.Databases["b"].Rows["replay"][0]
		var now map[string]any
		if err := json.Unmarshal(row, &now); err != nil {
			t.Fatal(err)
		}
		now["state"] = c.state
		text, err := json.Marshal(now)
		if err != nil {
			t.Fatal(err)
		}
		w.Databases["b"].Rows["replay"][0] = json.RawMessage(strings.TrimSuffix(string(text), "}") + ", " + c.facts + "}")
		d, err := planner.FindDrift(set, w.Live, options())
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if len(d.Drifted) == 1 {
			got, _ = d.Drifted[0].Fields[0].After.(string)
		}
		if got != c.want {
			t.Errorf("%s, %s: drift is %q, want %q", c.state, c.facts, got, c.want)
		}
		w.Databases["b"].Rows["replay"][0] = row
	}
}
