package planner

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/archive"
	"github.com/skytools-go/skytools/sql/standby"
)

// replayState is how a standby replays. It is an object of the standby's own server, which
// nobody can write to: what was applied is recorded on its primary.
type replayState struct {
	Delay  string `json:"delay"`
	Replay string `json:"replay"`
}

var replayKind = Kind[replayState]{
	Name:    "replay",
	Catalog: standby.Replays,
	Afar:    true,
	Vital:   true, // of its standby
	Read: func(raw json.RawMessage) (string, replayState, bool, error) {
		var row standby.Replay
		err := json.Unmarshal(raw, &row)
		replay := "on"
		if row.Paused() {
			replay = "paused"
		}
		delay := spec.Duration(time.Duration(row.Delay) * time.Millisecond)
		return row.Name, replayState{delay.String(), replay}, err == nil && row.Name != "", err
	},
	Declared: func(s *Scene) []Declared[replayState] {
		var all []Declared[replayState]
		for i := range s.Set.Standbys {
			b := &s.Set.Standbys[i]
			if b.State == spec.Absent || s.isDead(b.Of) || !s.lives(b) {
				continue
			}
			all = append(all, Declared[replayState]{Database: b.Name, Name: b.Name, At: b.At, Refuse: refuseReplay(s, b),
				Want: &replayState{b.Delay.String(), b.Replay.String()}})
		}
		return all
	},
	Steps: func(s *Scene, o Object[replayState]) []Draft[replayState] {
		var have replayState
		var do []sql.Stmt
		if o.Have != nil {
			have = *o.Have
		} else { // it follows without a slot, or with another one
			do = append(do, sql.AlterSystem("primary_slot_name", o.Name))
		}
		if have.Delay != o.Want.Delay {
			do = append(do, sql.AlterSystem("recovery_min_apply_delay", milliseconds(o.Want.Delay)))
		}
		if len(do) > 0 {
			do = append(do, archive.Reload())
		}
		switch {
		case have.Replay == o.Want.Replay:
		case o.Want.Replay == "paused":
			do = append(do, standby.Pause())
		default:
			do = append(do, standby.Resume())
		}
		return []Draft[replayState]{{Title: "set", Alone: true, Do: do}}
	},
	Needs: func(s *Scene, o Object[replayState]) []Address {
		of := s.home(o.Database)
		return []Address{{"schema", "skytools", of}, {"standby", o.Name, of}}
	},
	Found: func(s *Scene, database, path string) (string, bool) {
		if path != "replay" {
			return "", true
		}
		return pausedSince(s, database)
	},
	Notes: func(s *Scene, o Object[replayState]) []string {
		if o.Want.Replay == "paused" {
			return []string{"while replay is paused the standby keeps all WAL that arrives, and its disk fills"}
		}
		return nil
	},
}

// pausedSince says how long a standby has not replayed. A short pause is no drift.
func pausedSince(s *Scene, database string) (text string, drift bool) {
	for _, raw := range s.database(database).rows("replay") {
		var row standby.Replay
		if json.Unmarshal(raw, &row) != nil || !row.Paused() {
			continue
		}
		if row.Since == nil {
			return "paused", row.Late()
		}
		return "paused: nothing is replayed that was committed after " + *row.Since, row.Late()
	}
	return "", true
}

// milliseconds is a delay as PostgreSQL takes it, whose units are not ours.
func milliseconds(delay string) string {
	d, err := spec.ParseDuration(delay)
	if err != nil {
		panic("planner: a delay that was a duration is none: " + delay) // only a programmer can cause this
	}
	return strconv.FormatInt(time.Duration(d).Milliseconds(), 10)
}

// replayOf is the replay of a standby.
func replayOf(standby string) Address { return Address{"replay", standby, standby} }

// home is the database in which is recorded what was applied in another: itself, or the
// primary's for a standby.
func (s *Scene) home(database string) string {
	if b := s.Set.Standbys.Get(database); b != nil && s.Set.Database(database) == nil {
		return b.Of
	}
	return database
}

// lives reports whether a standby is there, or has been.
func (s *Scene) lives(b *spec.Standby) bool {
	if _, observed := s.Live.Databases[b.Name]; !observed {
		return false
	}
	_, recorded := s.appliedIn(b.Name)[replayOf(b.Name).String()]
	return s.database(b.Name).reached() || recorded
}

// refuseReplay says why a server is not the standby that it is declared to be.
func refuseReplay(s *Scene, b *spec.Standby) *Diagnostic {
	d, of := s.database(b.Name), s.database(b.Of)
	switch {
	case !d.reached():
		return nil // which is told otherwise
	case d.Primary:
		return &Diagnostic{Code: "no-standby", Message: "the server at its dsn is no standby: it was promoted, or it is another one",
			Try: "after a failover let the dsn of " + b.Of + " lead to the new primary, and take this standby out of the YAML"}
	case of.reached() && of.SystemID != "" && d.SystemID != of.SystemID:
		return &Diagnostic{Code: "other-system", Message: "the server at its dsn follows another system than " + b.Of + " is", Try: "correct its dsn, or of:"}
	}
	return nil
}
