package planner_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
)

// What apply can set it sets; of the rest it is told what it is and why it is left alone.
func TestSettings(t *testing.T) {
	const yaml = `skytools: 1
cluster: shop
databases: {hub: {dsn: service=hub}}
archives: {wal: {of: hub, stores: [{url: "file:///srv/wal"}], wal: {settings: by_hand}}}
standbys:
  b: {of: hub, dsn: service=b, data_dir: /srv/pg, conninfo: "host=hub user=r", FOLLOW settings: {work_mem: 64MB}}
`
	work := func(more map[string]any) map[string]any {
		row := map[string]any{"name": "work_mem", "value": "4096", "unit": "kB", "type": "integer", "context": "user", "source": "default"}
		maps.Copy(row, more)
		return row
	}
	follows := func(value string, open any) map[string]any {
		return map[string]any{"name": "primary_conninfo", "value": value, "open": open, "type": "string", "context": "sighup", "source": "configuration file"}
	}
	command := func(value string) map[string]any {
		return map[string]any{"name": "restore_command", "value": value, "type": "string", "context": "sighup", "source": "configuration file"}
	}
	const stream, both, only = "follow: stream,", "archive: wal,", "archive: wal, follow: archive,"
	for _, c := range []struct {
		name, follow string
		rows         []map[string]any
		does         string // the statement of the one step
		told         string // the code of the one diagnostic
	}{
		{"as it is", stream, []map[string]any{work(map[string]any{"value": "65536"})}, "", ""},
		{"a reload is enough", stream, []map[string]any{work(nil)}, `alter system set "work_mem" = '64MB'`, ""},
		{"a restart is needed", stream, []map[string]any{work(map[string]any{"context": "postmaster"})}, "", "needs-restart"},
		{"a restart is due", stream, []map[string]any{work(map[string]any{"context": "postmaster", "pending": true})}, "", "needs-restart"},
		{"only new sessions see it", stream, []map[string]any{work(map[string]any{"context": "backend"})}, "", "needs-new-sessions"},
		{"the role has its own", stream, []map[string]any{work(map[string]any{"source": "user"})}, "", "setting-overridden"},
		{"nobody can change it", stream, []map[string]any{work(map[string]any{"context": "internal"})}, "", "setting-fixed"},
		{"there is none", stream, nil, "", "setting-unknown"},
		{"it follows another host", stream, []map[string]any{work(map[string]any{"value": "65536"}), follows("host=old port=5432", "user=r host=old application_name=b")},
			`alter system set "primary_conninfo" = 'host=''hub'' port=5432 user=r  application_name=b'`, ""},
		{"it follows with a password", stream, []map[string]any{work(map[string]any{"value": "65536"}), follows("host=old port=5432", nil)}, "", "follows-otherwise"},
		{"it follows nobody", stream, []map[string]any{work(map[string]any{"value": "65536"}), follows("", "")}, "", "follows-otherwise"},
		{"it reads an archive besides", stream, []map[string]any{work(map[string]any{"value": "65536"}), command("a command")}, `alter system set "restore_command" = ''`, ""},
		{"it should read an archive", both, []map[string]any{work(map[string]any{"value": "65536"}), command("")}, "", "follows-otherwise"},
		{"it streams besides", only, []map[string]any{work(map[string]any{"value": "65536"}), follows("host=hub port=5432", "host=hub")}, `alter system set "primary_conninfo" = ''`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := parseSpec(t, strings.Replace(yaml, "FOLLOW", c.follow, 1))
			w := newWorld(set)
			w.Databases["b"].Rows["setting"] = []json.RawMessage{row(work(map[string]any{"value": "65536"}))}
			w.settle(t, set)
			w.Databases["b"].Rows["setting"] = nil
			for _, r := range c.rows {
				w.Databases["b"].Rows["setting"] = append(w.Databases["b"].Rows["setting"], row(r))
			}
			p := w.plan(t, set)
			does, told := []string{}, []string{}
			for _, s := range p.Steps {
				if len(s.Do) > 0 {
					does = append(does, s.Do[0].Text)
				}
			}
			for _, d := range p.Diagnostics {
				told = append(told, d.Code)
			}
			some := func(text string) []string {
				return slices.DeleteFunc([]string{text}, func(s string) bool { return s == "" })
			}
			if !slices.Equal(does, some(c.does)) || !slices.Equal(told, some(c.told)) {
				t.Errorf("does %q, tells %q; want %q, %q", does, told, c.does, c.told)
			}
		})
	}
}
