package replay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/skytools-go/skytools/sql"
)

// A Row is what a trigger has written about one row of a table, or about TRUNCATE.
type Row struct {
	Op     string // INSERT, UPDATE, DELETE or TRUNCATE
	Schema string
	Table  string
	Key    []string // columns of the primary key, where the event names them

	// Values are the columns as text, nil for NULL. Numbers and strings are as
	// PostgreSQL writes them; JSON events have true and false, others t and f. The
	// events of sqltriga have only what changed, and the key.
	Values map[string]*string
}

// ParseRow reads ev_type, ev_data and ev_extra1 as jsontriga, logutriga or sqltriga
// write them. Anything else is an error.
//
// Source: contract/pgq.md section 7.2.
func ParseRow(typ, data, extra1 []byte) (*Row, error) {
	e := Event{Type: typ, Data: data, Extra: [4][]byte{extra1}}
	if !e.IsData() {
		return nil, fmt.Errorf("its type %.60q is not one that a trigger writes", typ)
	}
	k, err := parseKind(typ)
	if err != nil {
		return nil, fmt.Errorf("its type %.60q: %w", typ, err)
	}
	r := &Row{Op: operations[k.op], Key: k.keys, Values: map[string]*string{}}
	table, err := tableOf(&e, k)
	if err != nil {
		return nil, fmt.Errorf("its type %.60q: %w", typ, err)
	}
	r.Schema, r.Table = table.Schema, table.Rel
	if k.op == opTruncate {
		return r, nil
	}
	switch {
	case len(data) == 0:
		err = errors.New("there is none")
	case k.format == formatURL:
		err = eachPair(data, func(name, value []byte) error { return r.add(name, value) })
	default:
		err = r.addFields(k, data)
	}
	if err != nil {
		return nil, fmt.Errorf("its data %.60q: %w", data, err)
	}
	return r, nil
}

var operations = map[byte]string{opInsert: "INSERT", opUpdate: "UPDATE", opDelete: "DELETE", opTruncate: "TRUNCATE"}

// tableOf is the captured table: jsontriga names it in the type, where ev_extra1 may
// name another one instead.
func tableOf(e *Event, k *kind) (sql.Name, error) {
	if k.format == formatJSON || e.Type[0] == '{' {
		var t struct{ Table []string }
		if err := json.Unmarshal(e.Type, &t); err != nil {
			return sql.Name{}, err
		}
		if len(t.Table) == 2 {
			return sql.Name{Schema: t.Table[0], Rel: t.Table[1]}, nil
		}
	}
	if len(e.Extra[0]) == 0 {
		return sql.Name{}, errors.New("neither it nor ev_extra1 names a table")
	}
	return sql.ParseName(string(e.Extra[0])), nil
}

func (r *Row) add(name, value []byte) error {
	if _, twice := r.Values[string(name)]; twice {
		return fmt.Errorf("column %q stands there twice", name)
	}
	if value == nil {
		r.Values[string(name)] = nil
		return nil
	}
	text := string(value)
	r.Values[string(name)] = &text
	return nil
}

// addFields reads the formats whose fields are JSON texts.
func (r *Row) addFields(k *kind, data []byte) error {
	if k.format == formatJSON && !json.Valid(data) {
		return errJSON
	}
	fields, keys, err := k.decode(data, nil)
	if err != nil {
		return err
	}
	r.Key = keys
	for _, f := range fields {
		name, _, err := textOf(f.name)
		if err != nil {
			return err
		}
		text, isSet, err := textOf(f.value)
		if err != nil {
			return err
		}
		value := []byte(text)
		if !isSet {
			value = nil
		} else if value == nil {
			value = []byte{}
		}
		if err := r.add([]byte(name), value); err != nil {
			return err
		}
	}
	return nil
}

// eachPair calls f with the names and values of col=val&col2=val2, decoded. A name
// without = is NULL: nil.
func eachPair(data []byte, f func(name, value []byte) error) error {
	for len(data) > 0 {
		var pair []byte
		if pair, data, _ = bytes.Cut(data, []byte("&")); len(pair) == 0 {
			continue
		}
		name, value, isSet := bytes.Cut(pair, []byte("="))
		name, err := unescapeURL(name)
		if err != nil {
			return err
		}
		if !isSet {
			value = nil
		} else if value, err = unescapeURL(value); err != nil {
			return fmt.Errorf("column %q: %w", name, err)
		}
		if err := f(name, value); err != nil {
			return err
		}
	}
	return nil
}

// IsInsert reports whether a data event is an INSERT.
func (e *Event) IsInsert() bool {
	k, err := parseKind(e.Type)
	return err == nil && k.op == opInsert
}
