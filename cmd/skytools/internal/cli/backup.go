package cli

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/runners/wal/backup"
)

func (a *app) backup() *cobra.Command {
	var f archiveFlags
	var full bool
	var label string
	cmd := &cobra.Command{
		Use: "backup [ARCHIVE]", Short: "Take a backup of an archive's cluster, and look after backups: list, show, hold, expire",
		Long: `Takes a base backup over a replication connection and puts it into every store of the
archive. Only what has changed since the backup before is written, unless --full is given;
each backup is complete by itself all the same. It counts once its WAL has arrived.

The role needs REPLICATION, and execute on pg_switch_wal. When it is interrupted there is
no backup, and the next one goes on with what was written.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.needFormat("text", "json"); err != nil {
				return err
			}
			if len(args) > 1 {
				return usage("%s: %q is too much: %s", cmd.CommandPath(), args[1], cmd.UseLine())
			}
			o, err := f.whole(cmd.Context(), cmd, args, false)
			if err != nil {
				return err
			}
			options, err := o.options(cmd.Context())
			if err != nil {
				return err
			}
			options.Full, options.Label = full, label
			return a.takeBackup(cmd.Context(), o, options)
		},
	}
	f.add(a, cmd)
	cmd.Flags().BoolVar(&full, "full", false, "write everything again")
	cmd.Flags().StringVar(&label, "label", "", "a few words about it")
	for _, add := range []func(*app, *archiveFlags) *cobra.Command{(*app).backupList, (*app).backupShow, (*app).backupHold, (*app).backupExpire} {
		cmd.AddCommand(add(a, &f))
	}
	return cmd
}

func (a *app) takeBackup(ctx context.Context, o *opened, options backup.Options) error {
	bar := a.newBar("backup")
	options.Progress = func(done, total int64) { bar.set(share(done, total)) }
	m, err := backup.Take(ctx, o.shelf, options)
	bar.end()
	if err != nil {
		return err
	}
	if a.format == "json" {
		return a.encode(listed(m, nil))
	}
	if len(m.BadPages) > 0 {
		a.talk("pages are damaged on the server, and so they are in the backup: %s", strings.Join(m.BadPages, "; "))
	}
	fmt.Fprintf(a.Out, "%s: %s, of which %s new; %s stored in %s.\n", m.ID, megabytes(m.Bytes), megabytes(m.NewBytes), megabytes(m.Stored), m.Ended.Sub(m.Began))
	return nil
}

func share(done, total int64) float64 {
	if total == 0 {
		return 0
	}
	return float64(done) / float64(total)
}

// backupLine is a backup in a list.
type backupLine struct {
	ID       backup.ID     `json:"id"`
	Kind     string        `json:"kind"` // full, incremental or unfinished
	Timeline uint32        `json:"timeline,omitempty"`
	Start    string        `json:"start,omitempty"`
	Stop     string        `json:"stop,omitempty"`
	Began    time.Time     `json:"began"`
	Ended    time.Time     `json:"ended,omitzero"`
	Bytes    int64         `json:"bytes"`
	NewBytes int64         `json:"new_bytes"`
	Stored   int64         `json:"stored"` // what it has written
	Parent   backup.ID     `json:"parent,omitempty"`
	Label    string        `json:"label,omitempty"`
	Server   string        `json:"server,omitempty"`
	Files    int           `json:"files,omitempty"`
	Notes    []backup.Note `json:"notes,omitempty"`
	BadPages []string      `json:"bad_pages,omitempty"`
}

func listed(m *backup.Manifest, notes map[backup.Note]bool) backupLine {
	l := backupLine{
		ID: m.ID, Kind: "incremental", Timeline: m.Timeline, Start: m.Start.String(), Stop: m.Stop.String(), Began: m.Began, Ended: m.Ended,
		Bytes: m.Bytes, NewBytes: m.NewBytes, Stored: m.Stored, Parent: m.Parent, Label: m.Label, Server: m.Server, Files: len(m.Files), BadPages: m.BadPages,
	}
	if m.Full() {
		l.Kind = "full"
	}
	for _, n := range []backup.Note{backup.Hold, backup.Drill, backup.Tombstone} {
		if notes[n] {
			l.Notes = append(l.Notes, n)
		}
	}
	return l
}

func (a *app) backupList(f *archiveFlags) *cobra.Command {
	return &cobra.Command{
		Use: "list [ARCHIVE]", Short: "List the backups, the oldest first; reads only",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.needFormat("text", "json"); err != nil {
				return err
			}
			o, err := f.whole(cmd.Context(), cmd, args, false)
			if err != nil {
				return err
			}
			entries, err := o.shelf.List(cmd.Context())
			if err != nil {
				return err
			}
			all := []backupLine{}
			for _, e := range entries {
				if !e.Complete {
					all = append(all, backupLine{ID: e.ID, Kind: "unfinished", Began: e.ID.Time(), Stored: e.Stored})
					continue
				}
				m, err := o.shelf.Load(cmd.Context(), e.ID)
				if err != nil {
					return err
				}
				all = append(all, listed(m, e.Notes))
			}
			if a.format == "json" {
				return a.encode(all)
			}
			return a.printBackups(all)
		},
	}
}

func (a *app) printBackups(all []backupLine) error {
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "BACKUP\tKIND\tENDED\tSIZE\tSTORED\tNOTES")
	for _, l := range all {
		ended := ""
		if !l.Ended.IsZero() {
			ended = l.Ended.UTC().Format(time.DateTime)
		}
		notes := l.Label
		if len(l.BadPages) > 0 {
			notes = strings.TrimPrefix(notes+", bad pages", ", ")
		}
		for _, n := range l.Notes {
			if notes != "" {
				notes += ", "
			}
			notes += map[backup.Note]string{backup.Hold: "held", backup.Drill: "drilled", backup.Tombstone: "expired"}[n]
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", l.ID, l.Kind, ended, megabytes(l.Bytes), megabytes(l.Stored), notes)
	}
	return w.Flush()
}
