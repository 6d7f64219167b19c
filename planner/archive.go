package planner

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/archive"
)

// archiveState is what is compared of an archive: how its server hands over WAL, and that
// it does. What is in the stores is not: the planner reads databases.
type archiveState struct {
	Mode    string `json:"archive_mode"`
	Command string `json:"archive_command"`
	Level   string `json:"wal_level"`
	Arrives bool   `json:"arrives"` // see proof.go
}

var archiveKind = Kind[archiveState]{
	Name:    "archive",
	Catalog: archive.Settings,
	Read: func(raw json.RawMessage) (string, archiveState, bool, error) {
		var row archive.Setting
		err := json.Unmarshal(raw, &row)
		return row.Archive(), archiveOf(row), err == nil && row.Archive() != "", err
	},
	Hidden: func(*Scene, string, string) bool { return true }, // adopt cannot write stores
	Declared: func(s *Scene) []Declared[archiveState] {
		var all []Declared[archiveState]
		for i := range s.Set.Archives {
			a := &s.Set.Archives[i]
			if a.WAL.Settings == spec.ByHand || s.isDead(a.Of) {
				continue
			}
			all = append(all, Declared[archiveState]{Database: a.Of, Name: a.Name, At: a.At, Refuse: refuseArchive(s, a),
				Want: &archiveState{"on", archive.Command(a.WAL.Client, a.Name, a.WAL.Spec), "replica", true}})
		}
		return all
	},
	Steps: func(s *Scene, o Object[archiveState]) []Draft[archiveState] {
		now, _ := settingOf(s, o.Database)
		set, proven := setArchive(now, o)
		if proven.Arrives {
			return set
		}
		return append(set, prove(o))
	},
	Needs: func(_ *Scene, o Object[archiveState]) []Address { return home(o.Address) },
	Notes: notesOfArchive,
	Found: func(s *Scene, database, path string) (string, bool) {
		if path != "arrives" {
			return "", true
		}
		return progressOf(s, database), fails(s, database)
	},
}

// setArchive makes the server hand over WAL, and says what it is like then.
func setArchive(now archive.Setting, o Object[archiveState]) ([]Draft[archiveState], archiveState) {
	have, after := haveOf(o), *o.Want
	var do []sql.Stmt
	for _, setting := range []struct{ name, have, want string }{
		{"wal_level", have.Level, o.Want.Level}, {"archive_mode", have.Mode, o.Want.Mode}, {"archive_command", have.Command, o.Want.Command},
	} {
		if setting.have != setting.want {
			do = append(do, sql.AlterSystem(setting.name, setting.want))
		}
	}
	after.Arrives = !now.InForce() || have.Command == o.Want.Command && arrives(now)
	if len(do) == 0 {
		return nil, after
	}
	do = append(do, archive.Reload())
	if have.Command != o.Want.Command && now.Arrived != nil && *now.Arrived {
		do = append(do, archive.Unproven())
	}
	return []Draft[archiveState]{{Title: "set", Alone: true, Do: do, After: &after}}, after
}

func notesOfArchive(s *Scene, o Object[archiveState]) []string {
	now, _ := settingOf(s, o.Database)
	var restart []string
	for _, setting := range []struct {
		name string
		done bool
	}{{"archive_mode", now.Mode == "on" || now.Mode == "always"}, {"wal_level", now.WALLevel != "minimal"}} {
		if !setting.done {
			restart = append(restart, setting.name)
		}
	}
	notes := []string{storesNote(s.Set.Archives.Get(o.Name))}
	if len(restart) > 0 {
		notes = append(notes, strings.Join(restart, " and ")+" will change with the next restart of the server, which apply leaves to you; plan again after it, to prove that WAL arrives")
	}
	if text := progressOf(s, o.Database); text != "" && o.Have != nil && !o.Have.Arrives {
		notes = append(notes, text)
	}
	notes = append(notes, notesOfReplication(s, s.Set.Archives.Get(o.Name))...)
	if s.database(o.Database).Rights.Superuser {
		return notes
	}
	set, after := setArchive(now, o)
	if len(set) > 0 {
		notes = append(notes, "who applies needs the right to change these settings (before version 15 a superuser): grant alter system on parameter archive_mode, archive_command, wal_level to ..., grant execute on function pg_reload_conf() to ...")
	}
	if !after.Arrives {
		notes = append(notes, "to prove that WAL arrives, who applies needs: grant execute on function pg_create_restore_point(text), pg_switch_wal(), pg_stat_reset_shared(text) to ...")
	}
	return notes
}

// storesNote says who makes the stores ready: a step speaks SQL to a server, and cannot.
func storesNote(a *spec.Archive) string {
	init := "skytools wal init " + a.Name
	for _, store := range a.Stores {
		if strings.HasPrefix(store.URL, "file:") {
			return init + ", on the host that has " + store.URL + ", makes the stores ready: do that before apply, because no WAL is archived earlier"
		}
	}
	return init + ", from wherever the stores can be reached, makes them ready: do that before apply, because no WAL is archived earlier"
}

func haveOf(o Object[archiveState]) archiveState {
	if o.Have == nil {
		return archiveState{}
	}
	return *o.Have
}

// archiveOf is what a server does, as the YAML would ask for it. What waits for a restart
// counts as done.
func archiveOf(row archive.Setting) archiveState {
	a := archiveState{row.Mode, row.Command, row.WALLevel, arrives(row)}
	if a.Mode == "always" || slices.Contains(row.Pending, "archive_mode") && a.Mode == "off" {
		a.Mode = "on"
	}
	if a.Level == "logical" || slices.Contains(row.Pending, "wal_level") && a.Level == "minimal" {
		a.Level = "replica"
	}
	return a
}

// settingOf reads how the server of a database archives, whoever set that.
func settingOf(s *Scene, database string) (row archive.Setting, known bool) {
	for _, raw := range s.database(database).rows("archive") {
		known = json.Unmarshal(raw, &row) == nil
	}
	return row, known
}

// refuseArchive says why the settings are not ours to make.
func refuseArchive(s *Scene, a *spec.Archive) *Diagnostic {
	now, known := settingOf(s, a.Of)
	switch foreign := now.Foreign(); {
	case !known:
		return nil
	case foreign != "":
		return &Diagnostic{Code: "archives-elsewhere", Message: fmt.Sprintf("the server of %s archives by other means already: %s", a.Of, foreign),
			Try: "end that first (alter system reset archive_command, and wait until nothing is left to archive), or write settings: by_hand and call both"}
	case now.Archive() != "" && now.Archive() != a.Name:
		return &Diagnostic{Code: "archives-elsewhere", Message: fmt.Sprintf("the server of %s sends its WAL to archive %s; it can send it to one", a.Of, now.Archive()),
			Try: "give one archive several stores"}
	case now.Patroni:
		return &Diagnostic{Code: "patroni", Message: "Patroni keeps the settings of " + a.Of + " and would undo a change",
			Try: "set archive_mode and archive_command with patronictl edit-config, and write settings: by_hand"}
	case now.Standby:
		return &Diagnostic{Code: "standby", Message: a.Of + " is a standby, which gets its WAL from elsewhere", Try: "name a database of the primary"}
	}
	return nil
}
