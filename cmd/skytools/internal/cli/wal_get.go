package cli

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/runners/wal"
	"github.com/skytools-go/skytools/runners/wal/fetch"
	"github.com/skytools-go/skytools/runners/wal/serve"
)

func (r *archived) get() *cobra.Command {
	var tries time.Duration
	cmd := &cobra.Command{
		Use: "get ARCHIVE FILE PATH", Short: "Bring a WAL file back, as restore_command does",
		Long: `Exit code 0 says that the file is at PATH and whole. 1 says that every store has
answered that there is no such file. When that cannot be told, because a store does not
answer, an object is damaged or a setting is wrong, the code is 200, which stops
PostgreSQL instead of ending its recovery too early; on a standby it is 1, as a standby
asks again.`,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return unknown(r.app.fromEnvironment(cmd)) },
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			defer func() {
				if p := recover(); p != nil { // a panic would exit with 2
					err = coded{fmt.Errorf("get: %v", p), serve.Unknown}
				}
			}()
			if err = r.doGet(cmd, args, tries); err == nil {
				return nil
			}
			return coded{err, getCode(err, args)}
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return unknown(flagError(cmd, err)) })
	cmd.Flags().DurationVar(&tries, "within", 30*time.Second, "how long to try while a store does not answer")
	return cmd
}

// getCode is that of package serve, but for mistakes that are found before anything is
// asked for: a standby must not be stopped by them.
func getCode(err error, args []string) int {
	code := serve.GetCode(err)
	base, pwd := os.Getwd()
	if code != serve.Unknown || pwd != nil || len(args) != 3 {
		return code
	}
	if dir, _, err := wal.DirOf(base, args[2]); err == nil && dir.Standby() {
		return exitError
	}
	return code
}

// unknown keeps PostgreSQL from taking a mistake for the end of the archive.
func unknown(err error) error {
	if err == nil {
		return nil
	}
	return coded{err, serve.Unknown}
}

func (r *archived) doGet(cmd *cobra.Command, args []string, tries time.Duration) error {
	if err := exactArgs(cmd, args, "ARCHIVE", "FILE", "PATH"); err != nil {
		return err
	}
	base, err := os.Getwd()
	if err != nil {
		return err
	}
	opened, _, err := r.open(cmd.Context(), args[0], true)
	if err != nil {
		return err
	}
	g := fetch.New(fetch.Config{Repo: opened, Tries: tries, Log: r.app.logger()})
	return g.Get(cmd.Context(), cmd.Context(), base, args[1], args[2])
}
