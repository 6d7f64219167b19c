package spec

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
)

// The JSON Schema accepts and refuses what the decoder does. Each document stands
// below a header that declares the databases hub and edge1.
func TestSchemaAgreesWithDecoder(t *testing.T) {
	const queue, node = "queues: {q: {on: hub, ", "queues: {q: {nodes: {hub: {type: root}, edge1: {type: leaf, provider: hub}}, "
	for _, c := range []struct {
		doc  string
		good bool
	}{
		{"{}", true},
		{"queues:", true},
		{"queues: {}", true},
		{"queues: {q: {on: hub}}", true},
		{"queues: []", false},
		{"queues: {q: [on]}", false},
		{"quues: {}", false},
		{"archives:", true},
		{"archives: {a: {of: hub, stores: [{url: 'file:///a'}]}}", true},
		{"archives: {a: {of: hub, stores: [{url: 'file:///a', required: true}, {url: 's3://b', required: false, access_key: {env: K}}]}}", true},
		{"archives: {a: {of: hub, stores: []}}", false},
		{"archives: {a: {of: hub, stores: }}", false},
		{"archives: {a: {of: hub, stores: ['file:///a']}}", false},
		{"archives: {a: {of: hub, stores: [{required: true}]}}", false},
		{"archives: {a: {of: hub, stores: [{url: 'file:///a', access_key: plain}]}}", false},
		{"archives: {a: {of: hub}}", false},
		{"archives: {a: {stores: [{url: 'file:///a'}]}}", false},
		{"archives: {a: {of: hub, stores: [{url: 'file:///a'}], wal: {compression: lz4}}}", true},
		{"archives: {a: {of: hub, stores: [{url: 'file:///a'}], wal: {compression: gzip}}}", false},
		{"archives: {a: {of: hub, stores: [{url: 'file:///a'}], wal: lz4}}", false},
		{"archives: {a: {of: hub, stores: [{url: 'file:///a'}], encrypt: {recipients: [age1x], identity: {file: /k}}}}", true},
		{"archives: {a: {of: hub, stores: [{url: 'file:///a'}], encrypt: {identity: text}}}", false},
		{"archives: {a: }", false},
		{"allow:", true},
		{"allow: []", true},
		{"allow: {}", false},
		{"allow: [{drops-queue: queue/x@hub, because: b, until: 2026-01-01}]", true},
		{"allow: [{drops-queue: queue/x@hub, because: b}]", false},
		{"allow: [{drops-queue: queue/x@hub, drops-table: x, because: b, until: 2026-01-01}]", false},
		{"allow: [{because: b, until: 2026-01-01}]", false},
		{"allow: [{drops-everything: x, because: b, until: 2026-01-01}]", false},
		{"allow: [text]", false},
		{"ignore: [{address: 'queue/*', until: 2026-01-01}]", true},
		{"ignore: [{address: 'queue/*', field: x, until: 2026-01-01}]", true},
		{"ignore: [{address: 'queue/*'}]", false},
		{queue + "ticker_max_lag: 3s}}", true},
		{queue + "ticker_max_lag: 1h30m}}", true},
		{queue + "ticker_max_lag: 1.5s}}", true},
		{queue + "ticker_max_lag: 3}}", false},
		{queue + "ticker_max_lag: 3x}}", false},
		{queue + "ticker_max_lag: s}}", false},
		{queue + "ticker_max_lag: 1..5s}}", false},
		{queue + "ticker_max_lag: -1s}}", false},
		{queue + "ticker_max_lag: }}", false},
		{queue + "ticker_max_count: 1}}", true},
		{queue + "ticker_max_count: 1.5}}", false},
		{queue + "ticker_max_count: -1}}", false},
		{queue + "ticker_max_count: 3000000000}}", false},
		{queue + "ticker_max_count: '1'}}", false},
		{queue + "ticker_max_count: }}", false},
		{queue + "per_tx_limit: 5}}", true},
		{queue + "per_tx_limit: }}", true},
		{queue + "per_tx_limit: none}}", false},
		{queue + "ticker_paused: true}}", true},
		{queue + "ticker_paused: 'true'}}", false},
		{queue + "ticker_paused: yes}}", false},
		{queue + "state: absent}}", true},
		{queue + "state: present}}", true},
		{queue + "state: gone}}", false},
		{queue + "state: }}", false},
		{queue + "consumers: }}", true},
		{queue + "consumers: {c: }}}", true},
		{queue + "consumers: {c: {}}}}", true},
		{queue + "consumers: [c]}}", false},
		{queue + "consumers: {c: {members: [a, b]}}}}", true},
		{queue + "consumers: {c: {members: a}}}}", true},
		{queue + "consumers: {c: {members: []}}}}", true},
		{queue + "consumers: {c: {members: [a, a]}}}}", false},
		{queue + "consumers: {c: {members: ['']}}}}", false},
		{queue + "consumers: {c: {members: {a: b}}}}}", false},
		{queue + "consumers: {c: {members: }}}}", false},
		{queue + "forward: {f: {to: x, on: edge1}}}}", true},
		{queue + "forward: {f: {split: ev_extra1, missing: skip, types: a, tables: [public.t], where: 'true'}}}}", true},
		{queue + "forward: {f: {split: ev_data}}}}", false},
		{queue + "forward: {f: {to: x, missing: maybe}}}}", false},
		{queue + "forward: {f: {to: x, tables: {public.t: }}}}}", false},
		{queue + "forward: {f: {to: x, tables: [public.t, public.t]}}}}", false},
		{queue + "capture: {public.t: {ignore: [a], pkey: b, when: 'x > 1', backup: true}}}}", true},
		{queue + "capture: {public.t: }}}", true},
		{queue + "capture: {public.t: {when: [x]}}}}", false},
		{"queues: {q: {nodes: {hub: {type: root}}}}", true},
		{"queues: {q: {nodes: {hub: }}}", false},
		{"queues: {q: {nodes: {hub: {}}}}", false},
		{"queues: {q: {nodes: {hub: {type: head}}}}", false},
		{node + "tables: {public.t: }}}", true},
		{node + "tables: {public.t: {on: [edge1]}}}}", true},
		{node + "tables: {public.t: {on: edge1}}}}", true},
		{node + "tables: {public.t: {on: {edge1: }}}}}", true},
		{node + "tables: {public.t: {on: {edge1: {where: 'a > 1', as: eu.t}}}}}}", true},
		{node + "tables: {public.t: {on: {edge1: {wher: x}}}}}}", false},
		{node + "tables: {public.t: {on: [edge1, edge1]}}}}", false},
		{node + "tables: {public.t: {on: []}}}}", false},
		{node + "tables: {public.t: {on: {}}}}}", false},
		{node + "tables: {public.t: {on: }}}}", false},
		{node + "tables: {public.t: {create: full, copy: 'no'}}}}", true},
		{node + "tables: {public.t: {create: half}}}}", false},
		{node + "sequences: [public.s]}}", true},
		{node + "sequences: {public.s: }}}", true},
		{node + "sequences: {public.s: {state: absent}}}}", true},
		{node + "sequences: [public.s, public.s]}}", false},
		{node + "sequences: }}", true},
		{node + "sequences: public.s}}", false},
		{"databases: {more: {dsn: service=x}}", true},
		{"databases: {more: {dsn: {env: X}}}", true},
		{"databases: {more: {dsn: {file: /x}}}", true},
		{"databases: {more: {dsn: {command: [x, y, y, '']}}}", true},
		{"databases: {more: {dsn: {command: x}}}", true},
		{"databases: {more: {dsn: {command: []}}}", false},
		{"databases: {more: {dsn: {env: X, file: /x}}}", false},
		{"databases: {more: {dsn: {}}}", false},
		{"databases: {more: {dsn: {vault: x}}}", false},
		{"databases: {more: {dsn: [x]}}", false},
		{"databases: {more: {dsn: }}", false},
		{"databases: {more: {location: x}}", false},
		{"databases: {more: }", false},
		{"databases: {more: {dsn: service=x, state: dead}}", true},
		{"databases: {more: {dsn: service=x, state: ill}}", false},
	} {
		t.Run(c.doc, func(t *testing.T) {
			_, problems := Parse(Source{"doc.yaml", []byte(c.doc + "\n")}, Source{"head.yaml",
				[]byte("skytools: 1\ncluster: shop\ndatabases: {hub: {dsn: service=hub}, edge1: {dsn: service=edge1}}\n")})
			if c.good != (len(problems) == 0) {
				t.Errorf("the decoder: %v", problems)
			}
			if err := schemaErr(t, c.doc); c.good != (err == nil) {
				t.Errorf("the schema: %v", err)
			}
		})
	}
	for _, version := range []string{"1", "2", "'1'", "1.5"} {
		_, problems := Parse(Source{"a.yaml", []byte("skytools: " + version + "\ncluster: x\n")})
		if err := schemaErr(t, "skytools: "+version); (err == nil) != (len(problems) == 0) {
			t.Errorf("skytools: %s: the schema says %v, the decoder %v", version, err, problems)
		}
	}
}

