package cli

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/planner/render"
	"github.com/skytools-go/skytools/spec"
)

func (a *app) validate() *cobra.Command {
	return &cobra.Command{
		Use: "validate [PATH...]", Short: "Check the YAML; connects to nothing",
		RunE: func(_ *cobra.Command, paths []string) error {
			if err := a.needFormat("text", "json", "github"); err != nil {
				return err
			}
			if len(paths) == 0 {
				paths = []string{"."}
			}
			set, problems, err := spec.Load(paths...)
			if err != nil {
				return hinted{err, "name the directory or file that holds the YAML"}
			}
			switch a.format {
			case "json":
				if problems == nil {
					problems = spec.Problems{}
				}
				enc := json.NewEncoder(a.Out)
				enc.SetIndent("", "  ")
				if err := enc.Encode(problems); err != nil {
					return err
				}
			case "github":
				render.GithubProblems(a.Out, problems)
			default:
				if len(problems) > 0 {
					fmt.Fprintln(a.Out, problems.Error())
				} else if !a.quiet {
					fmt.Fprintf(a.Out, "%s is valid: %s.\n", rootOf(paths), inventory(set))
				}
			}
			if len(problems) > 0 {
				return &codeError{code: exitYAML}
			}
			return nil
		},
	}
}

// inventory counts what is declared.
func inventory(set *spec.Set) string {
	all := []string{counted(len(set.Files), "file"), counted(len(set.Databases), "database")}
	for _, kind := range []struct {
		n    int
		word string
	}{{len(set.Queues), "queue"}, {len(set.Archives), "archive"}, {len(set.Standbys), "standby"}} {
		if kind.n > 0 {
			all = append(all, counted(kind.n, kind.word))
		}
	}
	return strings.Join(all, ", ")
}
