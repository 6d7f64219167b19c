package planner

import (
	"fmt"
	"strings"

	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql/londiste"
)

func tableNotes(s *Scene, o Object[tableState]) []string {
	queue, name := splitName(o.Name)
	q, t := lookup(s, queue, name)
	if o.Want == nil || t == nil {
		return nil
	}
	n := q.Nodes.Get(o.Database)
	var notes []string
	if n.Type == spec.Root {
		for _, x := range s.tables(q.Home())[name].Sequences {
			if q.Sequences.Get(x.Name) == nil && o.Have == nil {
				notes = append(notes, fmt.Sprintf("column %s takes its values from sequence %s, which is not replicated: after a takeover they would repeat", x.Column, x.Name))
			}
		}
		return notes
	}
	up := supplier(q, t, n)
	if !o.Want.Needs() {
		return notes
	}
	if (o.Have == nil || recopies(o)) && o.Want.Fills() {
		if waits(s, n) {
			notes = append(notes, fmt.Sprintf("no copy of its own: the rows come with queue %s", n.Merge))
		} else if t.Copy == spec.CopyNo {
			notes = append(notes, "no copy: the rows are expected to be the same already")
		} else if up != nil {
			notes = append(notes, mergedLate(s, n, name)...)
			what, from := "copy", up.Name
			if size, ok := s.sizeOf(q.Home(), name); ok {
				what = "copy of about " + byteSize(size)
			}
			if named := copySource(q, t, n); named != "" {
				from = named
			}
			notes = append(notes, fmt.Sprintf("%s from %s, by skytools run", what, from))
		}
	}
	source, _ := structureOf(s, q.Home(), name)
	local, ok := structureOf(s, n.Name, orName(o.Want.Dest, name))
	if first := s.maker(n.Name, orName(o.Want.Dest, name)); !ok && first != nil && first.queue != q {
		return notes
	}
	if !ok {
		notes = append(notes, "the table is created like that of "+q.Home()+" ("+string(t.Create)+")")
		if len(source.Fkeys) > 0 && t.Create == spec.CreateFull {
			notes = append(notes, "foreign keys are not created")
		}
		return notes
	}
	for _, d := range londiste.Differences(mappedStructure(source.Structure, o.Want), local.Structure) {
		notes = append(notes, fmt.Sprintf("differs from %s in %s: %s there, %s here", q.Home(), d.Path, orNothing(d.Provider), orNothing(d.Subscriber)))
	}
	return notes
}

func orNothing(text string) string {
	if text == "" {
		return "nothing"
	}
	return strings.ReplaceAll(text, "\n", " ")
}
