package planner

import "github.com/skytools-go/skytools/sql/archive"

// The proof of an archive: WAL that was written after its settings came into force has
// been archived. archive_command answers so only when every required store has it, so the
// server's own statistics prove it, without a look into the stores.
//
//	never archived, or the last attempt failed ---- prove ----> archived
//	                    ^                                          |
//	                    +------------ an attempt fails ------------+
//
// Source: design/wal.md, section 6.9 and R5.

// prove ends a segment, and waits until the archiver has handed it over.
func prove(o Object[archiveState]) Draft[archiveState] {
	return Draft[archiveState]{
		Title: "prove", Alone: true, Do: archive.End(),
		Inputs: []Input{{Name: "segment", Node: o.Database, Stmt: archive.Segment()}, {Name: "since", Node: o.Database, Stmt: archive.Clock()}},
		Wait: &Wait{Node: o.Database, Inputs: []Input{}, EveryMS: 200, LimitMS: 120_000, Stmt: archive.Archived(InputArg("segment"), InputArg("since")),
			Try: "skytools wal init " + o.Name + " if the stores are not ready yet; skytools wal prove " + o.Name + " asks the stores; the server's log says why archive_command fails; where no failure is told of, see that its first word, the client, is a program which the user of PostgreSQL finds and may run on that host"},
	}
}

// arrives reports whether there is nothing to prove. What waits for a restart counts as
// done.
func arrives(row archive.Setting) bool {
	return !row.InForce() || row.Arrived == nil || *row.Arrived
}

// fails reports whether the last attempt of a server's archiver failed. Where nothing was
// archived since a restart, nobody has changed anything: plan proves it, and it is no drift.
func fails(s *Scene, database string) bool {
	p, known := factOf[archive.Progress](s, database, "archive")
	return !known || p.Failing
}

// progressOf says how far a server's archiver is; empty: it was not asked.
func progressOf(s *Scene, database string) string {
	p, known := factOf[archive.Progress](s, database, "archive")
	if !known {
		return ""
	}
	return p.String()
}
