// Package sql holds the SQL that skytools speaks, as values.
//
// Nothing here opens a connection, so a planner can build statements and print
// them without being able to run them. Package sql/pg runs them. The packages
// below this one (pgq, pgqnode, londiste, meta) hold one schema each: the SQL
// that installs it, the queries that observe it and the commands that change it.
package sql

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// A Stmt is one command and its arguments, not yet sent to anyone.
type Stmt struct {
	Text string `json:"sql"`
	Args []any  `json:"args,omitempty"`
	If   string `json:"if,omitempty"` // a query for true: run it; false: pass it over; null: fail. Empty: run it
}

// Exec is the statement text with args as its parameters $1, $2 and so on.
func Exec(text string, args ...any) Stmt { return Stmt{Text: text, Args: args} }

// A Catalog query returns one jsonb column per row, so that what was observed
// can be saved, compared and replayed as text. It reads settings only: facts
// about progress (ticks, lag) have queries of their own, because they must never
// make two observations differ.
type Catalog struct {
	Kind string // the kind of object that each row describes
	Text string
}

// Pasteable is the statement with its arguments written out as literals, ended
// by a semicolon: what a person would type into psql. It is for reading; what
// runs is Text with Args as parameters.
func (s Stmt) Pasteable() string {
	text := strings.TrimRight(strings.TrimSpace(s.Text), ";")
	for i := len(s.Args); i > 0; i-- {
		text = replaceParameter(text, i, literalOf(s.Args[i-1]))
	}
	if s.If != "" {
		text = "-- Only where this says true: " + s.If + "\n" + text
	}
	return text + ";"
}

// replaceParameter puts value in place of $n, but not of $n followed by more digits.
func replaceParameter(text string, n int, value string) string {
	mark := "$" + strconv.Itoa(n)
	var out strings.Builder
	for {
		at := strings.Index(text, mark)
		if at < 0 {
			return out.String() + text
		}
		end := at + len(mark)
		out.WriteString(text[:at])
		if end < len(text) && text[end] >= '0' && text[end] <= '9' {
			out.WriteString(mark)
		} else {
			out.WriteString(value)
		}
		text = text[end:]
	}
}

func literalOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return Literal(v)
	case bool:
		return strconv.FormatBool(v)
	case int:
		return strconv.Itoa(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case []string:
		return arrayOf(v)
	case map[string]any: // a value that is read from elsewhere when the time comes
		if name, ok := v["input"].(string); ok {
			return ":'" + name + "'"
		}
	case []any: // an array that came back from a saved plan
		items := make([]string, len(v))
		for i, item := range v {
			items[i] = fmt.Sprint(item)
		}
		return arrayOf(items)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return Literal(fmt.Sprint(v))
	}
	return Literal(string(b))
}

func arrayOf(items []string) string {
	quoted := make([]string, len(items))
	for i, item := range items {
		quoted[i] = Literal(item)
	}
	return "array[" + strings.Join(quoted, ", ") + "]::text[]"
}
