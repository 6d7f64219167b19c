package spec

import (
	"fmt"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// ArchiveBackup says when an archive's cluster is backed up, and how.
type ArchiveBackup struct {
	Full        Schedule  `json:"full,omitzero"`
	Incremental Schedule  `json:"incremental,omitzero"`
	Rate        Rate      `json:"rate,omitempty"`
	From        string    `json:"from,omitempty"`
	OnBadPage   OnBadPage `json:"on_bad_page,omitempty"`
}

// OnBadPage says what becomes of a backup in which the server finds pages whose checksum
// is wrong.
type OnBadPage string

// The ways. BadPageFails is the zero value.
const (
	BadPageFails OnBadPage = ""
	BadPageWarns OnBadPage = "warn"
)

func (o *OnBadPage) choices() []string { return []string{"fail", "warn"} }

func (o *OnBadPage) set(text string) {
	if *o = OnBadPage(text); text == "fail" {
		*o = BadPageFails
	}
}

func (b *ArchiveBackup) about() string { return "When the cluster is backed up, and how." }

func (b *ArchiveBackup) fields() []Field[ArchiveBackup] {
	return []Field[ArchiveBackup]{
		{Name: "full", Doc: "When skytools run takes a full backup: HH:MM every day, or a weekday and HH:MM. Times are UTC.", Default: "never", Example: `"Sun 02:00"`,
			Into: func(b *ArchiveBackup) any { return scheduleOf{&b.Full} }},
		{Name: "incremental", Doc: "When skytools run takes a backup that writes only what has changed since the one before.", Default: "never", Example: `"02:00"`,
			Into: func(b *ArchiveBackup) any { return scheduleOf{&b.Incremental} }},
		{Name: "rate", Doc: "The most that the server sends per second.", Default: "no limit", Example: "50MB",
			Into: func(b *ArchiveBackup) any { return rateOf{&b.Rate} }},
		{Name: "from", Doc: "A standby that backups are taken from while it answers, to spare the primary.", Default: "the primary", Example: "spare",
			Into: func(b *ArchiveBackup) any { return &b.From }},
		{Name: "on_bad_page", Doc: "What becomes of a backup in which the server, if it has checksums of pages, finds wrong ones. fail: there is no backup; warn: it is kept, and says which they are.", Default: "fail", Example: "warn",
			Into: func(b *ArchiveBackup) any { return &b.OnBadPage }},
	}
}

// Retention says which backups and which WAL an archive keeps.
type Retention struct {
	Window    Duration `json:"window,omitempty"`
	MinFull   int      `json:"min_full,omitempty"`
	Weekly    int      `json:"weekly,omitempty"`
	Monthly   int      `json:"monthly,omitempty"`
	PreExpire string   `json:"pre_expire,omitempty"`
}

// Any reports that something may be removed.
func (r Retention) Any() bool { r.PreExpire = ""; return r != Retention{} }

func (r *Retention) about() string {
	return "Which backups and which WAL an archive keeps. What any key wants is kept; the rest goes a week after it has expired."
}

func (r *Retention) fields() []Field[Retention] {
	return []Field[Retention]{
		{Name: "window", Doc: "Every moment from this long ago on can be restored.", Example: "14d", Into: func(r *Retention) any { return &r.Window }},
		{Name: "min_full", Doc: "So many of the newest full backups are kept, however old they are.", Default: "1", Example: "2", Into: func(r *Retention) any { return &r.MinFull }},
		{Name: "weekly", Doc: "The last backup of each of so many weeks.", Default: "0", Example: "8", Into: func(r *Retention) any { return &r.Weekly }},
		{Name: "monthly", Doc: "The last backup of each of so many months.", Default: "0", Example: "12", Into: func(r *Retention) any { return &r.Monthly }},
		{Name: "pre_expire", Doc: "A shell command that is asked before a backup expires, and may copy it away first: SKYTOOLS_BACKUP and SKYTOOLS_ARCHIVE name it. Unless it exits with 0 the backup stays, and is asked about again.", Example: "/usr/local/bin/to-tape", Into: func(r *Retention) any { return &r.PreExpire }},
	}
}

// Drill says when and how backups are proven.
type Drill struct {
	Schedule Schedule `json:"schedule,omitzero"`
	Scratch  string   `json:"scratch,omitempty"`
	Checks   []string `json:"checks,omitempty"`
}

func (r *Drill) about() string { return "How a backup is proven by restoring it." }

func (r *Drill) fields() []Field[Drill] {
	return []Field[Drill]{
		{Name: "schedule", Doc: "When skytools run drills the newest backup: HH:MM every day, or a weekday and HH:MM, in UTC. Its host needs the programs of PostgreSQL and the identity.", Default: "never", Example: `"Sun 06:00"`,
			Into: func(r *Drill) any { return scheduleOf{&r.Schedule} }},
		{Name: "scratch", Doc: "A directory with room for the cluster.", Default: "the directory for temporary files", Example: "/srv/scratch", Into: func(r *Drill) any { return &r.Scratch }},
		{Name: "checks", Doc: "Queries to the restored server, in database postgres, or in another one as DATABASE: QUERY. Each must answer with something other than false, null or no rows.",
			Example: `["shop: select max(created_at) > now() - interval '2 days' from orders"]`, Into: func(r *Drill) any { return &r.Checks }},
	}
}

// Scrub says when everything in the stores is read and compared.
type Scrub struct {
	Schedule Schedule `json:"schedule,omitzero"`
	Repair   bool     `json:"repair"`
}

func (r *Scrub) about() string {
	return "When everything in the stores is read and compared with its checksums."
}

func (r *Scrub) fields() []Field[Scrub] {
	return []Field[Scrub]{
		{Name: "schedule", Must: true, Doc: "When skytools run does it: HH:MM every day, or a weekday and HH:MM, in UTC.", Example: `"Sat 06:00"`,
			Into: func(r *Scrub) any { return scheduleOf{&r.Schedule} }},
		{Name: "repair", Doc: "Whether what a store lacks, or has damaged, is copied from a store that has it whole.", Default: "true", Example: "false",
			Into: func(r *Scrub) any { return &r.Repair }},
	}
}

// A Schedule is a time of day, of every day or of one day of the week, in UTC.
type Schedule struct {
	Set    bool
	Weekly bool
	Day    time.Weekday
	Hour   int
	Minute int
}

var weekdays = []string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"}

// ParseSchedule reads HH:MM or a weekday and HH:MM.
func ParseSchedule(text string) (Schedule, error) {
	bad := fmt.Errorf("%q is no schedule; write 02:00 for every day, or Sun 02:00", text)
	s := Schedule{Set: true}
	at := text
	if day, rest, found := strings.Cut(text, " "); found {
		n := -1
		for i, name := range weekdays {
			if name == day {
				n = i
			}
		}
		if n < 0 {
			return Schedule{}, bad
		}
		s.Weekly, s.Day, at = true, time.Weekday(n), rest
	}
	t, err := time.Parse("15:04", at)
	if err != nil || len(at) != 5 {
		return Schedule{}, bad
	}
	s.Hour, s.Minute = t.Hour(), t.Minute()
	return s, nil
}

// String is the text that [ParseSchedule] reads.
func (s Schedule) String() string {
	at := fmt.Sprintf("%02d:%02d", s.Hour, s.Minute)
	if s.Weekly {
		return weekdays[s.Day] + " " + at
	}
	return at
}

// MarshalText writes what String does.
func (s Schedule) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// scheduleOf reads a schedule.
type scheduleOf struct{ into *Schedule }

func (s scheduleOf) shape() shape { return shape{kind: "text"} }

func (s scheduleOf) decode(d *decoder, n *yaml.Node) {
	if n = d.follow(n); n == nil {
		return
	}
	schedule, err := ParseSchedule(n.Value)
	if err != nil || n.Kind != yaml.ScalarNode {
		d.fail(n, "bad-schedule", "%v", err)
		return
	}
	*s.into = schedule
}
