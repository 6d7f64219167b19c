package standby

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// configure writes settings into postgresql.auto.conf, over those that are there, and the
// file that makes the server a standby. Settings that would end its recovery are taken out.
// Source: PostgreSQL documentation, 20.5.5 and 20.5.6.
func (o owner) configure(data string, settings map[string]string) error {
	if err := o.set(data, settings); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(data, "recovery.signal")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return o.write(filepath.Join(data, "standby.signal"), nil)
}

// set writes settings only.
func (o owner) set(data string, settings map[string]string) error {
	name := filepath.Join(data, "postgresql.auto.conf")
	before, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return o.write(name, []byte(without(string(before), settings)+lines(settings)))
}

// without leaves out the lines of these settings, and targets of a recovery.
func without(conf string, settings map[string]string) string {
	var kept strings.Builder
	for line := range strings.Lines(conf) {
		name, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(line)), "=")
		name = strings.TrimSpace(name)
		if _, replaced := settings[name]; !replaced && !strings.HasPrefix(name, "recovery_target") && name != "promote_trigger_file" {
			kept.WriteString(line)
		}
	}
	if text := kept.String(); text != "" && !strings.HasSuffix(text, "\n") {
		return text + "\n"
	}
	return kept.String()
}

func lines(settings map[string]string) string {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&text, "%s = '%s'\n", name, strings.NewReplacer(`\`, `\\`, "'", "''", "\n", " ").Replace(settings[name]))
	}
	return text.String()
}
