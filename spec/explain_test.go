package spec

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
)

func TestEveryFieldIsDocumented(t *testing.T) {
	fields := 0
	for name, topic := range topics() {
		if topic.field == nil {
			if topic.doc == "" || len(topic.fields) == 0 {
				t.Errorf("%s has no doc or no fields", name)
			}
			continue
		}
		fields++
		f := topic.field
		if f.doc == "" || !strings.HasSuffix(f.doc, ".") {
			t.Errorf("%s: its doc is no sentence: %q", name, f.doc)
		}
		if f.def == "" && f.example == "" {
			t.Errorf("%s has neither default nor example", name)
		}
		if typeName(f.typ) == "" {
			t.Errorf("%s: nobody knows how to call a %T", name, f.typ)
		}
	}
	if fields < 50 {
		t.Errorf("only %d fields: is this test looking at all kinds?", fields)
	}
}

// Each example is what the key takes, in a document where it may stand.
func TestExamplesParse(t *testing.T) {
	const databases = "databases:\n  hub: {dsn: service=hub}\n  edge1: {dsn: service=edge1}\n  report: {dsn: service=report}\n"
	const nodes = "nodes: {hub: {type: root}, edge1: {type: branch, provider: hub}, report: {type: leaf, provider: edge1}}"
	places := map[string]string{
		"cluster":                  "KEY: VALUE\n",
		"database":                 databases + "  more: {dsn: service=x, KEY: VALUE}\n",
		"queue":                    databases + "queues: {q: {on: hub, KEY: VALUE}}\n",
		"consumer":                 databases + "queues: {q: {" + nodes + ", consumers: {c: {KEY: VALUE}}}}\n",
		"forward":                  databases + "queues: {q: {" + nodes + ", forward: {f: {split: ev_type, KEY: VALUE}}}}\n",
		"capture":                  databases + "queues: {q: {on: hub, capture: {public.t: {KEY: VALUE}}}}\n",
		"node":                     databases + "queues: {q: {nodes: {hub: {type: root}, edge1: {type: branch, provider: hub, KEY: VALUE}}}}\n",
		"table":                    databases + "queues: {q: {" + nodes + ", tables: {public.t: {KEY: VALUE}}}}\n",
		"table.on":                 databases + "queues: {q: {" + nodes + ", tables: {public.t: {on: {edge1: {KEY: VALUE}}}}}}\n",
		"table.apply":              databases + "queues: {q: {" + nodes + ", tables: {public.t: {apply: {function: public.f, KEY: VALUE}}}}}\n",
		"table.apply.parts":        databases + "queues: {q: {" + nodes + ", tables: {public.t: {apply: {parts: {by: event_time, KEY: VALUE}}}}}}\n",
		"table.apply.parts.create": databases + "queues: {q: {" + nodes + ", tables: {public.t: {apply: {parts: {by: event_time, create: {KEY: VALUE}}}}}}}\n",
		"table.shard":              databases + "queues: {q: {" + nodes + ", tables: {public.t: {shard: {key: id, number: 0, of: 4}, on: {edge1: {shard: {KEY: VALUE}}}}}}}\n",
		"sequence":                 databases + "queues: {q: {" + nodes + ", sequences: {public.s: {KEY: VALUE}}}}\n",
		"archive":                  databases + "archives: {a: {of: hub, stores: [{url: 'file:///a'}], KEY: VALUE}}\n",
		"archive.stores":           databases + "archives: {a: {of: hub, stores: [{url: 'file:///a'}, {url: 'file:///b', KEY: VALUE}]}}\n",
		"archive.encrypt":          databases + "archives: {a: {of: hub, stores: [{url: 'file:///a'}], encrypt: {KEY: VALUE}}}\n",
		"archive.wal":              databases + "archives: {a: {of: hub, stores: [{url: 'file:///a'}], wal: {transport: both, queue_alert: 1GB, KEY: VALUE}}}\n",
		"standby":                  databases + "standbys: {s: {of: hub, dsn: service=s, data_dir: /d, archive: wal, KEY: VALUE}}\narchives: {wal: {of: hub, stores: [{url: 'file:///a'}]}}\n",
		"allow":                    databases + "allow: [{CODE, because: b, until: 2026-01-01, KEY: VALUE}]\n",
		"ignore":                   databases + "ignore: [{address: queue/x@hub, until: 2026-01-01, KEY: VALUE}]\n",
	}
	inCascade := map[string]bool{"tables": true, "sequences": true, "scripts": true, "copy_rate": true, "mask_key": true}
	files := fstest.MapFS{"ddl/1.sql": {Data: []byte("select 1")}}
	for name, topic := range topics() {
		f := topic.field
		if f == nil || f.example == "" {
			continue
		}
		kind := strings.TrimSuffix(name, "."+f.name)
		doc, ok := places[kind]
		if !ok {
			t.Errorf("%s: this test has no place for it", name)
			continue
		}
		for _, given := range []string{ // what the place says already, the example replaces
			"dsn: service=x, ", "on: hub, ", "type: branch, ", "provider: hub, ", "because: b, ", "until: 2026-01-01, ", "address: queue/x@hub, ", "split: ev_type, ",
			"of: hub, ", "transport: both, ", "queue_alert: 1GB, ", "stores: [{url: 'file:///a'}], ", "url: 'file:///b', ", "dsn: service=s, ", "data_dir: /d, ", "archive: wal, ",
		} {
			if key, _, _ := strings.Cut(given, ":"); key == f.name || key == "split" && f.name == "to" || key == "on" && kind == "queue" && (f.name == "nodes" || inCascade[f.name]) {
				doc = strings.Replace(doc, given, "", 1)
			}
		}
		if kind == "table.apply.parts" && (f.name == "by" || f.name == "field") {
			doc = strings.Replace(doc, "by: event_time, ", map[string]string{"field": "by: field, "}[f.name], 1)
		}
		if kind == "table.apply" && f.name != "conf" { // the one that needs another
			doc = strings.Replace(doc, "function: public.f, ", "", 1)
		}
		if kind == "queue" && inCascade[f.name] {
			doc = strings.Replace(doc, "{KEY", "{"+nodes+", KEY", 1)
		}
		if name == "node.merge" { // of a leaf, into a queue that is there
			doc = strings.NewReplacer("type: branch", "type: leaf", "queues: {", "queues: {all_shops: {nodes: {edge1: {type: root}}}, ").Replace(doc)
		}
		code := "drops-queue: queue/x@hub"
		if strings.Contains(f.name, "-") {
			doc = strings.Replace(doc, "CODE, ", "", 1)
		}
		doc = strings.NewReplacer("KEY", f.name, "VALUE", f.example, "CODE", code).Replace(doc)
		for _, header := range []string{"skytools: 1\n", "cluster: shop\n", databases} {
			if key, _, _ := strings.Cut(header, ":"); !strings.Contains("\n"+doc, "\n"+key+":") {
				doc = header + doc
			}
		}
		if _, problems := ParseIn(func(string) fs.FS { return files }, Source{"example.yaml", []byte(doc)}); len(problems) > 0 {
			t.Errorf("%s: its example %s is not accepted:\n%v\nin %s", name, f.example, problems, doc)
		}
	}
}

