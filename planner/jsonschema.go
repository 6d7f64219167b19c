package planner

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"time"
)

// JSONSchema describes saved plans as JSON Schema draft-07. It is made from the
// types, so it cannot say anything else than they do.
func JSONSchema() []byte {
	s := typeSchema(reflect.TypeFor[Plan]())
	s["$schema"], s["title"] = "http://json-schema.org/draft-07/schema#", PlanFormat
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic("planner: the schema is not JSON: " + err.Error())
	}
	return append(text, '\n')
}

var textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()

func typeSchema(t reflect.Type) map[string]any {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case t.Implements(textMarshaler):
		return map[string]any{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return map[string]any{"anyOf": []any{typeSchema(t.Elem()), map[string]any{"type": "null"}}}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return map[string]any{"type": "integer"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": typeSchema(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": []string{"object", "null"}, "additionalProperties": typeSchema(t.Elem())}
	case reflect.Struct:
		return structSchema(t)
	}
	return map[string]any{}
}

func structSchema(t reflect.Type) map[string]any {
	properties, required := map[string]any{}, []string{}
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || name == "" {
			continue
		}
		properties[name] = typeSchema(f.Type)
		if !strings.Contains(options, "omit") {
			required = append(required, name)
		}
	}
	return map[string]any{"type": "object", "properties": properties, "required": required}
}
