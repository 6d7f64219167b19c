package segment

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/skytools-go/skytools/sql"
)

// A Lineage is how a timeline came to be, from its history file: its ancestors, oldest
// first, each with the position at which the next one left it.
type Lineage struct {
	Timeline  uint32
	Ancestors []Ancestor
}

// An Ancestor is a timeline that another one left at a position.
type Ancestor struct {
	Timeline uint32
	Left     sql.LSN
	Reason   string // for people
}

// ParseHistory reads the history file of a timeline. Each line has a timeline, the
// position at which it was left and a reason; empty lines and those that begin with #
// count for nothing. Source: PostgreSQL's timeline.c.
func ParseHistory(timeline uint32, text []byte) (Lineage, error) {
	l := Lineage{Timeline: timeline}
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		a, err := parseAncestor(line)
		if err == nil {
			err = l.follows(a)
		}
		if err != nil {
			return Lineage{}, fmt.Errorf("history of timeline %d, line %d: %w", timeline, i+1, err)
		}
		l.Ancestors = append(l.Ancestors, a)
	}
	return l, nil
}

func parseAncestor(line string) (Ancestor, error) {
	fields := strings.SplitN(strings.ReplaceAll(line, "\t", " "), " ", 2)
	n, err := strconv.ParseUint(fields[0], 10, 32)
	if err != nil || n == 0 {
		return Ancestor{}, fmt.Errorf("%q is no timeline", fields[0])
	}
	if len(fields) < 2 {
		return Ancestor{}, fmt.Errorf("the position is missing")
	}
	position, reason, _ := strings.Cut(strings.TrimSpace(fields[1]), " ")
	left, err := sql.ParseLSN(position)
	return Ancestor{uint32(n), left, strings.TrimSpace(reason)}, err
}

// follows checks that a line can come after those before it.
func (l Lineage) follows(a Ancestor) error {
	if a.Timeline >= l.Timeline {
		return fmt.Errorf("timeline %d is not older than %d", a.Timeline, l.Timeline)
	}
	if n := len(l.Ancestors); n > 0 && l.Ancestors[n-1].Timeline >= a.Timeline {
		return fmt.Errorf("timeline %d does not come after %d", a.Timeline, l.Ancestors[n-1].Timeline)
	}
	return nil
}

// Of is the timeline on which the byte at a position was written, as seen from here.
func (l Lineage) Of(position sql.LSN) uint32 {
	for _, a := range l.Ancestors {
		if position < a.Left {
			return a.Timeline
		}
	}
	return l.Timeline
}

// Has reports whether the WAL of a timeline up to a position belongs to this history.
func (l Lineage) Has(timeline uint32, position sql.LSN) bool {
	for _, a := range l.Ancestors {
		if a.Timeline == timeline {
			return position <= a.Left
		}
	}
	return timeline == l.Timeline
}
