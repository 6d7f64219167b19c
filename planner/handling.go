package planner

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql/londiste"
)

// wantedHandling is what the YAML asks for, in the words of the attributes.
func wantedHandling(h spec.Handling, root bool) londiste.Handling {
	shard := wantedShard(h.Shard, root)
	if root { // applies nothing
		return londiste.Handling{Store: string(h.Store), Shard: shard}
	}
	w := londiste.Handling{Shard: shard, Store: string(h.Store), OnMissing: string(h.OnMissing), OnConflict: string(h.OnConflict), Truncate: string(h.Truncate)}
	if h.Mask != nil {
		text, _ := json.Marshal(h.Mask) // words, which the YAML has checked
		json.Unmarshal(text, &w.Mask)
	}
	if a := h.Apply; a != nil {
		if p := a.Parts; p != nil {
			w.Parts = &londiste.Parts{By: string(p.By), Field: p.Field, Period: string(p.Period), Rows: string(p.Rows), Events: p.Events, Retention: p.Retention,
				Create: p.Create.Function, SQL: p.Create.SQL, Before: p.Create.Before, After: p.Create.After}
			if p.SkipOld {
				w.Parts.SkipOld = "yes"
			}
			if w.Parts.Create == londiste.CreatePart {
				w.Parts.Create = ""
			}
		}
		w.Apply, w.Queue, w.Newest = a.Word, a.Queue, a.Newest
		if a.Function != "" {
			w.Function = &londiste.Function{Name: a.Function, Conf: a.Conf}
		}
	}
	return w
}

// wantedShard is a shard in the words of the attributes. A root has all rows, and the hash.
func wantedShard(s *spec.Shard, root bool) *londiste.Shard {
	if s == nil {
		return nil
	}
	w := &londiste.Shard{Key: s.Key, Function: s.Function}
	if w.Function == londiste.HashFunction {
		w.Function = ""
	}
	if root {
		return w
	}
	w.Number, w.Of = s.Number, s.Of
	if s.Replay == "no" {
		w.Replay = "no"
	}
	return w
}

// sameRows reports whether two shards are the same rows.
func sameRows(a, b *londiste.Shard) bool { return reflect.DeepEqual(a, b) }

// readHandling takes the attributes that say how a table is handled. Those that nobody
// here understands stay as they are.
func (t *tableState) readHandling(attrs londiste.Dict) {
	h, err := londiste.ParseHandling(attrs)
	if err == nil {
		t.Handling = h
		return
	}
	for _, key := range t.Handling.Attrs() {
		if value := attrs[key]; value != nil {
			t.Attrs[key] = *value
		}
	}
}

// keepsAttr reports an attribute that stays because the YAML has no word for it, or says
// none: a handler that is not known here.
func keepsAttr(key string, w *tableState) bool {
	return !slices.Contains(w.Handling.Attrs(), key) || reflect.ValueOf(w.Handling).IsZero()
}

func partsYAML(p *londiste.Parts) string {
	var words []string
	for _, w := range [][2]string{{"by", p.By}, {"field", p.Field}, {"period", p.Period}, {"rows", p.Rows}, {"retention", p.Retention}} {
		if w[1] != "" {
			words = append(words, w[0]+": "+spec.Scalar(w[1]))
		}
	}
	var create []string
	for _, w := range [][2]string{{"function", p.Create}, {"sql", p.SQL}, {"before", p.Before}, {"after", p.After}} {
		if w[1] != "" {
			create = append(create, w[0]+": "+spec.Scalar(w[1]))
		}
	}
	switch {
	case p.Templates():
		words = append(words, "create:"+flow(create))
	case p.Create != "":
		words = append(words, "create: "+spec.Scalar(p.Create))
	}
	if len(p.Events) > 0 {
		words = append(words, "events: "+spec.FlowList(p.Events))
	}
	if p.SkipOld != "" {
		words = append(words, "skip_old: true")
	}
	return flow(words)
}

func maskYAML(m londiste.Mask) string {
	var words []string
	for _, column := range slices.Sorted(maps.Keys(m)) {
		if r := m[column]; r.Inside != nil {
			words = append(words, spec.Scalar(column)+":"+maskYAML(r.Inside))
		} else {
			words = append(words, spec.Scalar(column)+": "+r.Word)
		}
	}
	if len(words) == 0 {
		return " {}"
	}
	return flow(words)
}

func hashes(m londiste.Mask) bool {
	return slices.ContainsFunc(slices.Collect(maps.Values(m)), londiste.Rule.Hashes)
}

