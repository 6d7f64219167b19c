package planner

import "github.com/skytools-go/skytools/spec"

func tableHazards(s *Scene, o Object[tableState]) []Hazard {
	queue, name := splitName(o.Name)
	q, t := lookup(s, queue, name)
	if o.Want == nil {
		return []Hazard{hazard("drops-table", "%s is no longer replicated here; its rows stay as they are", name)}
	}
	n := q.Nodes.Get(o.Database)
	size, known := s.sizeOf(o.Database, orName(o.Want.Dest, name))
	switch {
	case n.Type == spec.Root && o.Have == nil && known && size >= largeTable:
		return []Hazard{locksTable(name, size)}
	case n.Type == spec.Root || t.Copy == spec.CopyNo || !o.Want.Fills() || waits(s, n):
	case recopies(o):
		return []Hazard{hazard("recopies-table", "it is emptied and copied again; readers see it empty or partial meanwhile")}
	case o.Have == nil && known && size > 0 && !s.filled(q, o.Database, orName(o.Want.Dest, name)):
		return []Hazard{hazard("recopies-table", "%s on %s holds %s of rows, which the copy replaces; copy: no keeps them", orName(o.Want.Dest, name), o.Database, byteSize(size))}
	}
	return nil
}

// largeTable is the size in bytes from which making a trigger is worth a question:
// such a table is rarely quiet.
const largeTable = 1 << 30

// locksTable is the hazard of a new trigger.
// Source: PostgreSQL documentation, 13.3.1 Table-Level Locks (CREATE TRIGGER).
func locksTable(name string, size int64) Hazard {
	return hazard("locks-table", "%s holds %s: its new triggers take a SHARE ROW EXCLUSIVE lock, for which writers wait; the step gives up after %d s without it",
		name, byteSize(size), defaultLockTimeout/1000)
}
