package planner

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/archive"
	"github.com/skytools-go/skytools/sql/standby"
)

// settingState is a setting of a standby that the YAML names: an object of the standby's
// own server. Only those are among them that a reload changes; of the others
// [builder.settings] tells.
type settingState struct {
	Value string `json:"value"`
}

var settingKind = Kind[settingState]{
	Name:    "setting",
	Catalog: standby.Settings,
	Afar:    true,
	Once:    true, // a role that may not see it does not make it go
	Hidden: func(s *Scene, database, name string) bool { // a server has hundreds
		_, recorded := s.appliedIn(database)[Address{"setting", name, database}.String()]
		return !recorded
	},
	Read: func(raw json.RawMessage) (string, settingState, bool, error) {
		var row standby.Setting
		err := json.Unmarshal(raw, &row)
		return row.Name, settingState{row.Now()}, err == nil && row.Value != nil, err
	},
	Declared: func(s *Scene) []Declared[settingState] {
		var all []Declared[settingState]
		for _, w := range s.wantedSettings() {
			if w.row.Reloads() && !w.row.Overridden() && w.cannot() == "" {
				all = append(all, Declared[settingState]{Database: w.of.Name, Name: w.row.Name, At: w.of.At, Want: &settingState{w.row.Words(w.value)}})
			}
		}
		return all
	},
	Steps: func(s *Scene, o Object[settingState]) []Draft[settingState] {
		value := o.Want.Value
		if row, known := s.settingRows(o.Database)[o.Name]; known && o.Name == conninfoSetting && value != "" && row.Open != nil {
			value = standby.Moved(*row.Open, value)
		}
		return []Draft[settingState]{{Title: "set", Alone: true, Do: []sql.Stmt{sql.AlterSystem(o.Name, value), archive.Reload()}}}
	},
	Needs: func(s *Scene, o Object[settingState]) []Address {
		of := s.home(o.Database)
		return []Address{{"schema", "skytools", of}, {"standby", o.Database, of}}
	},
}

// A wantedSetting is a setting that the YAML names, and what its standby says of it.
type wantedSetting struct {
	of    *spec.Standby
	value string // as the YAML has it
	row   standby.Setting
	known bool // the standby says something of it
}

// wantedSettings are those of all standbys that were reached, in a fixed order.
func (s *Scene) wantedSettings() (all []wantedSetting) {
	for i := range s.Set.Standbys {
		b := &s.Set.Standbys[i]
		d := s.database(b.Name)
		if b.State == spec.Absent || s.isDead(b.Of) || !d.reached() || d.Primary {
			continue
		}
		rows := s.settingRows(b.Name)
		follow := s.following(b)
		for _, name := range slices.Sorted(maps.Keys(follow)) {
			if row, known := rows[name]; known { // who may not see it is told nothing
				all = append(all, wantedSetting{b, follow[name], row, true})
			}
		}
		for _, name := range slices.Sorted(maps.Keys(b.Settings)) {
			row, known := rows[strings.ToLower(name)]
			if row.Name == "" {
				row.Name = name
			}
			all = append(all, wantedSetting{b, b.Settings[name], row, known})
		}
	}
	return all
}

// settingRows is what a standby says of its settings, by their names in lower case.
func (s *Scene) settingRows(database string) map[string]standby.Setting {
	rows := map[string]standby.Setting{}
	for _, raw := range s.database(database).rows("setting") {
		var row standby.Setting
		if json.Unmarshal(raw, &row) == nil {
			rows[strings.ToLower(row.Name)] = row
		}
	}
	return rows
}

// settings tells of settings that differ and that apply leaves alone.
func (b *builder) settings() {
	for _, w := range b.wantedSettings() {
		say := func(code, try, format string, args ...any) {
			b.diagnostics = append(b.diagnostics, Diagnostic{Severity: "warning", Code: code, Source: w.of.At, Try: try,
				Address: Address{"setting", w.row.Name, w.of.Name}.String(), Message: fmt.Sprintf(format, args...)})
		}
		have, want := w.row.Now(), w.row.Words(w.value)
		set := sql.AlterSystem(w.row.Name, want).Text
		switch {
		case !w.known:
			say("setting-unknown", "", "the standby does not show it: it is misspelt, may hold a secret, or is for pg_read_all_settings")
		case have == want || raised(w.row, want):
		case w.cannot() != "":
			say("follows-otherwise", w.cannot(), "it is %s and should be %s", cmp.Or(have, "empty"), cmp.Or(want, "empty"))
		case w.row.Overridden():
			say("setting-overridden", "", "it is %s and should be %s, but this session has it from elsewhere (%s) than the server's files", have, want, w.row.Source)
		case w.row.Context == "internal":
			say("setting-fixed", "", "it is %s and should be %s, and cannot be changed", have, want)
		case w.row.Pending:
			say("needs-restart", "", "it is %s and should be %s; the server's files say something new that waits for its restart, which apply leaves to you", have, want)
		case !w.row.Reloads() && w.row.Context != "postmaster":
			say("needs-new-sessions", "on the standby: "+set+"; select pg_reload_conf()", "it is %s and should be %s, which only new sessions will see", have, want)
		case !w.row.Reloads():
			say("needs-restart", "on the standby: "+set+", then restart it", "it is %s and should be %s, which needs a restart of the standby", have, want)
		}
	}
}

// raised reports whether a setting is larger than declared because a standby cannot have
// less of it than its primary, whose value standby create gives it then.
// Source: PostgreSQL documentation, 26.4.3.
func raised(row standby.Setting, want string) bool {
	if !slices.Contains([]string{"max_connections", "max_worker_processes", "max_wal_senders", "max_prepared_transactions", "max_locks_per_transaction"}, row.Name) {
		return false
	}
	have, err := strconv.Atoi(row.Now())
	least, wrong := strconv.Atoi(want)
	return err == nil && wrong == nil && have > least
}
