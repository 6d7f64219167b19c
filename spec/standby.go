package spec

import (
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// A Standby is a server that follows the server of a database. Its name is that of its
// replication slot, and the application_name of its connection.
type Standby struct {
	Head
	Of          string            `json:"of"`
	DSN         Secret            `json:"dsn"`
	DataDir     string            `json:"data_dir"`
	Archive     string            `json:"archive,omitempty"`
	Follow      Follow            `json:"follow,omitempty"`
	Conninfo    string            `json:"conninfo,omitempty"`
	Delay       Duration          `json:"delay,omitempty"`
	Replay      Replay            `json:"replay,omitempty"`
	Sync        bool              `json:"sync,omitempty"`
	Settings    map[string]string `json:"settings,omitempty"`
	Tablespaces map[string]string `json:"tablespaces,omitempty"`
	BinDir      string            `json:"bin_dir,omitempty"`
	Start       string            `json:"start_command,omitempty"`
	Stop        string            `json:"stop_command,omitempty"`
	State       State             `json:"state,omitempty"`
}

func (s *Standby) about() string {
	return "A server that follows another one. skytools standby makes it on its own host and looks after it; its name is that of its replication slot."
}

func (s *Standby) fields() []Field[Standby] {
	return []Field[Standby]{
		{Name: "of", Must: true, Doc: "A database of the server that it follows.", Example: "hub", Refers: "database",
			Into: func(s *Standby) any { return &s.Of }},
		{Name: "dsn", Must: true, Doc: "How to connect to the standby itself: a conninfo string or URL without a password, or a reference to one.", Example: "{env: STANDBY_DSN}",
			Into: func(s *Standby) any { return secretOf{&s.DSN, "dsn"} }},
		{Name: "data_dir", Must: true, Doc: "Its data directory, on its own host.", Example: "/var/lib/postgresql/17/main",
			Into: func(s *Standby) any { return &s.DataDir }},
		{Name: "archive", Doc: "The archive that it is restored from, and reads WAL from.", Default: "none", Example: "wal",
			Into: func(s *Standby) any { return &s.Archive }},
		{Name: "follow", Doc: "How it gets WAL. both: from the archive while that has more, then by streaming; stream: by streaming only; archive: from the archive only, which needs no connection and no slot.", Default: "both with an archive, stream without", Example: "stream",
			Into: func(s *Standby) any { return &s.Follow }},
		{Name: "conninfo", Doc: "What the standby connects to, where that differs from the database's location or dsn. It must not hold a password: that of the dsn goes into a file beside the data directory.", Default: "the location of the database, or its dsn", Example: `"host=10.0.0.1 user=replicator"`,
			Catalog: "primary_conninfo", Into: func(s *Standby) any { return conninfoOf{&s.Conninfo} }},
		{Name: "delay", Doc: "How long a commit waits before it is replayed, to have time for an undo of what should not have been done.", Default: "0s", Example: "30m", Catalog: "recovery_min_apply_delay",
			Into: func(s *Standby) any { return &s.Delay }},
		{Name: "replay", Doc: "paused: replay stands still, and WAL goes on arriving.", Default: "on", Example: "paused", Catalog: "pg_get_wal_replay_pause_state()",
			Into: func(s *Standby) any { return &s.Replay }},
		{Name: "sync", Doc: "true: a commit on the primary waits until this standby, or another one with sync, has it on disk. It is refused while the standby does not stream, for then commits would wait for ever.", Default: "false", Example: "true", Catalog: "synchronous_standby_names of the primary",
			Into: func(s *Standby) any { return &s.Sync }},
		{Name: "settings", Doc: "Settings of its own, over those that come from its primary. create and rewind write them; apply makes a later change where a reload is enough, and plan says where it needs a restart.", Example: `{port: "5433"}`,
			Into: func(s *Standby) any { return textMap{&s.Settings, "settings", false} }},
		{Name: "tablespaces", Doc: "Where tablespaces are on its host, by their paths on the primary.", Default: "the same paths", Example: "{/srv/fast: /mnt/fast}",
			Into: func(s *Standby) any { return textMap{&s.Tablespaces, "tablespaces", false} }},
		{Name: "bin_dir", Doc: "Where pg_ctl and pg_rewind of its version are.", Default: "what is installed", Example: "/usr/lib/postgresql/17/bin",
			Into: func(s *Standby) any { return &s.BinDir }},
		{Name: "start_command", Doc: "What starts it, for the shell, as the user who runs skytools. It must not wait for the server.", Default: "pg_ctl", Example: "systemctl start postgresql@17-main",
			Into: func(s *Standby) any { return &s.Start }},
		{Name: "stop_command", Doc: "What stops it, for the shell, as the user who runs skytools.", Default: "pg_ctl", Example: "systemctl stop postgresql@17-main",
			Into: func(s *Standby) any { return &s.Stop }},
		{Name: "state", Doc: "absent: it is not to be; apply drops its slot.", Default: "present", Example: "absent", Hazard: "drops-slot",
			Into: func(s *Standby) any { return &s.State }},
	}
}

// Replay says whether a standby replays.
type Replay string

// The ways. ReplayOn is the zero value.
const (
	ReplayOn     Replay = ""
	ReplayPaused Replay = "paused"
)

func (r *Replay) choices() []string { return []string{"on", "paused"} }

func (r *Replay) set(text string) {
	if *r = Replay(text); text == "on" {
		*r = ReplayOn
	}
}

func (r Replay) String() string {
	if r == ReplayOn {
		return "on"
	}
	return string(r)
}

// Follow is how a standby gets its WAL.
type Follow string

// The ways. FollowDefault is both with an archive, and stream without.
const (
	FollowDefault Follow = ""
	FollowBoth    Follow = "both"
	FollowStream  Follow = "stream"
	FollowArchive Follow = "archive"
)

func (f *Follow) choices() []string { return []string{"both", "stream", "archive"} }
func (f *Follow) set(text string)   { *f = Follow(text) }

// Follows is how the standby gets its WAL.
func (s *Standby) Follows() Follow {
	switch {
	case s.Follow != FollowDefault:
		return s.Follow
	case s.Archive != "":
		return FollowBoth
	}
	return FollowStream
}

// Streams reports whether it has a connection to its primary, and a slot there.
func (s *Standby) Streams() bool { return s.Follows() != FollowArchive }

// standbyName is the rule for names of standbys.
func standbyName(d *decoder, key *yaml.Node) bool {
	if !slotName.MatchString(key.Value) {
		d.fail(key, "bad-slot", "%q: a standby's name is that of its slot: it has up to 63 lower-case letters, digits and _", key.Value)
		return false
	}
	return true
}

// conninfoOf reads a conninfo that a server keeps where others can read it.
type conninfoOf struct{ into *string }

func (c conninfoOf) shape() shape { return shape{kind: "text"} }

func (c conninfoOf) decode(d *decoder, n *yaml.Node) {
	if n = d.follow(n); n == nil {
		return
	}
	var text string
	d.value(&yaml.Node{Value: "conninfo"}, n, &text)
	if holdsPassword(text) {
		d.conceal(n)
		d.fail(n, "plain-secret", "conninfo: a password is written here; that of the database's dsn is used, or the server finds it in its ~/.pgpass")
		return
	}
	*c.into = strings.TrimSpace(text)
}

// made are settings that other keys say, or that make a server a standby.
var made = []string{
	"primary_conninfo", "primary_slot_name", "restore_command", "recovery_min_apply_delay", "recovery_target_timeline", "hot_standby",
	"synchronous_standby_names", "archive_mode", "archive_command", "archive_library",
}

// checkStandby holds the rules of a standby.
func (d *decoder) checkStandby(s *Standby) {
	say := func(at Pos, rule, format string, args ...any) {
		d.problem(at, rule, "standby %q: "+format, append([]any{s.Name}, args...)...)
	}
	if d.set.Databases.Get(s.Name) != nil {
		say(s.At, "name-taken", "a database has this name already; addresses could mean both")
	}
	a := d.set.Archives.Get(s.Archive)
	switch {
	case s.Archive != "" && a == nil:
		say(s.At, "unknown-archive", "archive %q is not declared%s", s.Archive, ofNames(d.set.Archives.Names()))
	case a != nil && s.State != Absent && a.Of != s.Of:
		say(s.At, "other-archive", "archive %s is of %s, and the standby is of %s: name the same database in both", s.Archive, a.Of, s.Of)
	case s.Archive == "" && s.Follow != FollowDefault && s.Follow != FollowStream:
		say(s.At, "no-archive", "follow: %s needs an archive", s.Follow)
	}
	for _, path := range []struct{ key, value string }{{"data_dir", s.DataDir}, {"bin_dir", s.BinDir}} {
		if path.value != "" && !strings.HasPrefix(path.value, "/") {
			say(s.At, "relative-path", "%s: %s does not begin with /", path.key, path.value)
		}
	}
	for _, to := range s.Tablespaces {
		if !strings.HasPrefix(to, "/") {
			say(s.At, "relative-path", "tablespaces: %s does not begin with /", to)
		}
	}
	if s.Sync && !s.Streams() {
		say(s.At, "sync-without-stream", "sync needs a standby that streams, and this one follows the archive")
	}
	if s.Delay < 0 || s.Delay > maxDelay {
		say(s.At, "out-of-range", "delay must be from 0 to 24 days")
	}
	for name := range s.Settings {
		if slices.Contains(made, strings.ToLower(name)) || strings.HasPrefix(strings.ToLower(name), "recovery_target") {
			say(s.At, "not-a-setting", "settings: %s is not yours to set here", name)
		}
	}
}

// maxDelay is what recovery_min_apply_delay can hold, 2^31 - 1 milliseconds.
const maxDelay = Duration(1<<31-1) * 1e6

func ofNames(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "; there is " + strings.Join(names, ", ")
}
