package spec

import (
	"fmt"
	"slices"
	"strings"
)

type topic struct {
	doc    string
	field  *anyField
	fields []anyField
}

func topics() map[string]topic {
	all := map[string]topic{}
	add := func(name, doc string, fields []anyField) {
		t := all[name] // table.on is a key, and an object
		t.doc, t.fields = doc, fields
		all[name] = t
		for _, f := range fields {
			all[name+"."+f.name] = topic{field: &f}
		}
	}
	add("cluster", (*Set)(nil).about(), describe[Set, *Set]())
	add("database", (*Database)(nil).about(), describe[Database, *Database]())
	add("queue", (*Queue)(nil).about(), describe[Queue, *Queue]())
	add("consumer", (*Consumer)(nil).about(), describe[Consumer, *Consumer]())
	add("forward", (*Forward)(nil).about(), describe[Forward, *Forward]())
	add("capture", (*Capture)(nil).about(), describe[Capture, *Capture]())
	add("node", (*Node)(nil).about(), describe[Node, *Node]())
	add("table", (*Table)(nil).about(), describe[Table, *Table]())
	add("table.on", (*OnNode)(nil).about(), describe[OnNode, *OnNode]())
	add("table.apply", (*Apply)(nil).about(), describe[Apply, *Apply]())
	add("table.apply.parts", (*Parts)(nil).about(), describe[Parts, *Parts]())
	add("table.apply.parts.create", (*PartCreate)(nil).about(), describe[PartCreate, *PartCreate]())
	add("table.shard", (*Shard)(nil).about(), describe[Shard, *Shard]())
	add("sequence", (*Sequence)(nil).about(), describe[Sequence, *Sequence]())
	add("archive", (*Archive)(nil).about(), describe[Archive, *Archive]())
	add("archive.stores", (*ArchiveStore)(nil).about(), describe[ArchiveStore, *ArchiveStore]())
	add("archive.encrypt", (*Encrypt)(nil).about(), describe[Encrypt, *Encrypt]())
	add("archive.wal", (*ArchiveWAL)(nil).about(), describe[ArchiveWAL, *ArchiveWAL]())
	add("standby", (*Standby)(nil).about(), describe[Standby, *Standby]())
	add("allow", allowList{}.shape().doc, allowList{}.shape().fields)
	add("ignore", ignoreList{}.shape().doc, ignoreList{}.shape().fields)
	return all
}

// Explain is the manual entry of a topic such as "queue" or "queue.rotation_period".
// The error of an unknown topic suggests the nearest.
func Explain(name string) (string, error) {
	all := topics()
	t, ok := all[name]
	if !ok {
		err := fmt.Errorf("explain %s: there is no such kind or field", name)
		if c := Nearest(name, Topics()); c != "" {
			err = fmt.Errorf("%w; did you mean %s?", err, c)
		}
		return "", err
	}
	var out strings.Builder
	if t.field != nil {
		f := t.field
		fmt.Fprintf(&out, "%s\n\n  %s\n\n", name, f.doc)
		for _, line := range []struct{ label, text string }{
			{"type", typeName(f.typ)}, {"default", f.def}, {"example", f.example}, {"stored in", f.catalog}, {"needs approval", f.hazard},
		} {
			if line.text != "" {
				fmt.Fprintf(&out, "  %-15s %s\n", line.label, line.text)
			}
		}
	} else {
		fmt.Fprintf(&out, "%s\n\n  %s\n", name, t.doc)
	}
	if len(t.fields) > 0 {
		out.WriteString("\n")
	}
	for _, f := range t.fields {
		first, _, _ := strings.Cut(f.doc, ". ")
		fmt.Fprintf(&out, "  %-20s %s\n", f.name, strings.TrimSuffix(first, "."))
	}
	return out.String(), nil
}

func typeName(typ any) string {
	switch t := typ.(type) {
	case *string:
		return "text"
	case *int, **int:
		return "whole number"
	case *bool:
		return "true or false"
	case *Duration:
		return "duration with a unit: ms, s, m, h, d, w"
	case *[]string:
		return "list of texts"
	case choice:
		return either(t.choices())
	case node:
		s := t.shape()
		switch s.kind {
		case "text", "number", "list":
			return s.kind
		case "texts", "relations":
			return "list of texts"
		case "either":
			return "word or mapping"
		case "mapping", "anymap":
			return "mapping"
		case "textmap":
			return "mapping from name to text"
		case "map":
			return strings.Join(append([]string{"mapping by name"}, without(s.oneOf, "null")...), " or ")
		}
		if slices.Contains(s.oneOf, "yes") {
			return strings.Join(append(slices.Clone(s.oneOf), "a mapping"), ", ")
		}
		return "text or reference"
	}
	return ""
}

func without(words []string, word string) []string {
	var kept []string
	for _, w := range words {
		if w != word {
			kept = append(kept, w)
		}
	}
	return kept
}
