package push

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/skytools-go/skytools/runners/wal"
	"github.com/skytools-go/skytools/runners/wal/repo"
	"github.com/skytools-go/skytools/runners/wal/segment"
	"github.com/skytools-go/skytools/sql"
)

// Backfill archives what is complete in pg_wal and not in the repository, and returns
// it. PostgreSQL does not: after a promotion it archives nothing that the server before
// had been streaming to it, whether that had archived it or not.
//
// A segment is complete when the next one has begun, or when the timeline was left after
// its end. What a timeline wrote after it had been left does not belong to the history
// of this server, and stays out. Source: design/wal.md, R12.
func Backfill(ctx context.Context, r *repo.Repo, dir wal.DataDir) (sent []segment.Name, err error) {
	return fill(ctx, r, dir, func(segment.Name) bool { return false })
}

// fill is [Backfill], except of files that are others' to send.
func fill(ctx context.Context, r *repo.Repo, dir wal.DataDir, others func(segment.Name) bool) (sent []segment.Name, err error) {
	d, err := survey(ctx, r, dir)
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", dir, err)
	}
	for _, n := range d.files {
		if !d.archivable(n) || others(n) {
			continue
		}
		there, err := r.Has(ctx, d.epoch.System, n)
		if err != nil {
			return sent, err
		}
		if there {
			continue
		}
		if err := One(ctx, r, dir, d.epoch.System, n); err != nil {
			return sent, err
		}
		sent = append(sent, n)
	}
	return sent, nil
}

// ErrRunning says that a server runs in the data directory.
var ErrRunning = errors.New("a server runs in the data directory")

// Rescue archives all that a dead server has: what Backfill would, and what there is of
// its last segment. Source: design/wal.md, 1.4.
func Rescue(ctx context.Context, r *repo.Repo, dir wal.DataDir) (sent []segment.Name, upTo sql.LSN, err error) {
	running, err := dir.Running()
	if err == nil && running {
		err = ErrRunning
	}
	if err != nil {
		return nil, 0, fmt.Errorf("rescue the WAL of %s: %w", dir, err)
	}
	if sent, err = Backfill(ctx, r, dir); err != nil {
		return sent, 0, err
	}
	d, err := survey(ctx, r, dir)
	if err != nil {
		return sent, 0, err
	}
	tip, ok := d.tip()
	if !ok {
		return sent, 0, nil
	}
	content, upTo, err := d.begun(tip)
	if err != nil {
		return sent, 0, err
	}
	_, err = r.PutPartial(ctx, d.epoch.System, tip, upTo, bytes.NewReader(content))
	return append(sent, tip), upTo, err
}

// A surveyed data directory knows which of its files have been written, and not only
// been kept for later use under a future name.
type surveyed struct {
	dir     wal.DataDir
	epoch   repo.Epoch
	lineage segment.Lineage
	files   []segment.Name
	begunAt map[segment.Name]bool
}

func survey(ctx context.Context, r *repo.Repo, dir wal.DataDir) (*surveyed, error) {
	system, err := dir.System()
	if err != nil {
		return nil, err
	}
	d := &surveyed{dir: dir, begunAt: map[segment.Name]bool{}}
	if d.epoch, err = r.Epoch(ctx, system); err != nil {
		return nil, err
	}
	if d.files, err = dir.Files(); err != nil {
		return nil, err
	}
	newest := uint32(1)
	for _, n := range d.files {
		begun := false
		if n.Kind == segment.Whole {
			if begun, err = d.hasBegun(n); err != nil {
				return nil, err
			}
			d.begunAt[n] = begun
		}
		if begun || n.Kind == segment.History {
			newest = max(newest, n.Timeline)
		}
	}
	d.lineage = segment.Lineage{Timeline: newest}
	if newest > 1 {
		text, err := os.ReadFile(dir.Path(segment.Name{Kind: segment.History, Timeline: newest}))
		if err != nil {
			return nil, err
		}
		if d.lineage, err = segment.ParseHistory(newest, text); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// hasBegun reports whether a segment's first page is its own.
func (d *surveyed) hasBegun(n segment.Name) (bool, error) {
	f, err := os.Open(d.dir.Path(n))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil // recycled meanwhile
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	page := make([]byte, segment.HeaderSize)
	if _, err := io.ReadFull(f, page); err != nil {
		return false, nil
	}
	return d.epoch.Cluster().Check(n, page) == nil, nil
}

// archivable reports whether a file is complete and belongs to the server's history.
func (d *surveyed) archivable(n segment.Name) bool {
	switch n.Kind {
	case segment.History, segment.Backup, segment.Partial:
		return d.lineage.Has(n.Timeline, 0)
	}
	size := d.epoch.Size
	if !d.begunAt[n] || !d.lineage.Has(n.Timeline, size.End(n)) {
		return false
	}
	return n.Timeline != d.lineage.Timeline || d.begunAt[size.Next(n)]
}

// tip is the last segment that has begun on the newest timeline.
func (d *surveyed) tip() (tip segment.Name, ok bool) {
	for _, n := range d.files {
		if n.Timeline == d.lineage.Timeline && d.begunAt[n] && !d.begunAt[d.epoch.Size.Next(n)] {
			tip, ok = n, true
		}
	}
	return tip, ok
}

// pageSize is that of every server which was not built with another one.
const pageSize = 8192

// begun reads a segment up to the last page that is its own, and fills it with zeros.
func (d *surveyed) begun(n segment.Name) (content []byte, upTo sql.LSN, err error) {
	if content, err = os.ReadFile(d.dir.Path(n)); err != nil {
		return nil, 0, err
	}
	start, end := d.epoch.Size.Start(n), len(content)
	for at := 0; at+pageSize <= len(content); at += pageSize {
		if !segment.PageAt(content[at:], start+sql.LSN(at)) {
			end = at
			break
		}
	}
	clear(content[end:])
	return content, start + sql.LSN(end), nil
}
