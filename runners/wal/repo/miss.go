package repo

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/skytools-go/skytools/runners/wal/segment"
	"github.com/skytools-go/skytools/sql"
)

// A Miss is WAL that a receiver came too late for: the server had removed it, and no store
// had it then; or that archive_command has left out, because too much waited. It makes a gap
// known before there is anything behind it. A gap it stays while a segment of it is
// missing; archive_command may still bring what a receiver has missed. Retention removes the
// record when nothing that is kept leads there.
//
// Source: design/wal.md, R13 and R22.
type Miss Loss

// Misses are those of a cluster.
type Misses []Miss

// Missed writes down in every store what did not come and is not going to. What was written first
// stays. It fails when a required store does not take it.
func (r *Repo) Missed(ctx context.Context, system uint64, g Gap, because string, now time.Time) error {
	if err := r.record(ctx, missPrefix(system), g, because, now); err != nil {
		return fmt.Errorf("write down that %s was missed: %w", g, err)
	}
	return nil
}

// Misses reads those that any store knows, as [Repo.Losses] does.
func (r *Repo) Misses(ctx context.Context, system uint64) (all Misses, err error) {
	found, err := r.stretches(ctx, missPrefix(system))
	if err != nil {
		return nil, fmt.Errorf("read what was missed: %w", err)
	}
	for _, m := range found {
		all = append(all, Miss(m))
	}
	return all, nil
}

// Span is the first and the last segment of it.
func (m Miss) Span() (first, last segment.Name) {
	first, _ = segment.Parse(m.First) // checked when it was read
	last, _ = segment.Parse(m.Last)
	return first, last
}

// Key is where it is in the stores.
func (m Miss) Key(system uint64) string { return Loss(m).key(missPrefix(system)) }

// Behind are the segments before a position that no store has, back to the last one that
// some store has. There are none when no store has any before it: the archive begins here.
func (r *Repo) Behind(ctx context.Context, system uint64, line segment.Lineage, at sql.LSN) (gaps []Gap, err error) {
	epoch, err := r.Epoch(ctx, system)
	if err != nil {
		return nil, err
	}
	size := epoch.Size
	begin := size.Start(size.At(line.Timeline, at))
	if begin == 0 {
		return nil, nil
	}
	if there, err := r.Has(ctx, system, size.Before(line.Of(begin-1), begin)); err != nil || there {
		return nil, err
	}
	last, any, err := r.lastBefore(ctx, system, size, line, begin)
	if err != nil || !any {
		return nil, err
	}
	for from := size.End(last); from < begin; from += sql.LSN(size) {
		n := size.At(line.Of(from+sql.LSN(size)-1), from)
		if i := len(gaps) - 1; i >= 0 && gaps[i].Last.Timeline == n.Timeline {
			gaps[i].Last, gaps[i].Count = n, gaps[i].Count+1
		} else {
			gaps = append(gaps, Gap{First: n, Last: n, Count: 1})
		}
	}
	return gaps, nil
}

// lastBefore is the last segment of a lineage before a position that some store has. A
// store that is not required may be silent.
func (r *Repo) lastBefore(ctx context.Context, system uint64, size segment.Size, line segment.Lineage, at sql.LSN) (last segment.Name, any bool, err error) {
	for _, s := range r.Stores {
		for f, err := range Files(ctx, s, system) {
			if err != nil && s.Required {
				return last, any, err
			}
			if err != nil {
				r.Log.Warn("a store that is not required does not say what WAL it has", "store", s.Name(), "error", err)
				break
			}
			n := f.Name
			if n.Kind == segment.Whole && size.End(n) <= at && line.Of(size.End(n)-1) == n.Timeline && (!any || size.End(n) > size.End(last)) {
				last, any = n, true
			}
		}
	}
	return last, any, nil
}

// dropped returns an error when a segment was left out of the archive.
func (r *Repo) dropped(ctx context.Context, system uint64, n segment.Name) error {
	all, err := r.Misses(ctx, system)
	if err != nil {
		return nil // it is asked again
	}
	for _, m := range all {
		if m.Dropped && m.First <= n.Base() && n.Base() <= m.Last {
			return fmt.Errorf("it was left out of the archive at %s: %s", m.At.UTC().Format(time.RFC3339), m.Because)
		}
	}
	return nil
}

// open are the stretches of it that are still missing.
func (m Miss) open(size segment.Size, there map[segment.Name]bool) (gaps []Gap) {
	first, err := segment.Parse(m.First)
	if err != nil {
		return nil
	}
	for n := first; n.Base() <= m.Last; n = size.Next(n) {
		if there[n] {
			continue
		}
		if i := len(gaps) - 1; i >= 0 && size.Next(gaps[i].Last) == n {
			gaps[i].Last, gaps[i].Count = n, gaps[i].Count+1
		} else {
			gaps = append(gaps, Gap{First: n, Last: n, Count: 1, Missed: m.At, Why: m.Because, Dropped: m.Dropped})
		}
	}
	return gaps
}

// add adds what is still missing to gaps, or says when it was missed of those that are
// there already.
func (all Misses) add(gaps []Gap, size segment.Size, files []segment.Name) []Gap {
	if len(all) == 0 {
		return gaps
	}
	there := map[segment.Name]bool{}
	for _, n := range files {
		there[n] = true
	}
	for _, m := range all {
		for _, open := range m.open(size, there) {
			if !leadsTo(size, files, open) {
				continue
			}
			i := slices.IndexFunc(gaps, func(g Gap) bool { return g.contains(open) })
			if i < 0 {
				gaps = append(gaps, open)
			} else if gaps[i].Missed.IsZero() {
				gaps[i].Missed, gaps[i].Why, gaps[i].Dropped = open.Missed, open.Why, open.Dropped
			}
		}
	}
	slices.SortFunc(gaps, func(a, b Gap) int { return strings.Compare(a.First.Base(), b.First.Base()) })
	return joined(gaps, size)
}

// joined puts gaps together that were left out one segment after another.
func joined(gaps []Gap, size segment.Size) (all []Gap) {
	for _, g := range gaps {
		if i := len(all) - 1; i >= 0 && g.Dropped && all[i].Dropped && size.Next(all[i].Last) == g.First {
			all[i].Last, all[i].Count = g.Last, all[i].Count+g.Count
			continue
		}
		all = append(all, g)
	}
	return all
}

// Open are the stretches of them that are still missing, with WAL before them.
func (all Misses) Open(size segment.Size, files []segment.Name) []Gap {
	return all.add(nil, size, files)
}

// After are those that are not before a position.
func (all Misses) After(size segment.Size, at sql.LSN) Misses {
	return slices.DeleteFunc(slices.Clone(all), func(m Miss) bool {
		last, err := segment.Parse(m.Last)
		return err != nil || size.End(last) <= at
	})
}

// leadsTo reports whether there is WAL before a gap. Where retention has removed all of
// it, the archive begins behind the gap.
func leadsTo(size segment.Size, files []segment.Name, g Gap) bool {
	return slices.ContainsFunc(files, func(n segment.Name) bool {
		return n.Kind == segment.Whole && n.Timeline <= g.First.Timeline && size.Start(n) < size.Start(g.First)
	})
}

func (g Gap) contains(other Gap) bool {
	return g.First.Timeline == other.First.Timeline && g.First.Base() <= other.First.Base() && other.Last.Base() <= g.Last.Base()
}

func missPrefix(system uint64) string { return fmt.Sprintf("e/%d/missed/", system) }
