package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/runners/wal/archive"
	"github.com/skytools-go/skytools/runners/wal/drill"
	"github.com/skytools-go/skytools/runners/wal/retain"
	"github.com/skytools-go/skytools/runners/wal/schedule"
	"github.com/skytools-go/skytools/spec"
)

func (a *app) backupHold(f *archiveFlags) *cobra.Command {
	var because string
	var release bool
	cmd := &cobra.Command{
		Use: "hold ARCHIVE BACKUP", Short: "Keep a backup, and the WAL that makes it consistent, whatever the retention says",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := exactArgs(cmd, args, "ARCHIVE", "BACKUP"); err != nil {
				return err
			}
			if (because == "") != release {
				return usage("%s: say why with --because, or let it go with --release", cmd.CommandPath())
			}
			o, err := f.whole(cmd.Context(), cmd, args[:1], false)
			if err != nil {
				return err
			}
			id, err := o.find(cmd.Context(), args[1])
			if err != nil {
				return err
			}
			if err := retain.Keep(cmd.Context(), o.shelf, id, because, time.Now().UTC()); err != nil {
				return err
			}
			if release {
				fmt.Fprintf(a.Out, "%s is kept as long as the retention says.\n", id)
			} else {
				fmt.Fprintf(a.Out, "%s is held.\n", id)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&because, "because", "", "why")
	cmd.Flags().BoolVar(&release, "release", false, "let it go again")
	return cmd
}

func (a *app) backupExpire(f *archiveFlags) *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use: "expire [ARCHIVE]", Short: "Apply the declared retention now, or with --dry-run show what it would do",
		Long: `What the retention does not keep expires: it gets a tombstone, can still be restored,
and is no longer built upon. A week later it is removed, with the WAL that nothing needs.
Skytools run does the same after each backup.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.needFormat("text", "json"); err != nil {
				return err
			}
			o, err := f.whole(cmd.Context(), cmd, args, true)
			if missing := (*identityError)(nil); errors.As(err, &missing) {
				o, err = f.whole(cmd.Context(), cmd, args, false)
			}
			if err != nil {
				return err
			}
			policy := policyOf(o.declared)
			if policy == nil {
				return hinted{fmt.Errorf("archive %q has no retention, so everything is kept", o.declared.Name), "skytools explain archive.retention"}
			}
			r, err := retain.Run(cmd.Context(), o.shelf, o.Archive, *policy, time.Now().UTC(), dry)
			if err != nil {
				return err
			}
			if a.format == "json" {
				return a.encode(r)
			}
			return a.printRetention(r, dry)
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "change nothing")
	return cmd
}

func (a *app) printRetention(r retain.Report, dry bool) error {
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	for _, v := range r.Verdicts {
		verdict := "expires"
		if len(v.Keep) > 0 {
			verdict = "kept: " + strings.Join(v.Keep, ", ")
		}
		fmt.Fprintf(w, "%s\t%s\n", v.Backup.ID, verdict)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, v := range r.Vetoed {
		fmt.Fprintf(a.Out, "%s stays: pre_expire: %s\n", v.ID, v.Why)
	}
	done := "Done"
	if dry {
		done = "Would be done"
	}
	if r.Missed > 0 {
		fmt.Fprintf(a.Out, "No restore comes to WAL that %s of missing WAL name: they go.\n", counted(r.Missed, "record"))
	}
	fmt.Fprintf(a.Out, "%s: %d expired, %d removed; %s and %s of WAL removed, %s.\n", done, len(r.Expired), len(r.Swept),
		counted(r.Packs, "pack"), counted(r.Segments, "file"), megabytes(r.Bytes))
	return nil
}

// keepBackups takes the backups of an archive that are due, and applies its retention.
func keepBackups(ctx context.Context, set *spec.Set, a *spec.Archive, stats *schedule.Stats, log hclog.Logger) error {
	o, err := keptArchive(ctx, set, a, a.Retention.Any(), log)
	if missing := (*identityError)(nil); errors.As(err, &missing) {
		o, err = keptArchive(ctx, set, a, false, log)
	}
	if err != nil {
		return err
	}
	return schedule.New(schedule.Config{
		Archive: o.Archive, Options: o.options, Full: scheduleOf(a.Backup.Full), Incremental: scheduleOf(a.Backup.Incremental), Policy: policyOf(a), Log: log, Stats: stats,
	}).Run(ctx)
}

// proveBackups runs the loop that drills an archive's backups.
func proveBackups(ctx context.Context, set *spec.Set, a *spec.Archive, paths []string, stats *schedule.ProveStats, log hclog.Logger) error {
	o, err := keptArchive(ctx, set, a, true, log)
	if err != nil {
		return err
	}
	f := archiveFlags{archived: archived{paths: paths}}
	return schedule.NewProver(schedule.ProveConfig{
		Archive: o.Archive, At: scheduleOf(a.Drill.Schedule), Options: func(context.Context) (drill.Options, error) { return f.drillOf(a) }, Log: log, Stats: stats,
	}).Run(ctx)
}

// scrubStores runs the loop that reads everything an archive has.
func scrubStores(ctx context.Context, set *spec.Set, a *spec.Archive, stats *schedule.ScrubStats, log hclog.Logger) error {
	o, err := keptArchive(ctx, set, a, false, log)
	if err != nil {
		return err
	}
	return schedule.NewScrubber(schedule.ScrubConfig{
		Archive: o.Archive, At: scheduleOf(a.Verify.Schedule), Policy: policyOf(a), Repair: a.Verify.Repair, Log: log, Stats: stats,
	}).Run(ctx)
}

// catchUp runs the loop that brings an archive's stores that are not required up to date.
func catchUp(ctx context.Context, set *spec.Set, a *spec.Archive, stats *schedule.CatchUpStats, log hclog.Logger) error {
	o, err := keptArchive(ctx, set, a, false, log)
	if err != nil {
		return err
	}
	return schedule.NewCatchUp(schedule.CatchUpConfig{Archive: o.Archive, Log: log, Stats: stats}).Run(ctx)
}

// keptArchive opens an archive for a loop. reads: an identity is wanted.
func keptArchive(ctx context.Context, set *spec.Set, a *spec.Archive, reads bool, log hclog.Logger) (*opened, error) {
	r, err := repoOf(ctx, a, reads, log)
	if err != nil {
		return nil, err
	}
	epoch, err := systemOf(ctx, r, 0)
	if err != nil {
		return nil, err
	}
	return &opened{Archive: &archive.Archive{Repo: r, System: epoch.System, Size: epoch.Size}, declared: a, set: set, log: log}, nil
}

func scheduleOf(s spec.Schedule) schedule.At {
	return schedule.At{Set: s.Set, Weekly: s.Weekly, Day: s.Day, Hour: s.Hour, Minute: s.Minute}
}