func TestExplain(t *testing.T) {
	for _, topic := range Topics() {
		text, err := Explain(topic)
		if err != nil {
			t.Errorf("%s: %v", topic, err)
		}
		if !strings.HasPrefix(text, topic+"\n\n  ") || !strings.HasSuffix(text, "\n") || strings.Contains(text, "%!") {
			t.Errorf("%s:\n%s", topic, text)
		}
		for line := range strings.Lines(text) {
			if trimmed := strings.TrimRight(line, "\n"); strings.TrimRight(trimmed, " ") != trimmed {
				t.Errorf("%s: a line ends in spaces: %q", topic, line)
			}
		}
	}
	golden(t, testdata+"/spec/explain-queue.txt", must(Explain("queue")))
	golden(t, testdata+"/spec/explain-queue.rotation_period.txt", must(Explain("queue.rotation_period")))
	golden(t, testdata+"/spec/explain-table.on.txt", must(Explain("table.on")))
	golden(t, testdata+"/spec/explain-database.dsn.txt", must(Explain("database.dsn")))
	for unknown, want := range map[string]string{
		"queue.rotation_perod": "explain queue.rotation_perod: there is no such kind or field; did you mean queue.rotation_period?",
		"quue":                 "explain quue: there is no such kind or field; did you mean queue?",
		"nothing like that":    "explain nothing like that: there is no such kind or field",
	} {
		if _, err := Explain(unknown); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", unknown, err, want)
		}
	}
}

func must(text string, err error) string {
	if err != nil {
		panic(err)
	}
	return text
}

func TestNearest(t *testing.T) {
	fields := []string{"on", "ticker_max_lag", "ticker_max_count", "rotation_period", "state", "nodes"}
	for word, want := range map[string]string{
		"ticker_max_lagg": "ticker_max_lag", "ticker_max_lag": "ticker_max_lag", "rotation": "", "stat": "state", "sttae": "state",
		"ndoes": "nodes", "Nodes": "nodes", "foo": "", "no": "on", "": "", "ticker_max": "ticker_max_lag", "colour": "",
	} {
		if got := Nearest(word, fields); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
	if got := Nearest("größe", []string{"grösse", "große"}); got != "große" {
		t.Errorf("letters are counted, not bytes: %q", got)
	}
	if got := Nearest("hub", []string{"hud", "hib"}); got != "hib" {
		t.Errorf("of two that are as near, the first in the alphabet: %q", got)
	}
	if got := Nearest(strings.Repeat("x", 1000), []string{strings.Repeat("x", 1000)}); got != "" {
		t.Error("long words take too long")
	}
}
