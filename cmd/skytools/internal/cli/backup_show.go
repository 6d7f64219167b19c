package cli

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/planner/render"
	"github.com/skytools-go/skytools/runners/wal/backup"
	"github.com/skytools-go/skytools/runners/wal/drill"
	"github.com/skytools-go/skytools/runners/wal/retain"
)

func (a *app) backupShow(f *archiveFlags) *cobra.Command {
	return &cobra.Command{
		Use: "show ARCHIVE BACKUP", Short: "Show one backup; reads only",
		Long: "Shows one backup. BACKUP is its name, or as much of its beginning as no other has.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.needFormat("text", "json"); err != nil {
				return err
			}
			if err := exactArgs(cmd, args, "ARCHIVE", "BACKUP"); err != nil {
				return err
			}
			o, err := f.whole(cmd.Context(), cmd, args[:1], false)
			if err != nil {
				return err
			}
			id, err := o.find(cmd.Context(), args[1])
			if err != nil {
				return err
			}
			m, err := o.shelf.Load(cmd.Context(), id)
			if err != nil {
				return err
			}
			s := shown{backupLine: listed(m, nil), Tablespaces: m.Tablespaces}
			s.read(cmd, o, id)
			if a.format == "json" {
				return a.encode(s)
			}
			return a.printBackup(s)
		},
	}
}

// shown is a backup with its notes.
type shown struct {
	backupLine
	Tablespaces []backup.Tablespace `json:"tablespaces,omitempty"`
	Hold        *retain.HoldNote    `json:"hold,omitempty"`
	Drill       *drill.Result       `json:"drill,omitempty"`
	Tombstone   *retain.Mark        `json:"tombstone,omitempty"`
}

// read reads the notes that there are.
func (s *shown) read(cmd *cobra.Command, o *opened, id backup.ID) {
	var hold retain.HoldNote
	if o.shelf.Read(cmd.Context(), id, backup.Hold, &hold) == nil {
		s.Hold = &hold
	}
	var proof drill.Result
	if o.shelf.Read(cmd.Context(), id, backup.Drill, &proof) == nil {
		s.Drill = &proof
	}
	var mark retain.Mark
	if o.shelf.Read(cmd.Context(), id, backup.Tombstone, &mark) == nil {
		s.Tombstone = &mark
	}
}

func (a *app) printBackup(s shown) error {
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s\t"+format+"\n", append([]any{name}, args...)...)
	}
	row("backup", "%s", s.ID)
	row("kind", "%s", s.Kind)
	if s.Label != "" {
		row("label", "%s", render.Clean(s.Label))
	}
	row("server", "PostgreSQL %s", s.Server)
	row("took", "%s to %s", s.Began.UTC().Format(time.DateTime), s.Ended.UTC().Format(time.DateTime))
	row("WAL", "%s to %s on timeline %d", s.Start, s.Stop, s.Timeline)
	row("size", "%s in %s", megabytes(s.Bytes), counted(s.Files, "file"))
	row("new", "%s, stored as %s", megabytes(s.NewBytes), megabytes(s.Stored))
	for _, t := range s.Tablespaces {
		row("tablespace", "%s", render.Clean(t.Path))
	}
	for _, page := range s.BadPages {
		row("bad page", "%s", render.Clean(page))
	}
	if s.Hold != nil {
		row("held", "since %s: %s", s.Hold.At.UTC().Format(time.DateTime), render.Clean(s.Hold.Because))
	}
	switch {
	case s.Drill != nil && s.Drill.OK:
		row("proven", "%s", s.Drill.At.UTC().Format(time.DateTime))
		if s.Drill.Since != "" {
			row("since then", "the data has changed: %s", render.Clean(s.Drill.Since))
		}
	case s.Drill != nil:
		row("unproven", "%s: %s", s.Drill.At.UTC().Format(time.DateTime), render.Clean(s.Drill.Problem))
	}
	if s.Tombstone != nil {
		row("expired", "%s: %s", s.Tombstone.At.UTC().Format(time.DateTime), s.Tombstone.Why)
	}
	return w.Flush()
}