// refuseMask says why a node's mask cannot be: a column that nobody has decided about, or
// a rule that its column cannot bear.
func refuseMask(m londiste.Mask, name string, source table) *Diagnostic {
	if m == nil {
		return nil
	}
	for _, column := range slices.Sorted(maps.Keys(m)) {
		if !source.has(column) {
			return &Diagnostic{Code: "no-column", Message: "mask: table " + name + " has no column " + column + " on the root", Try: near(column, source.columns())}
		}
	}
	for _, c := range source.Columns {
		r, named := m[c.Name]
		switch {
		case !named:
			return &Diagnostic{Code: "mask-incomplete", Message: fmt.Sprintf("mask: column %s of %s has no rule: nothing is kept by mistake", c.Name, name), Try: "write " + c.Name + ": keep, skip or another rule"}
		case slices.Contains(source.PrimaryKey.Columns, c.Name) && r.Word != "keep" && !(strings.HasPrefix(r.Word, "hash")):
			return &Diagnostic{Code: "needs-key", Message: fmt.Sprintf("mask: column %s of %s is in the primary key: it can be kept or hashed", c.Name, name)}
		case strings.HasPrefix(r.Word, "hash") && !oneText(c.Type):
			return &Diagnostic{Code: "mask-type", Message: fmt.Sprintf("mask: values of type %s (column %s of %s) are written in several ways, and would have several hashes", c.Type, c.Name, name), Try: "write skip, keep or bool"}
		case r.Inside != nil && c.Type != "json" && c.Type != "jsonb":
			return &Diagnostic{Code: "mask-type", Message: fmt.Sprintf("mask: column %s of %s is no JSON, and has no members", c.Name, name)}
		}
	}
	return nil
}

// oneText reports types whose values have the same text in a copy and in every event.
func oneText(typ string) bool {
	for _, known := range []string{"smallint", "integer", "bigint", "text", "character varying", "uuid", "numeric", "boolean", "inet", "cidr", "bytea"} {
		if typ == known || strings.HasPrefix(typ, known+"(") {
			return true
		}
	}
	return false
}

// plainArgs replaces options of the trigger that the handling implies, however their names
// are quoted.
func (t *tableState) plainArgs() {
	bare := func(arg string) string { return strings.ReplaceAll(arg, `"`, "") }
	for _, own := range t.TriggerArgs() {
		for i, arg := range t.Args {
			if bare(arg) == bare(own) {
				t.Args[i] = own
			}
		}
	}
}

// withoutTriggerArgs are the trigger's options that the handling does not imply.
func (t *tableState) withoutTriggerArgs() []string {
	return slices.DeleteFunc(slices.Clone(t.Args), func(arg string) bool { return slices.Contains(t.TriggerArgs(), arg) })
}

// handlingYAML is the handling as options of a node.
func handlingYAML(h londiste.Handling) (options []string) {
	one := func(key, value string) {
		if value != "" {
			options = append(options, key+": "+spec.Scalar(value))
		}
	}
	switch {
	case h.Function != nil:
		conf := ""
		if h.Function.Conf != "" {
			conf = ", conf: " + spec.Scalar(h.Function.Conf)
		}
		options = append(options, "apply: {function: "+spec.Scalar(h.Function.Name)+conf+"}")
	case h.Newest != nil:
		options = append(options, "apply: {"+strings.Join(flowMap("newest", h.Newest), "")+"}")
	case h.Parts != nil:
		options = append(options, "apply: {parts:"+partsYAML(h.Parts)+"}")
	case h.Queue != "":
		options = append(options, "apply: {queue: "+spec.Scalar(h.Queue)+"}")
	}
	one("apply", h.Apply)
	one("store", h.Store)
	if h.Shard != nil {
		words := []string{"key: " + spec.Scalar(h.Shard.Key)}
		if h.Shard.Function != "" {
			words = append(words, "function: "+spec.Scalar(h.Shard.Function))
		}
		if h.Shard.Number != nil {
			words = append(words, fmt.Sprintf("number: %d, of: %d", *h.Shard.Number, *h.Shard.Of))
		}
		if h.Shard.Replay != "" {
			words = append(words, "replay: no")
		}
		options = append(options, "shard:"+flow(words))
	}
	if h.Mask != nil {
		options = append(options, "mask:"+maskYAML(h.Mask))
	}
	one("on_missing", h.OnMissing)
	one("on_conflict", h.OnConflict)
	one("truncate", h.Truncate)
	return options
}
