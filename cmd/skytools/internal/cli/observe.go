package cli

import (
	"encoding/json"
	"io"
	"os"

	"github.com/spf13/cobra"
)

func (a *app) observe() *cobra.Command {
	var out string
	var parallel int
	cmd := &cobra.Command{
		Use: "observe [PATH...]", Short: "Save what plan would see, for plan --live; reads only",
		RunE: func(cmd *cobra.Command, paths []string) error {
			set, err := a.load(paths)
			if err != nil {
				return err
			}
			live, err := a.observeSet(cmd.Context(), set, "", parallel)
			if err != nil {
				return err
			}
			if err := writeJSON(a.Out, out, live); err != nil {
				return err
			}
			for name, d := range live.Databases {
				if d.Error != "" {
					a.talk("%s: %s", name, d.Error)
					return &codeError{code: exitIncomplete}
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "write to this file instead of stdout")
	cmd.Flags().IntVar(&parallel, "parallel", 8, "databases read at a time")
	return cmd
}

// writeJSON writes v to a file, or to out when the name is empty.
func writeJSON(out io.Writer, file string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if file == "" {
		_, err = out.Write(text)
		return err
	}
	return os.WriteFile(file, text, 0o600)
}
