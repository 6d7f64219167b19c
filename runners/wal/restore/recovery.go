package restore

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// configure writes the settings of the recovery, and the file that makes the server
// recover when it starts. Source: PostgreSQL documentation, 26.3.4 and 20.5.5.
func (r *restoring) configure(c Choice) error {
	name := filepath.Join(r.o.To, "postgresql.auto.conf")
	before, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := r.write(name, []byte(silence(string(before))+r.settings(c)), 0o600); err != nil {
		return err
	}
	signal := "recovery.signal"
	if r.o.As == Standby {
		signal = "standby.signal"
	}
	for _, old := range []string{"recovery.signal", "standby.signal"} {
		if err := os.Remove(filepath.Join(r.o.To, old)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return r.write(filepath.Join(r.o.To, signal), nil, 0o600)
}

// stale settings would lead the recovery elsewhere.
var stale = []string{"recovery_", "restore_command", "archive_cleanup_command", "primary_conninfo", "primary_slot_name", "promote_trigger_file"}

// silence turns stale settings into comments.
func silence(conf string) string {
	var out strings.Builder
	for line := range strings.Lines(conf) {
		name := strings.ToLower(strings.TrimSpace(line))
		if slices.ContainsFunc(stale, func(s string) bool { return strings.HasPrefix(name, s) }) {
			out.WriteString("# before the restore: ")
		}
		out.WriteString(line)
	}
	if text := out.String(); text != "" && !strings.HasSuffix(text, "\n") {
		return text + "\n"
	}
	return out.String()
}

// settings are the lines for the recovery.
func (r *restoring) settings(c Choice) string {
	values := map[string]string{"restore_command": r.o.Command, "recovery_target_timeline": r.timeline(c)}
	if r.o.As == Standby {
		values["primary_conninfo"], values["primary_slot_name"] = r.o.Conninfo, r.o.Slot
	} else {
		maps.Copy(values, c.Target.settings())
		action := r.o.Action
		if action == "" {
			action = "promote"
		}
		if !c.Target.latest() {
			values["recovery_target_action"] = action
		}
	}
	if r.o.As == Clone { // it would archive into the archive of the server it was copied from
		values["archive_mode"], values["primary_slot_name"], values["primary_conninfo"] = "off", "", ""
	}
	if r.keepsNoSettings() {
		maps.Copy(values, r.m.Settings)
	}
	maps.Copy(values, r.o.Settings)
	var text strings.Builder
	fmt.Fprintf(&text, "# restored from %s to %s\n", r.m.ID, c.Target)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		fmt.Fprintf(&text, "%s = '%s'\n", name, strings.NewReplacer(`\`, `\\`, "'", "''", "\n", " ").Replace(values[name]))
	}
	return text.String()
}

// keepsNoSettings reports whether the server's configuration is not in its data
// directory: then the settings that a hot standby must not have lower are written down.
func (r *restoring) keepsNoSettings() bool {
	_, err := os.Stat(filepath.Join(r.o.To, "postgresql.conf"))
	return errors.Is(err, fs.ErrNotExist)
}

// timeline is the one to follow. A standby follows the newest, whichever that will be.
func (r *restoring) timeline(c Choice) string {
	last := r.m.Timeline
	if len(c.Path) > 0 {
		last = c.Path[len(c.Path)-1].Timeline
	}
	switch {
	case r.o.As == Standby:
		return "latest"
	case last == r.m.Timeline:
		return "current"
	}
	return strconv.FormatUint(uint64(last), 10)
}

func (t Target) latest() bool {
	return t.Time.IsZero() && t.LSN == 0 && t.XID == "" && t.Name == "" && !t.Immediate
}

// settings are the target as the server wants it: at most one of them.
func (t Target) settings() map[string]string {
	values := map[string]string{}
	switch {
	case !t.Time.IsZero():
		values["recovery_target_time"] = t.Time.UTC().Format("2006-01-02 15:04:05.999999-07:00")
	case t.LSN != 0:
		values["recovery_target_lsn"] = t.LSN.String()
	case t.XID != "":
		values["recovery_target_xid"] = t.XID
	case t.Name != "":
		values["recovery_target_name"] = t.Name
	case t.Immediate:
		values["recovery_target"] = "immediate"
	}
	if t.Exclusive {
		values["recovery_target_inclusive"] = "off"
	}
	return values
}