func TestSchemaAcceptsTheExample(t *testing.T) {
	if err := schemaErr(t, string(completeText(t))); err != nil {
		t.Error(err)
	}
}

// Mistakes that a JSON Schema can see at all are seen while typing.
func TestSchemaRefusesBadYAML(t *testing.T) {
	for _, name := range []string{
		"unknown-field", "bad-choice", "bad-bool", "bad-number", "bad-duration", "bad-allow", "bad-ignore", "bad-secret", "bad-version",
		"empty-list", "listed-twice", "missing-field", "not-a-list", "not-a-mapping", "not-a-value", "out-of-range", "unknown-hazard", "merge-key",
	} {
		text, err := os.ReadFile(filepath.Join(testdata, "bad", name+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if name == "merge-key" { // merged by the parser before the schema sees it
			continue
		}
		if schemaErr(t, string(text)) == nil {
			t.Errorf("the schema accepts %s", name)
		}
	}
}

func TestSchemaIsDraft7(t *testing.T) {
	var s map[string]any
	if err := json.Unmarshal(JSONSchema(), &s); err != nil {
		t.Fatal(err)
	}
	if s["$schema"] != "http://json-schema.org/draft-07/schema#" {
		t.Errorf("$schema is %v", s["$schema"])
	}
	checkShape(t, "$", s)
}

// checkShape reports keywords that draft-07 does not have, or not with such values.
func checkShape(t *testing.T, at string, s map[string]any) {
	t.Helper()
	types := []any{"object", "array", "string", "integer", "number", "boolean", "null"}
	for key, v := range s {
		ok := true
		switch key {
		case "$schema", "title", "description":
			text, isText := v.(string)
			ok = isText && text != ""
		case "type":
			list, isList := v.([]any)
			if !isList {
				list = []any{v}
			}
			for _, name := range list {
				ok = ok && slices.Contains(types, name)
			}
		case "properties":
			for name, p := range v.(map[string]any) {
				checkShape(t, at+"."+name, p.(map[string]any))
			}
		case "additionalProperties":
			if inner, isObject := v.(map[string]any); isObject {
				checkShape(t, at+".*", inner)
			} else {
				_, ok = v.(bool)
			}
		case "items":
			checkShape(t, at+"[]", v.(map[string]any))
		case "anyOf":
			for i, inner := range v.([]any) {
				checkShape(t, fmt.Sprintf("%s|%d", at, i), inner.(map[string]any))
			}
		case "required":
			for _, name := range v.([]any) {
				if _, declared := s["properties"].(map[string]any)[name.(string)]; !declared {
					t.Errorf("%s requires %s, which it does not have", at, name)
				}
			}
		case "pattern":
			_, err := regexp.Compile(v.(string))
			ok = err == nil
		case "enum":
			ok = len(v.([]any)) > 0
		case "const":
		case "minimum", "maximum", "minProperties", "maxProperties", "minItems", "minLength":
			_, ok = v.(float64)
		case "uniqueItems":
			_, ok = v.(bool)
		default:
			t.Errorf("%s: draft-07 has no %s that we use", at, key)
		}
		if !ok {
			t.Errorf("%s: %s cannot be %v", at, key, v)
		}
	}
}

// schemaErr validates a YAML document against the schema.
func schemaErr(t *testing.T, text string) error {
	t.Helper()
	var schema map[string]any
	if err := json.Unmarshal(JSONSchema(), &schema); err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	return valid("$", schema, asJSON(t, doc))
}

// asJSON turns what yaml.v3 made into what an editor sees.
func asJSON(t *testing.T, v any) any {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = asJSON(t, v[k])
		}
		return v
	case []any:
		for i := range v {
			v[i] = asJSON(t, v[i])
		}
		return v
	case time.Time: // YAML 1.2 has no dates
		return v.Format(time.DateOnly)
	case int:
		return float64(v)
	case uint64:
		return float64(v)
	case nil, string, bool, float64:
		return v
	}
	t.Fatalf("the YAML has a %T", v)
	return nil
}

