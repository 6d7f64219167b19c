package replay

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/skytools-go/skytools/sql/pg"
)

// columns are rows of one shape, turned into an array for each column that somebody
// asks for, or into the lines of a COPY.
type columns struct {
	rows   []*change
	arrays map[string]string
	lines  []byte // nil: nobody has asked
}

func newColumns(rows []*change) *columns { return &columns{rows: rows, arrays: map[string]string{}} }

// run executes a command on rows.
func run(ctx context.Context, tx *pg.Tx, c command, of *columns) (int64, error) {
	if of.copied(c) {
		lines, err := of.text(c)
		if err != nil {
			return 0, err
		}
		return tx.CopyIn(ctx, bytes.NewReader(lines), c.copy)
	}
	args, err := of.args(c)
	if err != nil {
		return 0, err
	}
	return tx.Exec(ctx, c.text, args...)
}

// ready makes what a command takes, and keeps it.
func (c *columns) ready(of command) (err error) {
	if c.copied(of) {
		_, err = c.text(of)
	} else {
		_, err = c.args(of)
	}
	return err
}

// args are the arrays that a command takes.
func (c *columns) args(of command) ([]any, error) {
	args := make([]any, len(of.takes))
	for i, p := range of.takes {
		array, made := c.arrays[p.column]
		if !made {
			var err error
			if array, err = c.array(p); err != nil {
				return nil, err
			}
			c.arrays[p.column] = array
		}
		args[i] = array
	}
	return args, nil
}

// array is what the rows have in a column, as the text of a PostgreSQL array.
// Source: PostgreSQL documentation, 8.15.2 and 8.15.6, Array Input and Output Syntax.
func (c *columns) array(p parameter) (string, error) {
	at, size := c.rows[0].shape.place(p.column), 2
	if at < 0 {
		return "", fmt.Errorf("the event has no column %s", p.column)
	}
	for _, row := range c.rows {
		size += len(row.values[at]) + 1
	}
	out := append(make([]byte, 0, size), '{')
	for i, row := range c.rows {
		if i > 0 {
			out = append(out, ',')
		}
		value, err := row.values[at], error(nil)
		if p.isArray() && len(value) > 0 && value[0] == '[' {
			value, err = arrayText(value)
		}
		if err == nil {
			out, err = appendElement(out, value)
		}
		if err != nil {
			return "", fmt.Errorf("event %d: column %s: %w", row.event, p.column, err)
		}
	}
	return string(append(out, '}')), nil
}

// appendElement writes a JSON value as an element: a string as its content, anything
// else as it stands. A null without quotes is NULL there, too.
func appendElement(out, value []byte) ([]byte, error) {
	switch {
	case len(value) == 0:
		return out, errJSON
	case value[0] == '"' && bytes.IndexByte(value, '\\') < 0: // means the same there
		return append(out, value...), nil
	case value[0] == '"':
		text, err := unquoteJSON(nil, value)
		return appendQuoted(out, text), err
	case value[0] == '{' || value[0] == '[':
		return appendQuoted(out, value), nil
	}
	return append(out, value...), nil
}

func appendQuoted(out, text []byte) []byte {
	out = append(out, '"')
	for {
		at := bytes.IndexAny(text, `"\`)
		if at < 0 {
			return append(append(out, text...), '"')
		}
		out = append(append(out, text[:at]...), '\\', text[at])
		text = text[at+1:]
	}
}

// arrayText turns a JSON array into a JSON string of the same as PostgreSQL writes it.
// Our triggers and the originals' send arrays as text; others may not.
func arrayText(value []byte) ([]byte, error) {
	var items []json.RawMessage
	if err := json.Unmarshal(value, &items); err != nil {
		return nil, err
	}
	out := []byte{'{'}
	for i, item := range items {
		if i > 0 {
			out = append(out, ',')
		}
		if item[0] == '[' {
			text, err := arrayText(item)
			if err != nil {
				return nil, err
			}
			if out, err = unquoteJSON(out, text); err != nil {
				return nil, err
			}
			continue
		}
		var err error
		if out, err = appendElement(out, item); err != nil {
			return nil, err
		}
	}
	return quoteJSON(append(out, '}')), nil
}
