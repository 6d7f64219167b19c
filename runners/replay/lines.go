package replay

import (
	"bytes"
	"fmt"
)

// manyRows is how many rows are inserted by COPY, which costs the server two thirds of what
// an INSERT of arrays does.
const manyRows = 100

// copied tells whether a command is run as a COPY.
func (c *columns) copied(of command) bool { return of.copy != "" && len(c.rows) >= manyRows }

// text is the rows as COPY reads them.
// Source: PostgreSQL documentation, COPY, Text Format.
func (c *columns) text(of command) ([]byte, error) {
	if c.lines != nil {
		return c.lines, nil
	}
	places, size := make([]int, len(of.takes)), 0
	for i, p := range of.takes {
		if places[i] = c.rows[0].shape.place(p.column); places[i] < 0 {
			return nil, fmt.Errorf("the event has no column %s", p.column)
		}
	}
	for _, row := range c.rows {
		for _, at := range places {
			size += len(row.values[at]) + 1
		}
	}
	out := make([]byte, 0, size)
	for _, row := range c.rows {
		for i, p := range of.takes {
			if i > 0 {
				out = append(out, '\t')
			}
			value, err := row.values[places[i]], error(nil)
			if p.isArray() && len(value) > 0 && value[0] == '[' {
				value, err = arrayText(value)
			}
			if err == nil {
				out, err = appendField(out, value)
			}
			if err != nil {
				return nil, fmt.Errorf("event %d: column %s: %w", row.event, p.column, err)
			}
		}
		out = append(out, '\n')
	}
	c.lines = out
	return out, nil
}

// appendField writes a JSON value as a field of a line: a string as its content, anything
// else as it stands.
func appendField(out, value []byte) ([]byte, error) {
	switch {
	case len(value) == 0:
		return out, errJSON
	case string(value) == "null":
		return append(out, `\N`...), nil
	case value[0] != '"':
		return appendEscaped(out, value), nil
	case bytes.IndexByte(value, '\\') < 0:
		return appendEscaped(out, value[1:len(value)-1]), nil
	}
	text, err := unquoteJSON(nil, value)
	return appendEscaped(out, text), err
}

// appendEscaped writes a text so that it ends no field and no line.
func appendEscaped(out, text []byte) []byte {
	from := 0
	for i, b := range text {
		if b > '\r' && b != '\\' {
			continue
		}
		var as byte
		switch b {
		case '\\':
			as = '\\'
		case '\t':
			as = 't'
		case '\n':
			as = 'n'
		case '\r':
			as = 'r'
		default:
			continue
		}
		out = append(append(out, text[from:i]...), '\\', as)
		from = i + 1
	}
	return append(out, text[from:]...)
}