// valid is as much of draft-07 as the schema uses.
func valid(at string, s map[string]any, v any) error {
	if options, ok := s["anyOf"].([]any); ok {
		var errs []string
		for _, option := range options {
			err := valid(at, option.(map[string]any), v)
			if err == nil {
				return nil
			}
			errs = append(errs, err.Error())
		}
		return fmt.Errorf("none of: %s", strings.Join(errs, "; "))
	}
	if t, ok := s["type"]; ok {
		list, isList := t.([]any)
		if !isList {
			list = []any{t}
		}
		if !slices.ContainsFunc(list, func(name any) bool { return isType(name.(string), v) }) {
			return fmt.Errorf("%s is %v, want %v", at, v, t)
		}
	}
	if c, ok := s["const"]; ok && !reflect.DeepEqual(c, v) {
		return fmt.Errorf("%s is %v, want %v", at, v, c)
	}
	if e, ok := s["enum"].([]any); ok && !slices.Contains(e, v) {
		return fmt.Errorf("%s is %v, want one of %v", at, v, e)
	}
	switch v := v.(type) {
	case string:
		if p, ok := s["pattern"].(string); ok && !regexp.MustCompile(p).MatchString(v) {
			return fmt.Errorf("%s is %q, which does not match %s", at, v, p)
		}
		return within(at+" length", len(v), s, "minLength", "")
	case float64:
		return within(at, v, s, "minimum", "maximum")
	case []any:
		for i, item := range v {
			if items, ok := s["items"].(map[string]any); ok {
				if err := valid(fmt.Sprintf("%s[%d]", at, i), items, item); err != nil {
					return err
				}
			}
			if s["uniqueItems"] == true && slices.ContainsFunc(v[:i], func(x any) bool { return reflect.DeepEqual(x, item) }) {
				return fmt.Errorf("%s holds %v twice", at, item)
			}
		}
		return within(at+" length", len(v), s, "minItems", "")
	case map[string]any:
		return validObject(at, s, v)
	}
	return nil
}

