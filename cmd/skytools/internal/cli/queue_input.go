package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql/pgq"
)

// An eventReader reads events in one of the forms that queue insert takes.
type eventReader struct {
	in      *bufio.Reader
	line    int // the one that was read last, from 1
	form    string
	columns []string // of a CSV file
}

// eventColumns are the names of what an event holds; exportColumns stand before them in
// what was exported, and are passed over.
var (
	eventColumns  = []string{"type", "data", "extra1", "extra2", "extra3", "extra4"}
	exportColumns = []string{"id", "time", "txid", "retry"}
)

var byteOrderMark = []byte("\xef\xbb\xbf")

func newEventReader(in io.Reader, form string) (*eventReader, error) {
	r := &eventReader{in: bufio.NewReaderSize(in, 1<<16), form: form}
	forms := []string{"auto", "json", "tsv", "csv"}
	if !slices.Contains(forms, form) {
		if near := spec.Nearest(form, forms); near != "" {
			return nil, usage("queue insert: --input %s: did you mean %s?", form, near)
		}
		return nil, usage("queue insert: --input %s: it is json, tsv, csv or auto", form)
	}
	if start, _ := r.in.Peek(3); bytes.Equal(start, byteOrderMark) {
		r.in.Discard(3)
	}
	if form == "auto" {
		start, _ := r.in.Peek(1 << 12)
		r.form = formOf(start)
	}
	if r.form == "csv" {
		if err := r.header(); err != nil {
			return nil, usage("queue insert: line 1: %v", err)
		}
	}
	return r, nil
}

// formOf looks at the beginning of the input.
func formOf(start []byte) string {
	first, _, _ := bytes.Cut(start, []byte("\n"))
	switch {
	case bytes.HasPrefix(bytes.TrimSpace(start), []byte("{")):
		return "json"
	case !bytes.Contains(first, []byte("\t")) && slices.ContainsFunc(strings.Split(strings.TrimRight(string(first), "\r"), ","), func(name string) bool { return name == "type" }):
		return "csv"
	}
	return "tsv"
}

