package sql

import (
	"fmt"
	"strconv"
	"strings"
)

// An LSN is a byte position in the write-ahead log, as PostgreSQL's type pg_lsn.
// Positions of different timelines compare by number and nothing else: whether one
// comes after the other is a question for the timelines' history.
type LSN uint64

// ParseLSN reads what pg_lsn prints: two hexadecimal numbers of up to 8 digits.
func ParseLSN(s string) (LSN, error) {
	high, low, found := strings.Cut(s, "/")
	if !found || len(high) == 0 || len(high) > 8 || len(low) == 0 || len(low) > 8 {
		return 0, fmt.Errorf("%q is no position in the WAL: it looks like 16/B374D848", s)
	}
	h, err := strconv.ParseUint(high, 16, 32)
	l, err2 := strconv.ParseUint(low, 16, 32)
	if err != nil || err2 != nil {
		return 0, fmt.Errorf("%q is no position in the WAL: it looks like 16/B374D848", s)
	}
	return LSN(h<<32 | l), nil
}

func (l LSN) String() string { return fmt.Sprintf("%X/%X", uint32(l>>32), uint32(l)) }

// MarshalText and UnmarshalText write and read the same text, for JSON.
func (l LSN) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads what [ParseLSN] reads.
func (l *LSN) UnmarshalText(text []byte) (err error) {
	*l, err = ParseLSN(string(text))
	return err
}