func validObject(at string, s map[string]any, v map[string]any) error {
	properties, _ := s["properties"].(map[string]any)
	for name, inner := range v {
		p, known := properties[name].(map[string]any)
		if !known {
			if p, known = s["additionalProperties"].(map[string]any); !known {
				return fmt.Errorf("%s.%s is unknown", at, name)
			}
		}
		if err := valid(at+"."+name, p, inner); err != nil {
			return err
		}
	}
	required, _ := s["required"].([]any)
	for _, name := range required {
		if _, ok := v[name.(string)]; !ok {
			return fmt.Errorf("%s.%s is missing", at, name)
		}
	}
	return within(at+" keys", len(v), s, "minProperties", "maxProperties")
}

func within[N int | float64](at string, n N, s map[string]any, low, high string) error {
	if m, ok := s[low].(float64); ok && float64(n) < m {
		return fmt.Errorf("%s is %v, want at least %v", at, n, m)
	}
	if m, ok := s[high].(float64); ok && float64(n) > m {
		return fmt.Errorf("%s is %v, want at most %v", at, n, m)
	}
	return nil
}

func isType(name string, v any) bool {
	switch v := v.(type) {
	case nil:
		return name == "null"
	case bool:
		return name == "boolean"
	case string:
		return name == "string"
	case float64:
		return name == "number" || name == "integer" && v == math.Trunc(v)
	case []any:
		return name == "array"
	case map[string]any:
		return name == "object"
	}
	return false
}
