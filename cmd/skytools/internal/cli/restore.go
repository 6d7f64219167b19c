package cli

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/planner/render"
	"github.com/skytools-go/skytools/runners/wal/backup"
	"github.com/skytools-go/skytools/runners/wal/repo"
	"github.com/skytools-go/skytools/runners/wal/restore"
	"github.com/skytools-go/skytools/sql"
)

// targetFlags say to which point to recover.
type targetFlags struct {
	time, lsn, xid, name, backup string
	immediate, latest, exclusive bool
	timeline                     uint32
}

func (f *targetFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.time, "time", "", "recover to a time, such as 2026-11-28T12:00:00Z")
	fl.StringVar(&f.lsn, "lsn", "", "recover to a position in the WAL, such as 16/B374D848")
	fl.StringVar(&f.xid, "xid", "", "recover to a transaction")
	fl.StringVar(&f.name, "name", "", "recover to a restore point")
	fl.BoolVar(&f.immediate, "immediate", false, "recover to the end of the backup")
	fl.BoolVar(&f.latest, "latest", false, "recover to the end of the WAL; this is what happens without a target")
	fl.BoolVar(&f.exclusive, "exclusive", false, "stop before the target, not after it")
	fl.Uint32Var(&f.timeline, "timeline", 0, "recover along this timeline; default: the newest")
	fl.StringVar(&f.backup, "backup", "", "begin with this backup; default: the newest that leads to the target")
	cmd.MarkFlagsMutuallyExclusive("time", "lsn", "xid", "name", "immediate", "latest")
}

// target checks the flags.
func (f *targetFlags) target() (t restore.Target, err error) {
	t = restore.Target{XID: f.xid, Name: f.name, Immediate: f.immediate, Exclusive: f.exclusive, Timeline: f.timeline}
	if f.time != "" {
		if t.Time, err = parseMoment(f.time); err != nil {
			return t, usage("--time: %v", err)
		}
	}
	if f.lsn != "" {
		if t.LSN, err = sql.ParseLSN(f.lsn); err != nil {
			return t, usage("--lsn: %v", err)
		}
	}
	if f.xid != "" {
		if _, err := strconv.ParseUint(f.xid, 10, 64); err != nil {
			return t, usage("--xid: %q is no transaction", f.xid)
		}
	}
	if f.exclusive && f.lsn == "" && f.time == "" && f.xid == "" {
		return t, usage("--exclusive belongs to --time, --lsn and --xid")
	}
	return t, nil
}

// parseMoment wants a zone: a time that could mean several moments is worth nothing here.
func parseMoment(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999-07"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time with a zone; write it as 2026-11-28T12:00:00Z or 2026-11-28 13:00:00+01:00", text)
}

