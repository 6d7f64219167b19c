package planner

import (
	"encoding/json"
	"fmt"

	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/archive"
)

// What an archive needs of its server to receive WAL and to take backups is reported, and
// left to people: roles, pg_hba.conf and limits are theirs.
//
// Source: design/wal.md, section 6.9.

// byReplication reports whether an archive connects to its server by replication.
func byReplication(a *spec.Archive) bool {
	return a.WAL.Transport == spec.Both || (a.Backup.Full.Set || a.Backup.Incremental.Set) && a.Backup.From == ""
}

// factOf is the row of a fact of which there is one.
func factOf[T any](s *Scene, database, kind string) (row T, known bool) {
	for _, raw := range s.database(database).Facts[kind] {
		known = json.Unmarshal(raw, &row) == nil
	}
	return row, known
}

// lacking is what an archive misses on its server. A slot in use shows that the way is open.
func lacking(s *Scene, a *spec.Archive) (all []string) {
	r, known := factOf[archive.Replication](s, a.Of, "replication")
	if !known || !byReplication(a) {
		return nil
	}
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	open := false
	if a.WAL.Transport == spec.Both {
		name := a.SlotName()
		switch slot := r.Slot(name); {
		case slot == nil && len(r.Slots) >= r.MaxSlots:
			say("slot %s is not there, and all %d of max_replication_slots are in use", name, r.MaxSlots)
		case slot == nil:
			say("slot %s is not there yet: skytools run makes it", name)
		case slot.Type != "physical":
			say("slot %s is logical, and WAL is received through a physical one: name another with wal: slot", name)
		case slot.Status != nil && *slot.Status == "lost":
			say("slot %s is lost: the server has removed WAL that was not received; skytools wal gaps %s lists what is missing, and raise max_slot_wal_keep_size", name, a.Name)
		case !slot.Active:
			say("nobody receives through slot %s, for which the server keeps WAL: is skytools run running?", name)
		default:
			if open = true; slot.Status != nil && *slot.Status == "unreserved" {
				say("slot %s is about to be lost: the receiver is too far behind for max_slot_wal_keep_size", name)
			}
		}
	}
	if open {
		return all
	}
	if !r.May && len(r.Roles) == 0 {
		say("nobody but superusers may replicate: alter role ... replication, for the role that skytools run connects as (%s may not)", r.Role)
	}
	if hba, known := factOf[archive.Admission](s, a.Of, "hba"); known && !hba.Lets {
		say("pg_hba.conf lets nobody in by replication who may: add a line such as: host replication %s ADDRESS scram-sha-256", sql.Ident(r.Replicator()))
	}
	if r.Sending >= r.Senders {
		say("all %d of max_wal_senders are in use", r.Senders)
	}
	return all
}

// notesOfReplication are what an archive that changes finds on its server.
func notesOfReplication(s *Scene, a *spec.Archive) (notes []string) {
	r, known := factOf[archive.Replication](s, a.Of, "replication")
	if !known || !byReplication(a) {
		return nil
	}
	notes = append(notes, fmt.Sprintf("free for replication: %d of %d max_wal_senders, %d of %d max_replication_slots",
		max(0, r.Senders-r.Sending), r.Senders, max(0, r.MaxSlots-len(r.Slots)), r.MaxSlots))
	notes = append(notes, lacking(s, a)...)
	if _, known := factOf[archive.Admission](s, a.Of, "hba"); !known {
		notes = append(notes, "pg_hba.conf could not be read here: it must let the role of skytools run in by replication")
	}
	return notes
}

// replication warns of what archives lack that need no change.
func (b *builder) replication() {
	changed := map[string]bool{}
	for _, c := range b.changes {
		if c.Kind == archiveKind.Name {
			changed[c.Name] = true
		}
	}
	for i := range b.Set.Archives {
		a := &b.Set.Archives[i]
		if changed[a.Name] || b.isDead(a.Of) {
			continue
		}
		for _, text := range lacking(b.Scene, a) {
			b.diagnostics = append(b.diagnostics, Diagnostic{Severity: "warning", Code: "replication", Address: Address{archiveKind.Name, a.Name, a.Of}.String(), Message: text, Source: a.At})
		}
	}
}
