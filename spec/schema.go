package spec

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
)

// JSONSchema describes the YAML as JSON Schema draft-07, which editors read.
// It is made from the same tables as the decoder.
func JSONSchema() []byte {
	s := objectSchema(describe[Set, *Set](), "A skytools topology.")
	s["$schema"] = "http://json-schema.org/draft-07/schema#"
	s["title"] = "skytools"
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic("spec: the schema is not JSON: " + err.Error())
	}
	return append(text, '\n')
}

func objectSchema(fields []anyField, doc string) map[string]any {
	properties, required := map[string]any{}, []string{}
	for _, f := range fields {
		p := typeSchema(f.typ)
		p["description"] = f.doc
		if f.def != "" {
			p["description"] = f.doc + " Default: " + f.def + "."
		}
		properties[f.name] = p
		if f.must {
			required = append(required, f.name)
		}
	}
	s := map[string]any{"type": "object", "properties": properties, "additionalProperties": false, "description": doc}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

func typeSchema(typ any) map[string]any {
	switch t := typ.(type) {
	case *string:
		return map[string]any{"type": "string"}
	case *int:
		return map[string]any{"type": "integer", "minimum": 0, "maximum": math.MaxInt32}
	case **int:
		return map[string]any{"type": []string{"integer", "null"}, "minimum": 0, "maximum": math.MaxInt32}
	case *bool:
		return map[string]any{"type": "boolean"}
	case *Duration:
		return map[string]any{"type": "string", "pattern": `^([0-9]+([.][0-9]+)?(w|d|h|m|s|ms|us))+$`}
	case *[]string:
		return namesSchema()
	case choice:
		return map[string]any{"enum": t.choices()}
	case node:
		return shapeSchema(t.shape())
	}
	return map[string]any{}
}

// namesSchema is a set of texts, none of them empty, or a single one.
func namesSchema() map[string]any {
	text := map[string]any{"type": "string", "minLength": 1}
	return anyOf(map[string]any{"type": "array", "items": text, "uniqueItems": true}, text)
}

func anyOf(options ...any) map[string]any { return map[string]any{"anyOf": options} }

func shapeSchema(s shape) map[string]any {
	var main map[string]any
	switch s.kind {
	case "text":
		return map[string]any{"type": "string"}
	case "texts":
		list := map[string]any{"type": "array", "items": map[string]any{"type": "string"}, "minItems": 1}
		return anyOf(list, map[string]any{"type": "string"})
	case "relations":
		return namesSchema()
	case "anymap":
		return maskSchema(s.entries, 5)
	case "textmap":
		entry := map[string]any{"type": "string", "minLength": 1}
		if len(s.oneOf) > 0 {
			entry = map[string]any{"type": []string{"string", "null"}}
		}
		return map[string]any{"type": "object", "additionalProperties": entry, "minProperties": s.entries}
	case "number":
		return map[string]any{"type": "integer", "const": Format}
	case "list":
		main = map[string]any{"type": "array", "items": entrySchema(s)}
		if s.entries > 0 {
			main["minItems"] = s.entries
		}
	case "map":
		entry := entrySchema(s)
		if entry["required"] == nil {
			entry = anyOf(entry, map[string]any{"type": "null"})
		}
		main = map[string]any{"type": "object", "additionalProperties": entry}
		if s.entries > 0 {
			main["minProperties"] = s.entries
		}
	default:
		main = entrySchema(s)
	}
	options := []any{main}
	for _, other := range s.oneOf {
		switch other {
		case "null":
			options = append(options, map[string]any{"type": "null"})
		case "text":
			options = append(options, map[string]any{"type": "string"})
		case "yes", "no":
			options = append(options, map[string]any{"const": other})
		case "list":
			list := map[string]any{"type": "array", "items": map[string]any{"type": "string"}, "uniqueItems": true}
			if s.entries > 0 {
				list["minItems"] = s.entries
			}
			options = append(options, list)
		}
	}
	if len(options) == 1 {
		return main
	}
	return anyOf(options...)
}

// maskSchema describes rules by name, with so many levels of them inside each other.
func maskSchema(entries, levels int) map[string]any {
	rule := map[string]any{"enum": maskWords}
	if levels > 0 {
		rule = anyOf(rule, maskSchema(0, levels-1))
	}
	return map[string]any{"type": "object", "additionalProperties": rule, "minProperties": entries}
}

// entrySchema describes one object of a map or list, or the object itself.
func entrySchema(s shape) map[string]any {
	entry := objectSchema(s.fields, s.doc)
	if s.keys > 0 {
		entry["minProperties"], entry["maxProperties"] = s.keys, s.keys
	}
	return entry
}

// Topics lists what [Explain] can explain: "database", "queue", "queue.on" and so
// on, sorted.
func Topics() []string {
	return slices.Sorted(maps.Keys(topics()))
}
