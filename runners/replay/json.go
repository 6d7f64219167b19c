package replay

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

var errJSON = errors.New("not a JSON object")

// scanObject appends the members of a JSON object to fields: names with their
// quotes, values as they stand. It checks only as much as it needs to find them:
// the server checks the rest.
func scanObject(data []byte, fields []field) ([]field, error) {
	i := skipSpace(data, 0)
	if i >= len(data) || data[i] != '{' {
		return fields, errJSON
	}
	i = skipSpace(data, i+1)
	if i < len(data) && data[i] == '}' {
		return fields, endOf(data, i+1)
	}
	for {
		start := i
		if i >= len(data) || data[i] != '"' {
			return fields, errJSON
		}
		if i = skipString(data, i); i < 0 {
			return fields, errJSON
		}
		name := data[start:i]
		i = skipSpace(data, i)
		if i >= len(data) || data[i] != ':' {
			return fields, errJSON
		}
		start = skipSpace(data, i+1)
		if i = skipValue(data, start); i < 0 || i == start {
			return fields, errJSON
		}
		fields = append(fields, field{name, data[start:i]})
		i = skipSpace(data, i)
		if i >= len(data) {
			return fields, errJSON
		}
		switch data[i] {
		case ',':
			i = skipSpace(data, i+1)
		case '}':
			return fields, endOf(data, i+1)
		default:
			return fields, errJSON
		}
	}
}

func endOf(data []byte, i int) error {
	if skipSpace(data, i) != len(data) {
		return errJSON
	}
	return nil
}

func skipSpace(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\t' || data[i] == '\n' || data[i] == '\r') {
		i++
	}
	return i
}

// skipString returns the place after the string that begins at i, or -1.
func skipString(data []byte, i int) int {
	for i++; i < len(data); {
		at := bytes.IndexByte(data[i:], '"')
		if at < 0 {
			return -1
		}
		if slash := bytes.IndexByte(data[i:i+at], '\\'); slash >= 0 {
			i += slash + 2
			continue
		}
		return i + at + 1
	}
	return -1
}

// skipValue returns the place after the value that begins at i, or -1.
func skipValue(data []byte, i int) int {
	depth := 0
	for i < len(data) {
		switch data[i] {
		case '"':
			if i = skipString(data, i); i < 0 {
				return -1
			}
			if depth == 0 {
				return i
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return i
			}
		}
		i++
	}
	return -1
}

// textOf is the text that a JSON value stands for: of a string its content, of
// anything else itself. The second result is false for null.
func textOf(value []byte) (string, bool, error) {
	if len(value) == 0 || value[0] != '"' {
		return string(value), string(value) != "null", nil
	}
	text, err := unquoteJSON(nil, value)
	return string(text), true, err
}

// unquoteJSON appends the content of a JSON string. Bytes that are not UTF-8 stay as
// they are.
// Source: RFC 8259, section 7.
func unquoteJSON(out, value []byte) ([]byte, error) {
	rest := value[1 : len(value)-1]
	for {
		at := bytes.IndexByte(rest, '\\')
		if at < 0 {
			return append(out, rest...), nil
		}
		out = append(out, rest[:at]...)
		if at+1 >= len(rest) {
			return out, fmt.Errorf("%.60q: %w", value, errEscape)
		}
		c := rest[at+1]
		rest = rest[at+2:]
		if plain := escaped[c]; plain != 0 {
			out = append(out, plain)
			continue
		}
		r, left, ok := unicodeEscape(c, rest)
		if !ok {
			return out, fmt.Errorf("%.60q: %w", value, errEscape)
		}
		out, rest = utf8.AppendRune(out, r), left
	}
}

var (
	errEscape = errors.New("a backslash in the JSON string that means nothing")
	escaped   = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}
)

// unicodeEscape reads what follows the u of an escape, of which a rune beyond the basic
// plane has two.
func unicodeEscape(c byte, rest []byte) (r rune, left []byte, ok bool) {
	unit := func() rune {
		if c != 'u' || len(rest) < 4 {
			return -1
		}
		n, err := strconv.ParseUint(string(rest[:4]), 16, 32)
		if err != nil {
			return -1
		}
		rest = rest[4:]
		return rune(n)
	}
	r = unit()
	if utf16.IsSurrogate(r) && len(rest) > 2 && rest[0] == '\\' {
		c, rest = rest[1], rest[2:]
		r = utf16.DecodeRune(r, unit())
		ok = r != utf8.RuneError
		return r, rest, ok
	}
	return r, rest, r >= 0 && !utf16.IsSurrogate(r)
}

// quoteJSON writes text as a JSON string. The text is UTF-8, as the session's
// encoding is.
func quoteJSON(text []byte) []byte {
	out := make([]byte, 0, len(text)+2)
	out = append(out, '"')
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			out = append(out, '\\', c)
		case c < 0x20:
			out = append(out, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		default:
			out = append(out, c)
		}
	}
	return append(out, '"')
}

const hexDigits = "0123456789abcdef"
