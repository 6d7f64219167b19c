package replay

import "fmt"

// Row is the columns that a data event of one row has, as a JSON object; among them is
// the key. Of a TRUNCATE there is none: nil.
func (e *Event) Row() ([]byte, error) {
	k, err := parseKind(e.Type)
	if err != nil || k.op == opTruncate {
		return nil, err
	}
	fields, _, err := k.decode(e.Data, nil)
	if err != nil {
		return nil, fmt.Errorf("decode event %d: %w", e.ID, err)
	}
	return joinObject(fields), nil
}
