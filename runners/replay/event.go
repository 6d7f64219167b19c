package replay

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"strings"
	"time"
)

// An Event is a row of a queue. Nil is NULL.
type Event struct {
	ID, Txid int64
	Time     int64 // microseconds since 2000, as PostgreSQL counts them; [Event.When] is its text
	Retry    []byte
	Type     []byte
	Data     []byte
	Extra    [4][]byte
}

// When is the event's time as text, in UTC.
//
// Source: PostgreSQL documentation, Date/Time Types, for infinity and years before 1.
func (e *Event) When() []byte {
	const epoch = 946_684_800 // 2000-01-01, in seconds of Unix
	switch {
	case e.Time == math.MaxInt64:
		return []byte("infinity")
	case e.Time == math.MinInt64:
		return []byte("-infinity")
	}
	at := time.Unix(epoch+e.Time/1e6, e.Time%1e6*1e3).UTC() // in two parts, as microseconds of Unix end before PostgreSQL's
	if at.Year() > 0 {
		return at.AppendFormat(nil, "2006-01-02 15:04:05.999999+00")
	}
	return fmt.Appendf(nil, "%04d-%s BC", 1-at.Year(), at.Format("01-02 15:04:05.999999+00"))
}

// Table is the global name of the table that a data event is about.
func (e *Event) Table() string {
	name := string(e.Extra[0])
	if strings.Contains(name, ".") {
		return name
	}
	return "public." + name
}

// IsData reports whether the event is a change of a table: of one row, or TRUNCATE.
//
// Source: contract/londiste.md section 0.5.
func (e *Event) IsData() bool {
	t := e.Type
	switch len(t) {
	case 0:
		return false
	case 1:
		return t[0] == 'I' || t[0] == 'U' || t[0] == 'D' || t[0] == 'R'
	}
	return t[1] == ':' && (t[0] == 'I' || t[0] == 'U' || t[0] == 'D') || t[0] == '{'
}

const (
	opInsert   = 'I'
	opUpdate   = 'U'
	opDelete   = 'D'
	opTruncate = 'R'
)

// Formats of ev_data, by the trigger that writes it.
// Source: contract/pgq.md section 7.2.
const (
	formatJSON  = 'j' // jsontriga
	formatURL   = 'u' // logutriga
	formatSQL   = 's' // sqltriga
	formatEmpty = 'e' // nothing: TRUNCATE
)

// A kind is what ev_type says.
type kind struct {
	op      byte
	format  byte
	keys    []string // columns of the key, where the type names them
	keyText string   // keys in one string, to compare
}

func parseKind(text []byte) (*kind, error) {
	k := &kind{}
	switch {
	case len(text) == 1 && text[0] == opTruncate:
		k.op, k.format = opTruncate, formatEmpty
	case len(text) == 1:
		k.op, k.format = text[0], formatSQL
	case text[1] == ':':
		k.op, k.format = text[0], formatURL
		if len(text) > 2 {
			for name := range strings.SplitSeq(string(text[2:]), ",") {
				plain, err := url.QueryUnescape(name)
				if err != nil {
					return nil, fmt.Errorf("key column %q: %w", name, err)
				}
				k.keys = append(k.keys, plain)
			}
		}
	default:
		var t struct {
			Op   string   `json:"op"`
			Pkey []string `json:"pkey"`
		}
		if err := json.Unmarshal(text, &t); err != nil {
			return nil, err
		}
		op, known := map[string]byte{"INSERT": opInsert, "UPDATE": opUpdate, "DELETE": opDelete, "TRUNCATE": opTruncate}[t.Op]
		if !known {
			return nil, fmt.Errorf("unknown operation %q", t.Op)
		}
		k.op, k.format, k.keys = op, formatJSON, t.Pkey
	}
	k.keyText = strings.Join(k.keys, "\x00")
	return k, nil
}

// A field is a column of an event: its name and value as JSON text.
type field struct{ name, value []byte }

// decode splits ev_data into fields, in place of what fields held before. For the
// format of sqltriga it also returns the columns of the key; nil if the event does not
// tell.
func (k *kind) decode(data []byte, fields []field) (_ []field, keys []string, err error) {
	switch k.format {
	case formatJSON:
		fields, err = scanObject(data, fields[:0])
		return fields, k.keys, err
	case formatURL:
		fields, err = decodeURL(data, fields[:0])
		return fields, k.keys, err
	}
	return decodeSQL(k.op, data, fields[:0])
}

func joinObject(fields []field) []byte {
	size := 2
	for _, f := range fields {
		size += len(f.name) + len(f.value) + 2
	}
	row := make([]byte, 0, size)
	row = append(row, '{')
	for i, f := range fields {
		if i > 0 {
			row = append(row, ',')
		}
		row = append(append(append(row, f.name...), ':'), f.value...)
	}
	return append(row, '}')
}

// decodeURL reads col=val&col2=val2; a name without = is NULL.
func decodeURL(data []byte, fields []field) ([]field, error) {
	err := eachPair(data, func(name, value []byte) error {
		f := field{name: quoteJSON(name), value: null}
		if value != nil {
			f.value = quoteJSON(value)
		}
		fields = append(fields, f)
		return nil
	})
	return fields, err
}

var null = []byte("null")

func unescapeURL(text []byte) ([]byte, error) {
	if bytes.IndexByte(text, '%') < 0 && bytes.IndexByte(text, '+') < 0 {
		return text, nil
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '+':
			out = append(out, ' ')
		case '%':
			if i+2 >= len(text) || !isHex(text[i+1]) || !isHex(text[i+2]) {
				return nil, fmt.Errorf("a percent sign without two hex digits at byte %d of %.60q", i, text)
			}
			out = append(out, unhex(text[i+1])<<4|unhex(text[i+2]))
			i += 2
		default:
			out = append(out, text[i])
		}
	}
	return out, nil
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}
