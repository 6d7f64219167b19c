package spec

import (
	"encoding/json"
	"maps"
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
	case *int, **int:
		return map[string]any{"type": "integer", "minimum": 0}
	case *bool:
		return map[string]any{"type": "boolean"}
	case *Duration:
		return map[string]any{"type": "string", "pattern": `^([0-9.]+(w|d|h|m|s|ms|us))+$`}
	case *[]string:
		return anyOf(map[string]any{"type": "array", "items": map[string]any{"type": "string"}, "uniqueItems": true}, map[string]any{"type": "string"})
	case choice:
		return map[string]any{"enum": t.choices()}
	case node:
		return shapeSchema(t.shape())
	}
	return map[string]any{}
}

func anyOf(options ...any) map[string]any { return map[string]any{"anyOf": options} }

func shapeSchema(s shape) map[string]any {
	var main map[string]any
	switch s.kind {
	case "text":
		return map[string]any{"type": "string"}
	case "number":
		return map[string]any{"type": "integer", "const": Format}
	case "list":
		main = map[string]any{"type": "array", "items": objectSchema(s.fields, s.doc)}
	case "map":
		entry := anyOf(objectSchema(s.fields, s.doc), map[string]any{"type": "null"})
		main = map[string]any{"type": "object", "additionalProperties": entry}
	default:
		main = objectSchema(s.fields, s.doc)
		main["minProperties"], main["maxProperties"] = 1, 1
	}
	options := []any{main}
	for _, other := range s.oneOf {
		switch other {
		case "null":
			options = append(options, map[string]any{"type": "null"})
		case "text":
			options = append(options, map[string]any{"type": "string"})
		case "list":
			options = append(options, map[string]any{"type": "array", "items": map[string]any{"type": "string"}})
		}
	}
	if len(options) == 1 {
		return main
	}
	return anyOf(options...)
}

// Topics lists what [Explain] can explain: "database", "queue", "queue.on" and so
// on, sorted.
func Topics() []string {
	return slices.Sorted(maps.Keys(topics()))
}
