package replay

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"

	"github.com/skytools-go/skytools/sql/londiste"
)

// UseKey gives the key of a mask's hashes. Without one that needs it is an error.
func (t *Table) UseKey(key []byte) error {
	for column, rule := range t.Mask {
		if rule.Hashes() && len(key) == 0 {
			return fmt.Errorf("table %s: column %s is hashed, and there is no key (mask_key of the queue)", t.Name, column)
		}
	}
	if len(key) > 32 {
		return errors.New("mask_key: it has more than 32 bytes")
	}
	t.key = key
	return nil
}

// masked is a row of an event, as the node may see it.
func (t *Table) masked(fields []field) ([]field, error) {
	var all []field
	for _, f := range fields {
		name, _, err := textOf(f.name)
		if err != nil {
			return nil, err
		}
		rule := t.Mask[name]
		switch {
		case rule.Word == "keep":
			all = append(all, f)
			continue
		case rule.Word == "skip" || rule.Word == "" && rule.Inside == nil:
			continue
		}
		text, isSet, err := textOf(f.value)
		if err != nil {
			return nil, err
		}
		switch string(f.value) { // as COPY and other triggers write them
		case "true", "false":
			text = text[:1]
		}
		if !isSet {
			all = append(all, field{f.name, null})
			continue
		}
		made, err := maskRule(rule).apply(t.key, text)
		if err != nil {
			return nil, fmt.Errorf("mask column %s: %w", name, err)
		}
		all = append(all, field{f.name, quoteJSON([]byte(made))})
	}
	return all, nil
}

// Hides reports a column that a mask leaves out.
func (t *Table) Hides(column string) bool {
	r := t.Mask[column]
	return t.Mask != nil && (r.Word == "skip" || r.Word == "" && r.Inside == nil)
}

type maskRule londiste.Rule

// apply is what becomes of a text that is not NULL.
func (r maskRule) apply(key []byte, text string) (string, error) {
	switch r.Word {
	case "bool":
		if text == "" || text == "f" || text == "false" || text == "0" {
			return "f", nil
		}
		return "t", nil
	case "hash32":
		return strconv.Itoa(int(int32(binary.BigEndian.Uint32(blake2s(key, []byte(text), 4))))), nil
	case "hash64":
		return strconv.FormatInt(int64(binary.BigEndian.Uint64(blake2s(key, []byte(text), 8))), 10), nil
	case "hash":
		b := blake2s(key, []byte(text), 16)
		b[8] &= 0x7f
		return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), nil
	}
	var value any
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&value); err != nil {
		return "", errors.New("it is not JSON") // the error would show a part of it
	}
	made, err := r.member(key, value)
	if err != nil {
		return "", err
	}
	if made == nil {
		made = map[string]any{}
	}
	out, err := json.Marshal(made)
	return string(out), err
}

// member is what becomes of a member of a JSON object; nil: it is left out.
func (r maskRule) member(key []byte, value any) (any, error) {
	object, isObject := value.(map[string]any)
	_, isList := value.([]any)
	switch {
	case value == nil || r.Word == "skip":
		return nil, nil
	case r.Word == "keep":
		return value, nil
	case r.Inside != nil && isObject:
		made := map[string]any{}
		for name, inside := range r.Inside {
			m, err := maskRule(inside).member(key, object[name])
			if err != nil {
				return nil, err
			}
			if m != nil {
				made[name] = m
			}
		}
		if len(made) == 0 {
			return nil, nil
		}
		return made, nil
	case r.Inside != nil || isObject || isList:
		return nil, nil
	}
	text := fmt.Sprint(value)
	if b, ok := value.(bool); ok {
		text = map[bool]string{true: "t", false: "f"}[b]
	}
	made, err := r.apply(key, text)
	if r.Word == "hash32" || r.Word == "hash64" {
		return json.Number(made), err
	}
	return made, err
}

// Masked is an event as it goes on to other nodes.
func (t *Table) Masked(e *Event) (*Event, error) {
	k, err := parseKind(e.Type)
	if err != nil || k.op == opTruncate {
		return e, err
	}
	if k.format == formatSQL {
		return nil, errors.New("a mask needs the columns of rows, which sqltriga does not write: use logutriga or jsontriga")
	}
	made := *e
	for _, data := range []*[]byte{&made.Data, &made.Extra[1]} { // the row, and what it was before
		if *data == nil {
			continue
		}
		fields, _, err := k.decode(*data, nil)
		if err == nil {
			fields, err = t.masked(fields)
		}
		if err != nil {
			return nil, err
		}
		*data = k.encode(fields)
	}
	return &made, nil
}

// encode is the opposite of decode.
func (k *kind) encode(fields []field) []byte {
	if k.format == formatJSON {
		return joinObject(fields)
	}
	var out bytes.Buffer
	for i, f := range fields {
		if i > 0 {
			out.WriteByte('&')
		}
		name, _, _ := textOf(f.name)
		out.WriteString(url.QueryEscape(name))
		if value, isSet, _ := textOf(f.value); isSet {
			out.WriteByte('=')
			out.WriteString(url.QueryEscape(value))
		}
	}
	return out.Bytes()
}

// MaskRows reads rows of these columns in COPY's text format and gives them masked. The
// columns that are left out are not among them.
// Source: PostgreSQL documentation, COPY, Text Format.
func (t *Table) MaskRows(in io.Reader, columns []string) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		lines := bufio.NewReaderSize(in, 64<<10)
		out := bufio.NewWriterSize(w, 64<<10)
		for {
			line, err := lines.ReadBytes('\n')
			if len(line) > 0 {
				if bad := t.maskLine(out, line, columns); bad != nil {
					w.CloseWithError(bad)
					return
				}
			}
			if err != nil {
				if flushed := out.Flush(); errors.Is(err, io.EOF) {
					err = flushed
				}
				w.CloseWithError(err)
				return
			}
		}
	}()
	return r
}

func (t *Table) maskLine(out *bufio.Writer, line []byte, columns []string) error {
	values := bytes.Split(bytes.TrimSuffix(line, []byte("\n")), []byte("\t"))
	if len(values) != len(columns) {
		return fmt.Errorf("mask a row: it has %d columns, not %d", len(values), len(columns))
	}
	for i, value := range values {
		if i > 0 {
			out.WriteByte('\t')
		}
		r := t.Mask[columns[i]]
		if string(value) == `\N` || r.Word == "keep" {
			out.Write(value)
			continue
		}
		made, err := maskRule(r).apply(t.key, uncopied(value))
		if err != nil {
			return fmt.Errorf("mask column %s: %w", columns[i], err)
		}
		out.WriteString(copied.Replace(made))
	}
	return out.WriteByte('\n')
}

var copied = strings.NewReplacer("\\", `\\`, "\n", `\n`, "\r", `\r`, "\t", `\t`)

// uncopied is the text of a value in COPY's text format, as the server writes it.
func uncopied(value []byte) string {
	if bytes.IndexByte(value, '\\') < 0 {
		return string(value)
	}
	var out []byte
	for i := 0; i < len(value); i++ {
		c := value[i]
		if c == '\\' && i+1 < len(value) {
			i++
			if at := strings.IndexByte("bfnrtv", value[i]); at >= 0 {
				c = "\b\f\n\r\t\v"[at]
			} else {
				c = value[i]
			}
		}
		out = append(out, c)
	}
	return string(out)
}
