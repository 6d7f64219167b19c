package cli

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/spec"
)

func (a *app) adopt() *cobra.Command {
	var all, split bool
	var dir, from, rules string
	var paths []string
	cmd := &cobra.Command{
		Use: "adopt ADDRESS... | --all", Short: "Write the YAML of what exists and is not declared; reads only",
		Long: `Writes YAML for objects that exist in the declared databases and that the YAML does
not mention. Put it beside the rest: plan then shows them as adopted, and apply
records them as managed without changing them.`,
		RunE: func(cmd *cobra.Command, globs []string) error {
			if len(globs) == 0 && !all {
				return usage("adopt: name an ADDRESS (globs are fine), or use --all")
			}
			if split && dir == "" {
				return usage("adopt: --split writes files: say where with --out DIR")
			}
			set, err := a.load(paths)
			if err != nil {
				return err
			}
			live, err := a.observeSet(cmd.Context(), set, from, 0)
			if err != nil {
				return err
			}
			o := a.planOptions(paths)
			if o.Masks, err = masksIn(rules); err != nil {
				return err
			}
			if split {
				return a.adoptQueues(set, live, o, globs, dir)
			}
			text, n, err := planner.AdoptYAML(set, live, o, globs)
			if err != nil {
				return err
			}
			if n == 0 {
				a.talk("Nothing to adopt: everything that exists and matches is declared.")
				return nil
			}
			if dir == "" {
				fmt.Fprint(a.Out, text)
			} else {
				file := filepath.Join(dir, "adopted.yaml")
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					return err
				}
				a.talk("Wrote %s.", file)
			}
			a.talk("%d objects. Put this beside your YAML, then: skytools plan", n)
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVar(&all, "all", false, "everything that is not declared")
	f.StringVar(&dir, "out", "", "write adopted.yaml into this directory instead of stdout")
	f.BoolVar(&split, "split", false, "with --out: a file for each queue")
	f.StringVar(&rules, "obfuscator-map", "", "the file in which Londiste's handler obfuscate has its rules: its tables get a mask")
	f.StringVar(&from, "live", "", "adopt from this observation instead of live databases")
	f.StringArrayVarP(&paths, "spec", "s", nil, "where the YAML is; default: the working directory")
	return cmd
}

// masksIn reads the rules of the original's handler obfuscate.
func masksIn(file string) (map[string]spec.Mask, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the rules of the handler obfuscate: %w", err)
	}
	masks, problems := spec.ParseMasks(spec.Source{Name: file, Text: text})
	if len(problems) > 0 {
		return nil, problems
	}
	return masks, nil
}

// adoptQueues writes a file for each queue into dir, and overwrites none.
func (a *app) adoptQueues(set *spec.Set, live *planner.Live, o planner.Options, globs []string, dir string) error {
	texts, n, err := planner.AdoptQueues(set, live, o, globs)
	if err != nil {
		return err
	}
	for _, queue := range slices.Sorted(maps.Keys(texts)) {
		file := filepath.Join(dir, fileName(queue)+".yaml")
		f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		_, err = f.WriteString(texts[queue])
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		a.talk("Wrote %s.", file)
	}
	a.talk("%s. Put them beside your YAML, then: skytools plan", counted(n, "object"))
	return nil
}

// fileName keeps the letters, digits and dots of a name.
func fileName(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '.' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, strings.TrimLeft(name, "."))
}
