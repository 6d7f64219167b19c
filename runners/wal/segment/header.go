package segment

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/skytools-go/skytools/sql"
)

// A Header is what the first page of a segment says. It says more than other pages so
// that a segment of another cluster can be told. Source: PostgreSQL's XLogLongPageHeader.
type Header struct {
	Major    int // version of the server that wrote it
	Timeline uint32
	Position sql.LSN
	System   uint64 // system identifier
	Size     Size
	Block    uint32 // size of a page
}

// HeaderSize is how many bytes of a segment [ParseHeader] needs.
const HeaderSize = 40

// longHeader marks the first page of a segment.
const longHeader = 0x0002

// majors are the page magics of the versions. Source: xlog_internal.h of each.
var majors = map[uint16]int{0xD10D: 14, 0xD110: 15, 0xD113: 16, 0xD116: 17, 0xD118: 18}

// Majors are the versions whose WAL is known, in order.
func Majors() []int { return slices.Sorted(maps.Values(majors)) }

// ParseHeader reads the beginning of a segment, in the byte order of whichever machine
// wrote it.
func ParseHeader(page []byte) (Header, error) {
	if len(page) < HeaderSize {
		return Header{}, fmt.Errorf("%d bytes are too few for a page header", len(page))
	}
	var order binary.ByteOrder = binary.LittleEndian
	major, ok := majors[order.Uint16(page)]
	if !ok {
		order = binary.BigEndian
		major, ok = majors[order.Uint16(page)]
	}
	switch {
	case !ok:
		return Header{}, fmt.Errorf("page magic %02X%02X belongs to no version from 14 to 18", page[1], page[0])
	case order.Uint16(page[2:])&longHeader == 0:
		return Header{}, fmt.Errorf("the page is not the first one of a segment")
	}
	return Header{
		Major: major, Timeline: order.Uint32(page[4:]), Position: sql.LSN(order.Uint64(page[8:])),
		System: order.Uint64(page[24:]), Size: Size(order.Uint32(page[32:])), Block: order.Uint32(page[36:]),
	}, nil
}

// A Cluster is what all segments of a cluster have in common.
type Cluster struct {
	System uint64
	Major  int
	Size   Size
}

// A HeaderError says that a file is not the segment that its name says.
type HeaderError struct {
	Name    Name
	Problem string
	Foreign bool // it belongs to another cluster
}

func (e *HeaderError) Error() string { return fmt.Sprintf("%s: %s", e.Name, e.Problem) }

// Hint is what a person can try.
func (e *HeaderError) Hint() string {
	if e.Foreign {
		return "a copy of the cluster, or an upgraded one, needs an archive of its own, or archive_mode = off"
	}
	return "the file is damaged, or was changed by hand"
}

// Check compares the beginning of a whole or partial segment with its name and with
// the cluster.
func (c Cluster) Check(n Name, page []byte) error {
	h, err := ParseHeader(page)
	if err != nil {
		return &HeaderError{Name: n, Problem: err.Error()}
	}
	for _, each := range []struct {
		wrong, foreign bool
		problem        string
	}{
		{h.System != c.System, true, fmt.Sprintf("it is of the cluster with system identifier %d, not %d", h.System, c.System)},
		{h.Major != c.Major, true, fmt.Sprintf("PostgreSQL %d wrote it, not %d", h.Major, c.Major)},
		{h.Size != c.Size, true, fmt.Sprintf("its segments have %d bytes, not %d", int64(h.Size), int64(c.Size))},
		{h.Position != c.Size.Start(n), false, fmt.Sprintf("it holds the WAL from %s on, not from %s", h.Position, c.Size.Start(n))},
		// The first segment of a timeline begins with a copy of what the parent wrote.
		{h.Timeline == 0 || h.Timeline > n.Timeline, false, fmt.Sprintf("it was written on timeline %d", h.Timeline)},
	} {
		if each.wrong {
			return &HeaderError{n, each.problem, each.foreign}
		}
	}
	return nil
}

// PageAt reports whether a page is the one at a position, and not what was in a file
// before it was used again.
func PageAt(page []byte, position sql.LSN) bool {
	if len(page) < 16 {
		return false
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		if _, ok := majors[order.Uint16(page)]; ok && sql.LSN(order.Uint64(page[8:])) == position {
			return true
		}
	}
	return false
}
