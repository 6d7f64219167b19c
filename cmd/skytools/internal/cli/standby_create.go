package cli

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/runners/wal/standby"
	"github.com/skytools-go/skytools/spec"
)

func (a *app) standbyCreate(f *standbyFlags) *cobra.Command {
	var c standby.Creating
	var backup, rate string
	var spaces []string
	var noStart bool
	cmd := &cobra.Command{
		Use: "create STANDBY", Short: "Make a standby in its data directory on this host, and start it",
		Long: `Makes the standby's slot on the primary first, so that no WAL is lost. Then it restores a
backup of the archive or, with --copy or without an archive, copies the data from the
primary, writes what makes the server a standby, starts it and waits until it follows.

The data directory must be empty or not there. After an interrupt no server starts there,
and running it again completes it.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := f.one(cmd, args)
			if err != nil {
				return err
			}
			set, err := a.load(f.paths)
			if err != nil {
				return err
			}
			if set.Standbys.Get(s.Name).State == spec.Absent {
				return &codeError{code: exitApproval, message: fmt.Sprintf("standby %s is declared absent", s.Name), hint: "take state: absent out of the YAML first"}
			}
			if err := f.stored(cmd, s); err != nil {
				return err
			}
			if rate != "" {
				bytes, err := spec.ParseRate(rate)
				if err != nil {
					return usage("--rate: %v", err)
				}
				c.Rate = min(max(int(bytes>>10), 32), 1<<20) // what BASE_BACKUP accepts
			}
			if backup != "" {
				opened, err := f.whole(cmd.Context(), cmd, []string{set.Standbys.Get(s.Name).Archive}, true)
				if err != nil {
					return err
				}
				if c.Backup, err = opened.find(cmd.Context(), backup); err != nil {
					return err
				}
			}
			if err := moveSpaces(s, spaces); err != nil {
				return err
			}
			c.Copy, c.Start, c.Stage = c.Copy || s.Archive == nil, !noStart, a.stages
			return a.createStandby(cmd, s, c)
		},
	}
	cmd.ValidArgsFunction = a.standbyNames(f)
	f.onHost(cmd)
	fl := cmd.Flags()
	fl.BoolVar(&c.Copy, "copy", false, "copy the data from the primary, also where there is an archive")
	fl.StringVar(&backup, "backup", "", "restore this backup; default: the newest")
	fl.StringArrayVar(&spaces, "tablespace", nil, "OLD=NEW: where a tablespace goes, over what is declared; repeatable")
	fl.BoolVar(&noStart, "no-start", false, "do not start the server")
	fl.StringVar(&rate, "rate", "", "with --copy: most bytes a second that the primary sends, such as 50MB")
	fl.IntVar(&c.Workers, "jobs", 4, "packs of a backup at a time")
	return cmd
}

// moveSpaces reads OLD=NEW.
func moveSpaces(s *standby.Standby, spaces []string) error {
	moved := map[string]string{}
	for from, to := range s.Tablespaces {
		moved[from] = to
	}
	for _, text := range spaces {
		from, to, found := strings.Cut(text, "=")
		if !found || !filepath.IsAbs(to) {
			return usage("--tablespace %s: write OLD=NEW, where NEW is an absolute path", text)
		}
		moved[from] = to
	}
	s.Tablespaces = moved
	return nil
}

func (a *app) createStandby(cmd *cobra.Command, s *standby.Standby, c standby.Creating) error {
	bar := a.newBar("create")
	c.Progress = func(done, total int64) { bar.set(share(done, total)) }
	made, err := s.Create(cmd.Context(), c)
	bar.end()
	if err != nil {
		return err
	}
	if a.format == "json" {
		return a.encode(map[string]any{"standby": s.Name, "data_dir": s.Data, "backup": made.Backup, "written": made.Written, "follows": made.Follows})
	}
	from := "its primary"
	if made.Backup != "" {
		from = "backup " + string(made.Backup)
	}
	end := "Start the server, and it follows."
	if made.Follows {
		end = "It follows its primary."
	}
	fmt.Fprintf(a.Out, "%s is in %s, %s from %s. %s\n", s.Name, s.Data, megabytes(made.Written), from, end)
	return nil
}
