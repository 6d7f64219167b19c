package restore

import (
	"context"

	"github.com/skytools-go/skytools/runners/wal/backup"
	"github.com/skytools-go/skytools/sql"
)

// A WAL is the WAL of an archive, as far as a restore depends on it.
type WAL interface {
	// Timelines reads the history files.
	Timelines(ctx context.Context) (Timelines, error)

	// Missing names the segments of a timeline that the archive lacks between two
	// positions; to 0 is the newest segment that it has of the timeline. found is how many
	// it has.
	Missing(ctx context.Context, timeline uint32, from, to sql.LSN) (missing []string, found int, err error)
}

// A Preview is what a restore would do.
type Preview struct {
	Choice   Choice
	Backup   *backup.Manifest
	Bytes    int64    // to write into an empty directory
	Segments int      // of WAL that the archive has for it
	Missing  []string // segments of WAL that it needs and the archive lacks
}

// Look chooses a backup and says what restoring it means, without touching anything.
func Look(ctx context.Context, shelf *backup.Shelf, wal WAL, target Target, only backup.ID) (Preview, error) {
	entries, err := shelf.List(ctx)
	if err != nil {
		return Preview{}, err
	}
	var all []backup.ID
	for _, e := range entries {
		if e.Complete && (!e.Notes[backup.Tombstone] || e.ID == only) {
			all = append(all, e.ID)
		}
	}
	timelines, err := wal.Timelines(ctx)
	if err != nil {
		return Preview{}, err
	}
	load := func(id backup.ID) (*backup.Manifest, error) { return shelf.Load(ctx, id) }
	choice, m, err := Choose(all, load, timelines, target, only)
	if err != nil {
		return Preview{}, err
	}
	p := Preview{Choice: choice, Backup: m, Bytes: m.Bytes}
	return p, p.wal(ctx, wal)
}

// wal looks for the segments on the way from the backup to the target.
func (p *Preview) wal(ctx context.Context, wal WAL) error {
	from := p.Backup.Start
	segment := sql.LSN(p.Backup.SegmentSize)
	for i, f := range p.Choice.Path {
		to := f.At - f.At%segment // the segment in which it was left the server takes from the next timeline
		if i == len(p.Choice.Path)-1 {
			to = p.Choice.Target.LSN
			if p.Choice.Target.Immediate {
				to = p.Backup.Stop
			}
		}
		if i < len(p.Choice.Path)-1 && from >= to {
			from = f.At
			continue
		}
		missing, found, err := wal.Missing(ctx, f.Timeline, from, to)
		if err != nil {
			return err
		}
		p.Missing, p.Segments = append(p.Missing, missing...), p.Segments+found
		from = f.At
	}
	return nil
}