func (r *eventReader) header() error {
	names, err := r.fields()
	if err != nil {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
	known := slices.Concat(eventColumns, exportColumns)
	for _, n := range names {
		name := or(n)
		if !slices.Contains(known, name) {
			return unknownColumn(name)
		}
		if slices.Contains(r.columns, name) {
			return fmt.Errorf("the column %q is there twice", name)
		}
		r.columns = append(r.columns, name)
	}
	if !slices.Contains(r.columns, "type") {
		return fmt.Errorf("no column is called type; the first line names the columns, such as type,data")
	}
	return nil
}

func unknownColumn(name string) error {
	if near := spec.Nearest(name, eventColumns); near != "" {
		return fmt.Errorf("an event has no %q; did you mean %s?", name, near)
	}
	return fmt.Errorf("an event has no %q; it has %s", name, strings.Join(eventColumns, ", "))
}

// next returns an event and the line that it begins on, or io.EOF.
func (r *eventReader) next() (e pgq.NewEvent, line int, err error) {
	switch r.form {
	case "json":
		return r.nextJSON()
	case "csv":
		return r.nextCSV()
	}
	return r.nextTSV()
}

// text reads a line without its end; a last one without an end counts.
func (r *eventReader) text() (string, error) {
	line, err := r.in.ReadString('\n')
	if line == "" {
		return "", err
	}
	r.line++
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"), nil
}

func set(e *pgq.NewEvent, column string, value *string) {
	switch column {
	case "type":
		e.Type = value
	case "data":
		e.Data = value
	case "extra1":
		e.Extra1 = value
	case "extra2":
		e.Extra2 = value
	case "extra3":
		e.Extra3 = value
	case "extra4":
		e.Extra4 = value
	}
}

func (r *eventReader) nextJSON() (e pgq.NewEvent, line int, err error) {
	text := ""
	for strings.TrimSpace(text) == "" {
		if text, err = r.text(); err != nil {
			return e, r.line, err
		}
	}
	if !utf8.ValidString(text) {
		return e, r.line, errNotUTF8 // the decoder would replace it
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		return e, r.line, fmt.Errorf("this is no JSON object: %w", err)
	}
	for name, raw := range object {
		switch {
		case slices.Contains(exportColumns, name):
			continue
		case !slices.Contains(eventColumns, name):
			return e, r.line, unknownColumn(name)
		}
		value := string(raw)
		if value == "null" {
			continue
		}
		if raw[0] == '"' {
			if err := json.Unmarshal(raw, &value); err != nil {
				return e, r.line, fmt.Errorf("%s: %w", name, err)
			}
		}
		set(&e, name, &value)
	}
	if _, there := object["type"]; !there {
		return e, r.line, errors.New(`the event has no "type"`)
	}
	return e, r.line, nil
}

// nextTSV reads the text format of COPY.
// Source: PostgreSQL documentation, COPY, Text Format.
func (r *eventReader) nextTSV() (e pgq.NewEvent, line int, err error) {
	text, err := r.text()
	if err != nil {
		return e, r.line, err
	}
	fields := strings.Split(text, "\t")
	if len(fields) < 2 {
		return e, r.line, errors.New("expected a type and data with a tab between them")
	}
	if len(fields) > len(eventColumns) {
		return e, r.line, fmt.Errorf("%d fields, and an event has at most %d: %s", len(fields), len(eventColumns), strings.Join(eventColumns, ", "))
	}
	for i, field := range fields {
		if field == `\N` {
			continue
		}
		value, err := unescape(field)
		if err != nil {
			return e, r.line, err
		}
		set(&e, eventColumns[i], &value)
	}
	return e, r.line, nil
}

func unescape(field string) (string, error) {
	var out strings.Builder
	for i := 0; i < len(field); i++ {
		if field[i] != '\\' {
			out.WriteByte(field[i])
			continue
		}
		if i++; i == len(field) {
			return "", errors.New(`a backslash at the end of a field; write \\ for one`)
		}
		at := strings.IndexByte(`\tnrbfv`, field[i])
		if at < 0 {
			return "", fmt.Errorf(`\%c is not known; write \\ for a backslash`, field[i])
		}
		out.WriteByte("\\\t\n\r\b\f\v"[at])
	}
	return out.String(), nil
}

func (r *eventReader) nextCSV() (e pgq.NewEvent, line int, err error) {
	line = r.line + 1
	fields, err := r.fields()
	if err != nil {
		return e, line, err
	}
	if len(fields) != len(r.columns) {
		return e, line, fmt.Errorf("%d fields, and the first line names %d", len(fields), len(r.columns))
	}
	for i, value := range fields {
		set(&e, r.columns[i], value)
	}
	return e, line, nil
}

// fields reads a record of CSV as PostgreSQL writes it: a field with nothing in it is
// nil, an empty one is quoted, and what stands between quotes is kept byte for byte.
// (The reader of the standard library tells neither, and changes the ends of lines.)
func (r *eventReader) fields() (all []*string, err error) {
	var field strings.Builder
	quoted, inside, started := false, false, false
	end := func() {
		if text := field.String(); quoted || text != "" {
			all = append(all, &text)
		} else {
			all = append(all, nil)
		}
		field.Reset()
		quoted = false
	}
	for {
		b, err := r.in.ReadByte()
		if errors.Is(err, io.EOF) {
			switch {
			case inside:
				return nil, errors.New("a quote is not closed")
			case !started:
				return nil, io.EOF
			}
			r.line++
			end()
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		started = true
		switch {
		case inside && b == '"':
			if next, _ := r.in.Peek(1); len(next) == 1 && next[0] == '"' {
				r.in.Discard(1)
				field.WriteByte('"')
			} else {
				inside = false
			}
		case inside:
			if b == '\n' {
				r.line++
			}
			field.WriteByte(b)
		case b == '"' && field.Len() == 0 && !quoted:
			inside, quoted = true, true
		case b == ',':
			end()
		case b == '\n':
			r.line++
			end()
			return all, nil
		case b == '\r':
			if next, _ := r.in.Peek(1); len(next) == 1 && next[0] == '\n' {
				continue
			}
			return nil, errors.New("a carriage return outside of quotes")
		case b == '"' || quoted:
			return nil, errors.New("a quote in the middle of a field; quote the whole field and double the quotes in it")
		default:
			field.WriteByte(b)
		}
	}
}

var errNotUTF8 = errors.New("this is not UTF-8")

// storable says what PostgreSQL could not store.
func storable(e pgq.NewEvent) error {
	for i, value := range []*string{e.Type, e.Data, e.Extra1, e.Extra2, e.Extra3, e.Extra4} {
		switch {
		case value == nil:
		case !utf8.ValidString(*value):
			return fmt.Errorf("%s: %w", eventColumns[i], errNotUTF8)
		case strings.Contains(*value, "\x00"):
			return fmt.Errorf("%s: a zero byte, which PostgreSQL cannot store in text", eventColumns[i])
		}
	}
	return nil
}
