package planner

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/archive"
	"github.com/skytools-go/skytools/sql/meta"
	"github.com/skytools-go/skytools/sql/standby"
)

// standbyState is what a primary does for a standby. What the standby does itself is an
// object of its own, see replay.go; its data directory is made by skytools standby create.
type standbyState struct {
	Slot bool `json:"slot"`
	Sync bool `json:"sync"`
}

var standbyKind = Kind[standbyState]{
	Name:    "standby",
	Catalog: standby.Known,
	Read:    readStandby,
	Hidden:  func(*Scene, string, string) bool { return true }, // adopt cannot write data directories
	Declared: func(s *Scene) []Declared[standbyState] {
		var all []Declared[standbyState]
		for i := range s.Set.Standbys {
			b := &s.Set.Standbys[i]
			if !b.Streams() || s.isDead(b.Of) {
				continue
			}
			d := Declared[standbyState]{Database: b.Of, Name: b.Name, At: b.At, Refuse: refuseStandby(s, b)}
			if b.State != spec.Absent {
				d.Want = &standbyState{Slot: true, Sync: b.Sync}
			}
			all = append(all, d)
		}
		return all
	},
	Steps: standbySteps,
	Needs: func(_ *Scene, o Object[standbyState]) []Address { return home(o.Address) },
	Hazards: func(_ *Scene, o Object[standbyState]) []Hazard {
		if o.Want != nil {
			return nil
		}
		return []Hazard{hazard("drops-slot", "WAL that the standby has not received may go; it cannot follow any more")}
	},
	Notes: func(s *Scene, o Object[standbyState]) []string {
		var notes []string
		switch {
		case o.Want == nil:
			return []string{"skytools standby drop " + o.Name + " --stop, on its host, ends its server first: a slot in use is not dropped"}
		case o.Have == nil || !o.Have.Slot:
			notes = append(notes, "the server keeps WAL for the slot while nobody reads it: set max_slot_wal_keep_size")
			if !s.database(o.Name).reached() {
				notes = append(notes, "skytools standby create "+o.Name+", on its host, makes the standby itself")
			}
		}
		if !s.database(o.Database).Rights.Superuser {
			notes = append(notes, "who applies needs the attribute replication for the slot, and for sync: grant alter system on parameter synchronous_standby_names (before version 15 a superuser)")
		}
		if o.Want.Sync && (o.Have == nil || !o.Have.Sync) {
			notes = append(notes, "a commit will wait until a standby that is named has it on disk; while none of them streams, it waits for ever")
		}
		return notes
	},
}

func readStandby(raw json.RawMessage) (string, standbyState, bool, error) {
	var row standby.Row
	err := json.Unmarshal(raw, &row)
	return row.Name, standbyState{row.Slot, row.Sync}, err == nil, err
}

// standbySteps makes the slot before a name, and takes the name away before the slot.
func standbySteps(s *Scene, o Object[standbyState]) []Draft[standbyState] {
	var have, want standbyState
	if o.Have != nil {
		have = *o.Have
	}
	if o.Want != nil {
		want = *o.Want
	}
	var all []Draft[standbyState]
	if want.Slot && !have.Slot {
		all = append(all, Draft[standbyState]{Title: "create slot", Do: []sql.Stmt{standby.CreateSlot(o.Name)}, After: &standbyState{true, have.Sync}})
	}
	if want.Sync != have.Sync {
		all = append(all, Draft[standbyState]{Title: "set synchronous names", Alone: true, Do: setNames(synchronous(s, o.Database)), After: &standbyState{want.Slot || have.Slot, want.Sync}})
	}
	if o.Want == nil && have.Slot {
		all = append(all, Draft[standbyState]{Title: "drop slot", Do: append([]sql.Stmt{standby.DropSlot(o.Name)}, forgetAll(s, o.Name)...)})
	}
	if n := len(all); n > 0 && o.Want == nil {
		all[n-1].After, all[n-1].Gone = nil, true
	}
	return all
}

// forgetAll ends the records of what a standby does itself.
func forgetAll(s *Scene, name string) (all []sql.Stmt) {
	for _, text := range slices.Sorted(maps.Keys(s.appliedIn(name))) {
		all = append(all, meta.Forget(text, s.Set.Cluster))
	}
	return all
}

// setNames says whom commits wait for: nobody who does not stream.
func setNames(names []string) []sql.Stmt {
	set := []sql.Stmt{sql.AlterSystem("synchronous_standby_names", standby.Names(names)), archive.Reload()}
	if len(names) > 0 {
		set = append([]sql.Stmt{standby.RequireStreaming(names)}, set...)
	}
	return set
}

// synchronous are the standbys that commits are declared to wait for, sorted.
func synchronous(s *Scene, database string) (names []string) {
	for _, b := range s.Set.Standbys {
		if b.Of == database && b.Sync && b.State != spec.Absent {
			names = append(names, b.Name)
		}
	}
	return names
}

// refuseStandby says why commits must not wait for a standby, or why its primary is none.
func refuseStandby(s *Scene, b *spec.Standby) *Diagnostic {
	d := s.database(b.Of)
	if !d.reached() {
		return nil // which is told otherwise
	}
	if !d.Primary && d.SystemID != "" {
		return &Diagnostic{Code: "standby", Message: b.Of + " is a standby itself", Try: "let of: name a database of the primary"}
	}
	have := objects(s, b.Of, "standby", readStandby)
	if have[b.Name].Sync == (b.Sync && b.State != spec.Absent) {
		return nil
	}
	if now, known := settingOf(s, b.Of); known && now.Patroni {
		return &Diagnostic{Code: "patroni", Message: "Patroni keeps synchronous_standby_names of " + b.Of + " and would undo a change", Try: "leave sync out, and use Patroni's synchronous_mode"}
	}
	for name, other := range have {
		if declared := s.Set.Standbys.Get(name); other.Sync && (declared == nil || declared.Of != b.Of) {
			return &Diagnostic{Code: "names-elsewhere", Message: fmt.Sprintf("commits on %s wait for %s already, which is not declared", b.Of, name),
				Try: "declare it, or take it out of synchronous_standby_names"}
		}
	}
	if !b.Sync || b.State == spec.Absent {
		return nil
	}
	return refuseSync(s, b.Of, synchronous(s, b.Of))
}

// refuseSync says why a commit would wait for ever.
// Source: design/wal.md, section 1 (synch-standby) and R20.
func refuseSync(s *Scene, database string, names []string) *Diagnostic {
	streaming, applies := []string{}, false
	for _, raw := range s.database(database).Facts["standby"] {
		var f standby.Fact
		if json.Unmarshal(raw, &f) != nil {
			continue
		}
		applies = applies || f.Commit == "remote_apply"
		if f.State != nil && *f.State == "streaming" {
			streaming = append(streaming, f.Name)
		}
	}
	var missing []string
	for _, name := range names {
		if !slices.Contains(streaming, name) {
			missing = append(missing, name)
		}
	}
	switch {
	case len(missing) > 0:
		return &Diagnostic{Code: "not-streaming", Message: fmt.Sprintf("commits on %s would wait for %s, which does not stream now, or not under this name", database, strings.Join(missing, ", ")),
			Try: "skytools standby status says why; declare sync once it streams. To see it, the role needs pg_monitor"}
	case applies:
		return &Diagnostic{Code: "remote-apply", Message: "synchronous_commit is remote_apply on " + database + ": whatever holds replay up, such as a pause or a long query, would hold every commit up",
			Try: "alter system set synchronous_commit = on, then declare sync"}
	}
	return nil
}