func (a *app) restore() *cobra.Command {
	var f archiveFlags
	var t targetFlags
	var o restore.Options
	var as string
	var spaces []string
	var preview bool
	cmd := &cobra.Command{
		Use: "restore [ARCHIVE] --to DIRECTORY", Short: "Restore a backup to a directory, to recover to any moment",
		Long: `Chooses the newest backup that leads to the target, writes it to a directory and sets the
server there up for the recovery, which happens when it is started:

  --as clone     a server on its own, which does not archive (default)
  --as standby   follows the primary of --conninfo and the archive
  --as primary   takes the place of the old one, and archives

--preview shows the backup with the pages that were damaged in it already, the timelines and
the WAL that it needs, and changes nothing.
Across WAL that was left out of the archive, or missed, nothing is restored: exit code 1.
With --delta the directory may hold an older state of the same cluster; only what differs
is fetched. After an interrupt no server starts there until the restore has been run again.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.needFormat("text", "json"); err != nil {
				return err
			}
			target, err := t.target()
			if err != nil {
				return err
			}
			if err := checkRestore(&o, as, spaces, preview); err != nil {
				return err
			}
			opened, err := f.whole(cmd.Context(), cmd, args, true)
			if err != nil {
				return err
			}
			if o.Command == "" {
				if o.Command, err = f.restoreCommand(opened.declared.Name); err != nil {
					return err
				}
			}
			var only backup.ID
			if t.backup != "" {
				if only, err = opened.find(cmd.Context(), t.backup); err != nil {
					return err
				}
			}
			p, err := restore.Look(cmd.Context(), opened.shelf, opened.Archive, target, only)
			if err != nil {
				return err
			}
			hole, err := opened.across(cmd.Context(), p)
			if err != nil {
				return err
			}
			if preview {
				return a.printPreview(p, hole)
			}
			if hole != nil {
				return opened.refused(p, hole)
			}
			if len(p.Missing) > 0 {
				a.talk("WAL is missing from the archive, and the recovery will end there: %s", strings.Join(p.Missing, ", "))
			}
			if len(p.Backup.BadPages) > 0 {
				a.talk("pages of the backup were damaged on the server already: %s", render.Clean(strings.Join(p.Backup.BadPages, "; ")))
			}
			bar := a.newBar("restore")
			o.Progress = func(done, total int64) { bar.set(share(done, total)) }
			result, err := restore.Restore(cmd.Context(), opened.shelf, p.Backup, p.Choice, o)
			bar.end()
			if err != nil {
				return err
			}
			return a.printRestored(p, result, o)
		},
	}
	f.add(a, cmd)
	t.add(cmd)
	fl := cmd.Flags()
	fl.StringVar(&o.To, "to", "", "the data directory")
	fl.StringVar(&as, "as", "clone", "what the server is going to be: clone, standby, primary")
	fl.StringArrayVar(&spaces, "tablespace", nil, "OLD=NEW: where a tablespace goes; repeatable")
	fl.BoolVar(&o.Delta, "delta", false, "write over an older state of the same cluster")
	fl.StringVar(&o.Command, "restore-command", "", "how the server fetches WAL; default: this program")
	fl.StringVar(&o.Conninfo, "conninfo", "", "of a standby: its primary")
	fl.StringVar(&o.Slot, "slot", "", "of a standby: its replication slot")
	fl.StringVar(&o.Action, "action", "promote", "what the server does at the target: promote, pause, shutdown")
	fl.StringVar(&o.Owner, "owner", "", "as root: whose the files are; default: who owns the directory")
	fl.IntVar(&o.Workers, "jobs", 4, "packs at a time")
	fl.BoolVar(&preview, "preview", false, "say what would be done, and do nothing")
	return cmd
}

// checkRestore requires flags that fit together.
func checkRestore(o *restore.Options, as string, spaces []string, preview bool) (err error) {
	if o.To == "" && !preview {
		return usage("restore: --to says where")
	}
	switch o.As = restore.As(as); o.As {
	case restore.Clone, restore.Standby, restore.Primary:
	default:
		return usage("restore: --as %s: clone, standby or primary", as)
	}
	if o.Action != "promote" && o.Action != "pause" && o.Action != "shutdown" {
		return usage("restore: --action %s: promote, pause or shutdown", o.Action)
	}
	if o.As != restore.Standby && (o.Conninfo != "" || o.Slot != "") {
		return usage("restore: --conninfo and --slot belong to --as standby")
	}
	o.Tablespaces = map[string]string{}
	for _, s := range spaces {
		from, to, found := strings.Cut(s, "=")
		if !found || !filepath.IsAbs(to) {
			return usage("restore: --tablespace %s: write OLD=NEW, where NEW is an absolute path", s)
		}
		o.Tablespaces[from] = to
	}
	if o.To != "" {
		o.To, err = filepath.Abs(o.To)
	}
	return err
}

// previewed is a preview for machines.
type previewed struct {
	Backup    backupLine `json:"backup"`
	Target    string     `json:"target"`
	Timelines []uint32   `json:"timelines"`
	Bytes     int64      `json:"bytes"`
	Segments  int        `json:"segments"`
	Missing   []string   `json:"missing,omitempty"`
	Refused   string     `json:"refused,omitempty"`
}

// printPreview shows what would be restored. hole: nothing would, because of it.
func (a *app) printPreview(p restore.Preview, hole *repo.Gap) error {
	out := previewed{Backup: listed(p.Backup, nil), Target: p.Choice.Target.String(), Bytes: p.Bytes, Segments: p.Segments, Missing: p.Missing}
	if hole != nil {
		out.Refused = "the archive does not have " + hole.String()
	}
	var path []string
	for _, f := range p.Choice.Path {
		out.Timelines = append(out.Timelines, f.Timeline)
		path = append(path, fmt.Sprint(f.Timeline))
	}
	if a.format == "json" {
		return a.encode(out)
	}
	fmt.Fprintf(a.Out, "target     %s\nbackup     %s, %s, ended %s\ntimelines  %s\nto write   %s\nWAL        %s\n", out.Target, p.Backup.ID, out.Backup.Kind,
		p.Backup.Ended.UTC().Format(time.DateTime), strings.Join(path, " "), megabytes(p.Bytes), counted(p.Segments, "segment"))
	for _, page := range p.Backup.BadPages {
		fmt.Fprintf(a.Out, "bad page   %s\n", render.Clean(page))
	}
	for _, m := range p.Missing {
		fmt.Fprintf(a.Out, "missing    %s\n", m)
	}
	if out.Refused != "" {
		fmt.Fprintf(a.Out, "refused    %s\n", render.Clean(out.Refused))
	}
	if len(p.Missing) > 0 || out.Refused != "" {
		return &codeError{code: exitDiffers}
	}
	return nil
}

func (a *app) printRestored(p restore.Preview, r restore.Result, o restore.Options) error {
	if a.format == "json" {
		return a.encode(map[string]any{"backup": p.Backup.ID, "to": o.To, "as": o.As, "written": r.Written, "kept": r.Kept, "removed": r.Removed})
	}
	kept := ""
	if o.Delta {
		kept = ", " + megabytes(r.Kept) + " were there"
	}
	fmt.Fprintf(a.Out, "%s is in %s: %s written%s. Start the server to recover to %s.\n", p.Backup.ID, o.To, megabytes(r.Written), kept, p.Choice.Target)
	return nil
}
