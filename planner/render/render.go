// Package render prints plans, drift reports and problems for people and machines.
//
// Everything here is a pure function of a value: nothing connects, and the same
// value prints the same bytes. Colour is a matter for the terminal: text marks what
// may be coloured through a [Paint].
package render

import (
	"fmt"
	"strings"

	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/spec"
)

// A Paint colours a piece of text by what it is: create, update, recreate, drop,
// adopt, unknown, dim, bold. The zero value leaves text alone.
type Paint func(what, text string) string

func (p Paint) do(what, text string) string {
	if p == nil {
		return text
	}
	return p(what, text)
}

var symbols = map[planner.Action]string{
	planner.Create: "+", planner.Update: "~", planner.Recreate: "!", planner.Drop: "-",
	planner.Adopt: "=", planner.Forget: "-", planner.Unobserved: "?",
}

var colours = map[planner.Action]string{
	planner.Create: "create", planner.Update: "update", planner.Recreate: "recreate", planner.Drop: "drop",
	planner.Adopt: "adopt", planner.Forget: "drop", planner.Unobserved: "unknown",
}

// value writes a setting for people. Paths that hold seconds are written as
// durations.
func value(path string, v any) string {
	switch v := v.(type) {
	case nil:
		return "(none)"
	case string:
		if v == "" {
			return `""`
		}
		return strings.ReplaceAll(v, "\n", `\n`)
	case float64:
		if strings.HasSuffix(path, "_lag") || strings.HasSuffix(path, "_period") {
			return spec.Duration(v * 1e9).String()
		}
		return fmt.Sprintf("%v", v)
	case []any:
		items := make([]string, len(v))
		for i, item := range v {
			items[i] = fmt.Sprint(item)
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	return fmt.Sprint(v)
}

// where is the place in the YAML, and nothing for a change that has none.
func where(at spec.Pos) string {
	if at.File == "" {
		return ""
	}
	return fmt.Sprintf("%s:%d", at.File, at.Line)
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// hiddenFields are long and say nothing to a reader: a note summarises them.
func hidden(path string) bool { return strings.HasPrefix(path, "functions.") }
