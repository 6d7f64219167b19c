package repo

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/skytools-go/skytools/runners/wal/segment"
	"github.com/skytools-go/skytools/runners/wal/store"
	"github.com/skytools-go/skytools/sql"
)

// stored checks the rest of an object without decoding it.
func stored(body io.Reader, h Header) error {
	all := &counting{to: io.Discard, hash: sha256.New()}
	if _, err := io.Copy(all, body); err != nil {
		return err
	}
	if all.n != h.Stored || sum(all.hash) != h.Body256 {
		return errors.New("what is stored has another digest than its header says")
	}
	return nil
}

// A File is a file of a cluster in a store.
type File struct {
	store.Info
	Name segment.Name
}

// Files yields the WAL files of a cluster in a store, by key: timeline after timeline,
// and their segments in order. What is not named as one is left out.
func Files(ctx context.Context, s store.Store, system uint64) iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		for info, err := range s.List(ctx, fmt.Sprintf("e/%d/wal/", system)) {
			if err != nil {
				yield(File{}, err)
				return
			}
			base := path.Base(info.Key)
			if digits, ok := strings.CutSuffix(base, ".partial"); ok { // SEGMENT.LSN-HASH
				digits, _, _ = strings.Cut(digits, ".")
				base = digits + ".partial"
			}
			if n, err := segment.Parse(base); err == nil && !yield(File{info, n}, nil) {
				return
			}
		}
	}
}

// A Gap is a stretch of segments of a timeline that are not there, between others.
type Gap struct {
	First, Last segment.Name
	Count       int64
	Missed      time.Time // when it was written down that it is: see [Miss]; zero: it was not
	Why         string    // then
	Dropped     bool      // archive_command has left it out
}

func (g Gap) String() string {
	text := g.First.String()
	if g.Count > 1 {
		text = fmt.Sprintf("%s to %s (%d segments)", g.First, g.Last, g.Count)
	}
	if known := g.Known(); known != "" {
		text += ", which " + known
	}
	return text
}

// Has reports whether a segment of that name is one of it.
func (g Gap) Has(name string) bool {
	return len(name) == 24 && name[:8] == g.First.Base()[:8] && g.First.Base() <= name && name <= g.Last.Base()
}

// Known says what was written down of a gap; nothing: nothing was.
func (g Gap) Known() string {
	switch at := g.Missed.UTC().Format(time.RFC3339); {
	case g.Missed.IsZero():
		return ""
	case g.Dropped:
		return "was left out at " + at + ": " + g.Why
	default:
		return "the server no longer had at " + at
	}
}

// Gaps are the segments that are missing between those that there are, timeline by
// timeline, and between the last of a timeline and the position where the next left it,
// as far as histories say; and those that receivers have missed. files are in any order.
func Gaps(size segment.Size, files []segment.Name, histories []segment.Lineage, missed Misses) (gaps []Gap) {
	timelines := map[uint32][]segment.Name{}
	for _, n := range files {
		if n.Kind == segment.Whole {
			timelines[n.Timeline] = append(timelines[n.Timeline], n)
		}
	}
	var order []uint32
	for timeline := range timelines {
		order = append(order, timeline)
	}
	slices.Sort(order)
	for _, timeline := range order {
		there := timelines[timeline]
		slices.SortFunc(there, func(a, b segment.Name) int { return strings.Compare(a.Base(), b.Base()) })
		for i := 1; i < len(there); i++ {
			gaps = appendGap(gaps, size, size.Next(there[i-1]), there[i])
		}
		if end, ok := left(timeline, histories); ok {
			// The segment in which it was left is complete on the timeline that left.
			gaps = appendGap(gaps, size, size.Next(there[len(there)-1]), size.At(timeline, end))
		}
	}
	return missed.add(gaps, size, files)
}

// left is the furthest position at which another timeline left this one.
func left(timeline uint32, histories []segment.Lineage) (end sql.LSN, ok bool) {
	for _, h := range histories {
		if n := len(h.Ancestors); n > 0 && h.Ancestors[n-1].Timeline == timeline {
			end, ok = max(end, h.Ancestors[n-1].Left), true
		}
	}
	return end, ok
}

// appendGap adds the segments from one up to another, which is not missing.
func appendGap(gaps []Gap, size segment.Size, from, to segment.Name) []Gap {
	if size.Start(from) >= size.Start(to) {
		return gaps
	}
	last := size.Before(to.Timeline, size.Start(to))
	return append(gaps, Gap{First: from, Last: last, Count: int64(size.Start(to)-size.Start(from)) / int64(size)})
}
