package replay

import (
	"bytes"
	"fmt"
)

// decodeSQL reads the partial statements of sqltriga:
//
//	I  (a,b) values ('1',null)
//	U  a='x',b=NULL where k='1' and l='2'
//	D  k='1' and l='2'
//
// An update has only the columns that changed, and those of the key.
//
// Source: contract/pgq.md section 7.2.
func decodeSQL(op byte, data []byte, fields []field) (_ []field, keys []string, err error) {
	p := &sqlText{data: data}
	switch op {
	case opInsert:
		fields, err = p.insert(fields)
		return fields, nil, err
	case opUpdate:
		var set []field
		if set, err = p.assignments(nil, ","); err == nil {
			err = p.word("where")
		}
		if err == nil {
			fields, err = p.assignments(fields, "and")
		}
		keys = names(fields)
		for _, f := range set {
			if !hasField(fields[:len(keys)], f.name) {
				fields = append(fields, f)
			}
		}
	case opDelete:
		fields, err = p.assignments(fields, "and")
		keys = names(fields)
	}
	if err == nil {
		err = p.end()
	}
	return fields, keys, err
}

func names(fields []field) []string {
	list := make([]string, len(fields))
	for i, f := range fields {
		list[i], _, _ = textOf(f.name)
	}
	return list
}

func hasField(fields []field, name []byte) bool {
	for _, f := range fields {
		if bytes.Equal(f.name, name) {
			return true
		}
	}
	return false
}

// sqlText reads tokens from data, from at on.
type sqlText struct {
	data []byte
	at   int
}

func (p *sqlText) insert(fields []field) ([]field, error) {
	if err := p.mark('('); err != nil {
		return fields, err
	}
	for {
		name, err := p.ident()
		if err != nil {
			return fields, err
		}
		fields = append(fields, field{name: name})
		if p.mark(',') != nil {
			break
		}
	}
	if err := p.mark(')'); err != nil {
		return fields, err
	}
	if err := p.word("values"); err != nil {
		return fields, err
	}
	separator := byte('(')
	for i := range fields {
		if err := p.mark(separator); err != nil {
			return fields, err
		}
		value, err := p.value()
		if err != nil {
			return fields, err
		}
		fields[i].value = value
		separator = ','
	}
	if err := p.mark(')'); err != nil {
		return fields, err
	}
	return fields, p.end()
}

func (p *sqlText) assignments(fields []field, separator string) ([]field, error) {
	for {
		name, err := p.ident()
		if err != nil {
			return fields, err
		}
		if err := p.mark('='); err != nil {
			return fields, err
		}
		value, err := p.value()
		if err != nil {
			return fields, err
		}
		fields = append(fields, field{name, value})
		if p.word(separator) != nil {
			return fields, nil
		}
	}
}

func (p *sqlText) skip() { p.at = skipSpace(p.data, p.at) }

func (p *sqlText) end() error {
	if p.skip(); p.at < len(p.data) {
		return p.wrong("the end")
	}
	return nil
}

func (p *sqlText) wrong(want string) error {
	return fmt.Errorf("expected %s at byte %d of %.80q", want, p.at, p.data)
}

func (p *sqlText) mark(c byte) error {
	if p.skip(); p.at < len(p.data) && p.data[p.at] == c {
		p.at++
		return nil
	}
	return p.wrong(string(c))
}

func (p *sqlText) word(w string) error {
	p.skip()
	if end := p.at + len(w); end <= len(p.data) && bytes.EqualFold(p.data[p.at:end], []byte(w)) {
		p.at = end
		return nil
	}
	return p.wrong(w)
}

// ident returns a column's name as a JSON string.
func (p *sqlText) ident() ([]byte, error) {
	if p.skip(); p.at < len(p.data) && p.data[p.at] == '"' {
		text, err := p.quoted('"', false)
		return quoteJSON(text), err
	}
	start := p.at
	for p.at < len(p.data) && isIdent(p.data[p.at]) {
		p.at++
	}
	if start == p.at {
		return nil, p.wrong("a column")
	}
	return quoteJSON(p.data[start:p.at]), nil
}

func isIdent(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '$' || c >= 0x80
}

// value returns a literal as JSON: a string, or null.
func (p *sqlText) value() ([]byte, error) {
	p.skip()
	escapes := false
	if p.at+1 < len(p.data) && p.data[p.at] == 'E' && p.data[p.at+1] == '\'' {
		escapes = true
		p.at++
	}
	if p.at < len(p.data) && p.data[p.at] == '\'' {
		text, err := p.quoted('\'', escapes)
		return quoteJSON(text), err
	}
	if err := p.word("null"); err != nil {
		return nil, p.wrong("a value")
	}
	return null, nil
}

// quoted reads up to the closing quote; a doubled one stands for itself, and with
// escapes a backslash for what follows it.
func (p *sqlText) quoted(quote byte, escapes bool) ([]byte, error) {
	var out []byte
	for p.at++; p.at < len(p.data); p.at++ {
		c := p.data[p.at]
		switch {
		case escapes && c == '\\' && p.at+1 < len(p.data):
			p.at++
			if c = p.data[p.at]; c != '\\' && c != '\'' {
				return nil, p.wrong("a doubled backslash")
			}
		case c == quote && p.at+1 < len(p.data) && p.data[p.at+1] == quote:
			p.at++
		case c == quote:
			p.at++
			return out, nil
		}
		out = append(out, c)
	}
	return nil, p.wrong("a closing quote")
}
