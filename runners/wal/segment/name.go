// Package segment knows the names and the outside of PostgreSQL's WAL files: which
// files an archive may be asked to keep, which part of the WAL a segment is, what its
// first page says about it, and how timelines descend from each other.
//
// It does not know records, and does no I/O. Sizes are bytes; positions are [sql.LSN].
//
//	00000002000000A10000005F                   a segment: timeline, high and low part of its number
//	00000002000000A10000005F.partial           what a timeline had of its last segment
//	00000002000000A10000005F.00000028.backup   a backup began here, at this offset
//	00000002.history                           where timeline 2 comes from
//
// Source: PostgreSQL documentation, 27.3.1 Setting Up WAL Archiving, and 70 Internals;
// design/wal.md, R4 and R9.
package segment

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"github.com/skytools-go/skytools/sql"
)

// A Kind is what a file of the WAL is.
type Kind int

// The kinds of files that PostgreSQL archives.
const (
	Whole Kind = iota + 1
	Partial
	Backup
	History
)

func (k Kind) String() string {
	return map[Kind]string{Whole: "segment", Partial: "partial segment", Backup: "backup label", History: "history"}[k]
}

// A Name is the name of a WAL file. It is comparable.
type Name struct {
	Kind     Kind
	Timeline uint32
	Log, Seg uint32 // of all but a history
	Offset   uint32 // of a backup label
}

// Parse reads the name of a file, which must be exactly as PostgreSQL writes it. Any
// other file in pg_wal is none of an archive's business.
func Parse(file string) (Name, error) {
	base, suffix, _ := strings.Cut(file, ".")
	fields, ok := hex8(base)
	switch {
	case !ok:
	case len(fields) == 1 && suffix == "history":
		return Name{Kind: History, Timeline: fields[0]}.legal(file)
	case len(fields) == 3 && suffix == "" && !strings.Contains(file, "."):
		return Name{Kind: Whole, Timeline: fields[0], Log: fields[1], Seg: fields[2]}.legal(file)
	case len(fields) == 3 && suffix == "partial":
		return Name{Kind: Partial, Timeline: fields[0], Log: fields[1], Seg: fields[2]}.legal(file)
	case len(fields) == 3:
		digits, isLabel := strings.CutSuffix(suffix, ".backup")
		if offset, ok := hex8(digits); ok && isLabel && len(offset) == 1 {
			return Name{Kind: Backup, Timeline: fields[0], Log: fields[1], Seg: fields[2], Offset: offset[0]}.legal(file)
		}
	}
	return Name{}, fmt.Errorf("%q is not the name of a WAL file", file)
}

// legal refuses timeline 0, which there is not.
func (n Name) legal(file string) (Name, error) {
	if n.Timeline == 0 {
		return Name{}, fmt.Errorf("%q is not the name of a WAL file: timelines begin with 1", file)
	}
	return n, nil
}

// hex8 reads numbers of eight upper-case hexadecimal digits.
func hex8(s string) (numbers []uint32, ok bool) {
	if len(s) == 0 || len(s)%8 != 0 || strings.Trim(s, "0123456789ABCDEF") != "" {
		return nil, false
	}
	for ; s != ""; s = s[8:] {
		n, err := strconv.ParseUint(s[:8], 16, 32)
		if err != nil {
			return nil, false
		}
		numbers = append(numbers, uint32(n))
	}
	return numbers, true
}

// String is the name of the file.
func (n Name) String() string {
	switch n.Kind {
	case History:
		return fmt.Sprintf("%08X.history", n.Timeline)
	case Partial:
		return n.Base() + ".partial"
	case Backup:
		return fmt.Sprintf("%s.%08X.backup", n.Base(), n.Offset)
	}
	return n.Base()
}

// Base is the 24 digits of a segment, of which the file is, or to which it belongs.
func (n Name) Base() string { return fmt.Sprintf("%08X%08X%08X", n.Timeline, n.Log, n.Seg) }

// Of returns the name without what makes it another file than the whole segment.
func (n Name) Of() Name { return Name{Kind: Whole, Timeline: n.Timeline, Log: n.Log, Seg: n.Seg} }

// A Size is how large the segments of a cluster are: a power of two from 1 MB to 1 GB,
// chosen by initdb. Source: PostgreSQL documentation, initdb, --wal-segsize.
type Size int64

// Check returns an error for what cannot be the size of segments.
func (s Size) Check() error {
	if s < 1<<20 || s > 1<<30 || bits.OnesCount64(uint64(s)) != 1 {
		return fmt.Errorf("%d bytes cannot be the size of WAL segments, which is a power of two from 1 MB to 1 GB", int64(s))
	}
	return nil
}

// perLog is how many segments share the high part of their number.
func (s Size) perLog() uint64 { return (1 << 32) / uint64(s) }

// At is the segment of a timeline that holds the byte at a position.
func (s Size) At(timeline uint32, position sql.LSN) Name {
	return s.name(timeline, uint64(position)/uint64(s))
}

// Before is the segment of a timeline that holds the byte before a position: the last
// one that is needed of WAL up to there. Position 0 has none before it.
func (s Size) Before(timeline uint32, position sql.LSN) Name {
	return s.At(timeline, max(position, 1)-1)
}

func (s Size) name(timeline uint32, number uint64) Name {
	return Name{Kind: Whole, Timeline: timeline, Log: uint32(number / s.perLog()), Seg: uint32(number % s.perLog())}
}

func (s Size) number(n Name) uint64 { return uint64(n.Log)*s.perLog() + uint64(n.Seg) }

// Fits returns an error when segments of this size have no such name.
func (s Size) Fits(n Name) error {
	if n.Kind != History && uint64(n.Seg) >= s.perLog() {
		return fmt.Errorf("%s cannot be the name of a segment of %d bytes", n, int64(s))
	}
	return nil
}

// Start is the position of a segment's first byte.
func (s Size) Start(n Name) sql.LSN { return sql.LSN(s.number(n) * uint64(s)) }

// End is the position after a segment's last byte.
func (s Size) End(n Name) sql.LSN { return s.Start(n) + sql.LSN(s) }

// Next is the segment after n on the same timeline.
func (s Size) Next(n Name) Name { return s.name(n.Timeline, s.number(n)+1) }
