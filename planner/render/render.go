// Package render prints plans, drift reports and problems for people and machines.
//
// Everything here is a pure function of a value: nothing connects, and the same
// value prints the same bytes. Colour is a matter for the terminal: text marks what
// may be coloured through a [Paint]. Names and values come from databases and may
// hold anything; nothing that is printed for people lets a control character
// through.
package render

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/spec"
)

// A Paint colours a piece of text by what it is: create, update, recreate, drop,
// adopt, unknown, dim, bold. The zero value leaves text alone.
type Paint func(what, text string) string

// ink is text that is clean and painted already.
type ink string

func (p Paint) do(what, text string) ink {
	if text = Clean(text); p == nil || text == "" {
		return ink(text)
	}
	return ink(p(what, text))
}

// say writes like [fmt.Fprintf], with all texts clean.
func say(w io.Writer, format string, args ...any) {
	for i, a := range args {
		switch a := a.(type) {
		case ink, int:
		default:
			args[i] = Clean(fmt.Sprint(a))
		}
	}
	fmt.Fprintf(w, format, args...)
}

// Clean is text from a database, fit for a terminal: on one line, and what a terminal
// would obey is written out: control characters, and marks that cannot be seen or turn
// the direction of writing.
func Clean(text string) string {
	if !strings.ContainsFunc(text, obeyed) && utf8.ValidString(text) {
		return text
	}
	var out strings.Builder
	for _, r := range text {
		switch {
		case r == '\n':
			out.WriteString(`\n`)
		case r == '\t':
			out.WriteString(`\t`)
		case r == '\r':
			out.WriteString(`\r`)
		case obeyed(r) && r < 0x100:
			fmt.Fprintf(&out, `\x%02x`, r)
		case obeyed(r):
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}

func obeyed(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
}

// width is the number of characters of a text.
func width(text string) int { return utf8.RuneCountInString(Clean(text)) }

// gap fills a line up to the column where remarks begin.
func gap(line string) ink { return ink(strings.Repeat(" ", max(2, 60-width(line)))) }

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
		return Clean(v)
	case float64:
		if strings.HasSuffix(path, "_lag") || strings.HasSuffix(path, "_period") {
			return spec.Duration(v * 1e9).String()
		}
		return fmt.Sprintf("%v", v)
	case []any:
		items := make([]string, len(v))
		for i, item := range v {
			items[i] = Clean(fmt.Sprint(item))
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	return Clean(fmt.Sprint(v))
}

// change writes a setting before and after.
func change(f planner.Field) string {
	before, after := sides(f)
	return before + " -> " + after
}

// sides are a setting before and after. A switch that is left out is off.
func sides(f planner.Field) (string, string) {
	before, after := f.Before, f.After
	if _, is := after.(bool); is && before == nil {
		before = false
	}
	if _, is := before.(bool); is && after == nil {
		after = false
	}
	return value(f.Path, before), value(f.Path, after)
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

// hidden fields are long and say nothing to a reader: a note summarises them.
func hidden(path string) bool { return strings.HasPrefix(path, "functions.") }

// implied reports a setting that says nothing of an object that is made: it is at
// what is usual, or it says only that the object is there.
func implied(f planner.Field) bool {
	if f.Path == "local" || f.Path == "current" {
		return true
	}
	list, isList := f.After.([]any)
	return f.After == nil || f.After == false || isList && len(list) == 0
}
