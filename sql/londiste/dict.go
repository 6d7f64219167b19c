package londiste

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// Dict is the dictionary in which Londiste and PgQ keep settings: table_attrs,
// node_attrs, attributes of a script. A nil value is SQL's NULL, which is not the
// empty string. Its text is never compared: the order of keys and the case of
// hex digits differ between writers.
//
// Source: contract/londiste.md section 0.4.
type Dict map[string]*string

// ParseDict decodes a dictionary. Of a key written twice the last value stays.
// A percent sign that starts no hex number is an error.
func ParseDict(text string) (Dict, error) {
	d := Dict{}
	for pair := range strings.SplitSeq(text, "&") {
		if pair == "" {
			continue
		}
		rawKey, rawValue, hasValue := strings.Cut(pair, "=")
		key, err := url.QueryUnescape(rawKey)
		if err != nil {
			return nil, fmt.Errorf("parse dictionary: key %q: %w", rawKey, err)
		}
		if !hasValue {
			d[key] = nil
			continue
		}
		value, err := url.QueryUnescape(rawValue)
		if err != nil {
			return nil, fmt.Errorf("parse dictionary: value of %q: %w", key, err)
		}
		d[key] = &value
	}
	return d, nil
}

// String encodes the dictionary, keys in order. It is empty for an empty one.
func (d Dict) String() string {
	pairs := make([]string, 0, len(d))
	for _, key := range slices.Sorted(maps.Keys(d)) {
		pair := url.QueryEscape(key)
		if value := d[key]; value != nil {
			pair += "=" + url.QueryEscape(*value)
		}
		pairs = append(pairs, pair)
	}
	return strings.Join(pairs, "&")
}

// Get is the value of key, or "" when it is missing or NULL.
func (d Dict) Get(key string) string {
	if value := d[key]; value != nil {
		return *value
	}
	return ""
}

// Set stores a value that is not NULL.
func (d Dict) Set(key, value string) { d[key] = &value }

// UnmarshalJSON reads a dictionary from its text, as the catalog has it, or from an
// object. Null is empty.
func (d *Dict) UnmarshalJSON(raw []byte) error {
	var text *string
	if err := json.Unmarshal(raw, &text); err == nil {
		*d = Dict{}
		if text == nil {
			return nil
		}
		*d, err = ParseDict(*text)
		return err
	}
	var m map[string]*string
	err := json.Unmarshal(raw, &m)
	*d = m
	return err
}
