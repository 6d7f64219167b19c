package spec

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// An Archive keeps the WAL of a PostgreSQL cluster in stores.
type Archive struct {
	Head
	Of      string         `json:"of"`
	Stores  []ArchiveStore `json:"stores"`
	Encrypt Encrypt        `json:"encrypt"`
	WAL     ArchiveWAL     `json:"wal"`

	Backup    ArchiveBackup `json:"backup,omitzero"`
	Retention Retention     `json:"retention,omitzero"`
	Drill     Drill         `json:"drill,omitzero"`
	Verify    Scrub         `json:"verify"`
}

func (a *Archive) about() string {
	return "A named place that holds the WAL of one PostgreSQL cluster, in one store or several."
}

func (a *Archive) fields() []Field[Archive] {
	return []Field[Archive]{
		{Name: "of", Must: true, Doc: "A database of the PostgreSQL cluster whose WAL it keeps.", Example: "hub", Refers: "database",
			Into: func(a *Archive) any { return &a.Of }},
		{Name: "stores", Must: true, Doc: "Where it keeps files. All stores hold the same; they are read in this order.", Example: `[{url: "s3://backups/shop?region=eu-west-1"}, {url: "file:///srv/wal", required: false}]`,
			Into: func(a *Archive) any { return storeList{&a.Stores} }},
		{Name: "encrypt", Doc: "Encrypts what goes into the stores with age.", Example: "{recipients: [age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj]}",
			Into: func(a *Archive) any { return mappingOf[Encrypt, *Encrypt]{"encrypt", &a.Encrypt} }},
		{Name: "wal", Doc: "How WAL is kept.", Example: "{compression: lz4}",
			Into: func(a *Archive) any { return mappingOf[ArchiveWAL, *ArchiveWAL]{"wal", &a.WAL} }},
		{Name: "backup", Doc: "When it is backed up.", Example: `{full: "Sun 02:00", incremental: "02:00"}`,
			Into: func(a *Archive) any { return mappingOf[ArchiveBackup, *ArchiveBackup]{"backup", &a.Backup} }},
		{Name: "retention", Doc: "What is kept. Without it nothing is removed.", Example: "{window: 14d, min_full: 2}",
			Into: func(a *Archive) any { return mappingOf[Retention, *Retention]{"retention", &a.Retention} }},
		{Name: "drill", Doc: "How backups are proven by restoring them.", Example: "{scratch: /srv/scratch}",
			Into: func(a *Archive) any { return mappingOf[Drill, *Drill]{"drill", &a.Drill} }},
		{Name: "verify", Doc: "When everything in the stores is read.", Example: `{schedule: "Sat 06:00"}`,
			Into: func(a *Archive) any { return mappingOf[Scrub, *Scrub]{"verify", &a.Verify} }},
	}
}

// An ArchiveStore is one place of an archive.
type ArchiveStore struct {
	At         Pos    `json:"-"`
	URL        string `json:"url"`
	Required   bool   `json:"required"`
	AccessKey  Secret `json:"access_key"`
	SecretKey  Secret `json:"secret_key"`
	Session    Secret `json:"session_token"`
	PrivateKey Secret `json:"private_key"`
	Passphrase Secret `json:"passphrase"`
}

func (s *ArchiveStore) about() string {
	return "A directory, an S3 bucket or an SFTP server that holds an archive."
}

func (s *ArchiveStore) fields() []Field[ArchiveStore] {
	return []Field[ArchiveStore]{
		{Name: "url", Must: true, Doc: "file:///DIRECTORY, s3://BUCKET/PREFIX?endpoint=https://HOST:PORT&region=REGION&path_style=true or sftp://USER@HOST:PORT/DIRECTORY?known_hosts=FILE. It holds no secret.",
			Example: `"s3://backups/shop?region=eu-west-1"`, Into: func(s *ArchiveStore) any { return storeURLOf{&s.URL} }},
		{Name: "required", Doc: "false: WAL counts as archived without it; it gets what it can.", Default: "true", Example: "false",
			Into: func(s *ArchiveStore) any { return &s.Required }},
		{Name: "access_key", Doc: "S3: the access key. Without it, what the environment, the AWS credentials file or the machine offers.", Example: "{env: S3_ACCESS_KEY}",
			Into: func(s *ArchiveStore) any { return referenceOf{&s.AccessKey, "access_key"} }},
		{Name: "secret_key", Doc: "S3: the secret key.", Example: "{file: /run/secrets/s3}",
			Into: func(s *ArchiveStore) any { return referenceOf{&s.SecretKey, "secret_key"} }},
		{Name: "session_token", Doc: "S3: the token of a temporary access key.", Example: "{env: S3_SESSION_TOKEN}",
			Into: func(s *ArchiveStore) any { return referenceOf{&s.Session, "session_token"} }},
		{Name: "private_key", Doc: "SFTP: the private key to log in with.", Example: "{file: /etc/skytools/id_ed25519}",
			Into: func(s *ArchiveStore) any { return referenceOf{&s.PrivateKey, "private_key"} }},
		{Name: "passphrase", Doc: "SFTP: what the private key is protected with.", Default: "nothing", Example: "{env: SSH_PASSPHRASE}",
			Into: func(s *ArchiveStore) any { return referenceOf{&s.Passphrase, "passphrase"} }},
	}
}

// Encrypt says who can read what is in the stores.
type Encrypt struct {
	Recipients []string `json:"recipients"`
	Identity   Secret   `json:"identity"`
}

func (e *Encrypt) about() string { return "Who can read what is in the stores of an archive." }

func (e *Encrypt) fields() []Field[Encrypt] {
	return []Field[Encrypt]{
		{Name: "recipients", Doc: "Public keys of age. The host of the database needs no more.", Example: "[age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj]",
			Into: func(e *Encrypt) any { return &e.Recipients }},
		{Name: "identity", Doc: "Where the private key is, on hosts that restore. Where it cannot be found, files can be archived and not read.", Example: "{file: /etc/skytools/age.key}",
			Into: func(e *Encrypt) any { return referenceOf{&e.Identity, "identity"} }},
	}
}

// ArchiveWAL says how WAL is kept.
type ArchiveWAL struct {
	Compression Compression `json:"compression"`
	Transport   Transport   `json:"transport,omitempty"`
	RPO         Duration    `json:"rpo,omitempty"`  // 0: the receiver's own
	Slot        string      `json:"slot,omitempty"` // empty: skytools_ and the archive's name
	Settings    Settings    `json:"settings,omitempty"`
	Client      string      `json:"client"` // on the host of the server
	Spec        string      `json:"spec"`   // there, too

	QueueAlert Bytes    `json:"queue_alert,omitempty"` // 0: whatever waits
	OnOverflow Overflow `json:"on_overflow,omitempty"`
	StateDir   string   `json:"state_dir,omitempty"` // on the host of the server; empty: see State
}

func (w *ArchiveWAL) about() string { return "How an archive keeps WAL." }

func (w *ArchiveWAL) fields() []Field[ArchiveWAL] {
	return []Field[ArchiveWAL]{
		{Name: "compression", Doc: "zstd makes files smallest; lz4 takes half its time, or three quarters of it where skytools was built with a C compiler; none keeps them as they are. Files that are there already can be read in any case.", Default: "zstd", Example: "lz4",
			Into: func(w *ArchiveWAL) any { return &w.Compression }},
		{Name: "transport", Doc: "How WAL comes into the archive. archive: archive_command brings each segment when it is full; both: skytools run receives it as it is written, too.", Default: "archive", Example: "both",
			Into: func(w *ArchiveWAL) any { return &w.Transport }},
		{Name: "rpo", Doc: "With both: how old WAL may become before it is in the stores. It is what can be lost with the server.", Default: "10s", Example: "5s",
			Into: func(w *ArchiveWAL) any { return &w.RPO }},
		{Name: "slot", Doc: "With both: the replication slot, which skytools run makes. The server keeps WAL for it while nobody receives: set max_slot_wal_keep_size.", Default: "skytools_ and the archive's name", Example: "archive",
			Into: func(w *ArchiveWAL) any { return &w.Slot }},
		{Name: "settings", Doc: "Who sets archive_mode, archive_command and wal_level. by_apply: apply does, with ALTER SYSTEM; by_hand: you, Patroni or your provider.", Default: "by_apply", Example: "by_hand",
			Into: func(w *ArchiveWAL) any { return &w.Settings }},
		{Name: "client", Doc: "The program that archive_command runs, on the host of the server.", Default: "skytools-wal", Example: "/usr/local/bin/skytools-wal",
			Into: func(w *ArchiveWAL) any { return &w.Client }},
		{Name: "spec", Doc: "Where the YAML is on the host of the server.", Default: "/etc/skytools", Example: "/etc/skytools",
			Into: func(w *ArchiveWAL) any { return &w.Spec }},
		{Name: "queue_alert", Doc: "How much WAL may wait to be archived before status and the metrics say so.", Default: "any amount", Example: "10GB",
			Into: func(w *ArchiveWAL) any { return bytesOf{"queue_alert", &w.QueueAlert} }},
		{Name: "on_overflow", Doc: "What becomes of WAL while more than queue_alert waits. alert: it waits, and when the disk is full the server stops; drop: what no store takes is left out of the archive, so that the server goes on. That is written down first: no restore leads across it, and where backups have a schedule, one is taken at once.", Default: "alert", Example: "drop",
			Into: func(w *ArchiveWAL) any { return &w.OnOverflow }},
		{Name: "state_dir", Doc: "With drop: where what was left out is written down on the host of the server until the stores have that. It belongs to the user of PostgreSQL, and outlives a restart of the host.", Default: "/var/lib/skytools", Example: "/var/lib/skytools",
			Into: func(w *ArchiveWAL) any { return &w.StateDir }},
	}
}

// State is where the host of the server remembers what the stores do not know yet.
func (w *ArchiveWAL) State() string { return cmp.Or(w.StateDir, "/var/lib/skytools") }

// Overflow says what becomes of WAL while too much of it waits.
type Overflow string

// The ways. OverflowAlerts is the zero value.
const (
	OverflowAlerts Overflow = ""
	OverflowDrops  Overflow = "drop"
)

func (o *Overflow) choices() []string { return []string{"alert", "drop"} }

func (o *Overflow) set(text string) {
	if *o = Overflow(text); text == "alert" {
		*o = OverflowAlerts
	}
}

// Settings says who makes the server archive.
type Settings string

// The ways. ByApply is the zero value.
const (
	ByApply Settings = ""
	ByHand  Settings = "by_hand"
)

func (s *Settings) choices() []string { return []string{"by_apply", "by_hand"} }

func (s *Settings) set(text string) {
	if *s = Settings(text); text == "by_apply" {
		*s = ByApply
	}
}

// preset gives an archive its defaults before its keys are read.
func (a *Archive) preset() {
	a.WAL.Client, a.WAL.Spec = "skytools-wal", "/etc/skytools"
	a.Verify.Repair = true
}

// Transport is how WAL comes into an archive.
type Transport string

// The ways. ByCommand is the zero value.
const (
	ByCommand Transport = ""
	Both      Transport = "both"
)

func (t *Transport) choices() []string { return []string{"archive", "both"} }

func (t *Transport) set(s string) {
	if *t = Transport(s); s == "archive" {
		*t = ByCommand
	}
}

// SlotName is the replication slot that WAL is received through.
func (a *Archive) SlotName() string {
	if a.WAL.Slot != "" {
		return a.WAL.Slot
	}
	return "skytools_" + strings.ToLower(strings.ReplaceAll(a.Name, "-", "_"))
}

// slotName is what PostgreSQL takes. Source: PostgreSQL documentation, 27.2.6.
var slotName = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)

// Compression is how files are compressed.
type Compression string

// The ways. Zstd is the zero value.
const (
	Zstd         Compression = ""
	LZ4          Compression = "lz4"
	Uncompressed Compression = "none"
)

func (c *Compression) choices() []string { return []string{"zstd", "lz4", "none"} }

func (c *Compression) set(s string) {
	if *c = Compression(s); s == "zstd" {
		*c = Zstd
	}
}

// mappingOf reads an object that has no name.
type mappingOf[T any, P fielded[T]] struct {
	key  string
	into *T
}

func (m mappingOf[T, P]) shape() shape {
	var zero T
	return shape{kind: "mapping", doc: P(&zero).about(), fields: describe[T, P]()}
}

func (m mappingOf[T, P]) decode(d *decoder, n *yaml.Node) {
	if n = d.follow(n); n != nil {
		decodeObject[T, P](d, &yaml.Node{Value: m.key, Line: n.Line, Column: n.Column}, n, m.into)
	}
}

// referenceOf reads where a secret is, which never stands in the YAML itself.
type referenceOf struct {
	into *Secret
	key  string
}

func (r referenceOf) shape() shape {
	s := secretOf(r).shape()
	s.oneOf = nil
	return s
}

func (r referenceOf) decode(d *decoder, n *yaml.Node) {
	if v := d.follow(n); v == nil || v.Kind == yaml.ScalarNode {
		d.conceal(n)
		d.fail(n, "plain-secret", "%s: write where it is: {env: NAME}, {file: PATH} or {command: [PROGRAM, ARG]}", r.key)
		return
	}
	secretOf(r).decode(d, n)
}

// storeURLOf reads a URL that holds no secret.
type storeURLOf struct{ into *string }

func (u storeURLOf) shape() shape { return shape{kind: "text"} }

func (u storeURLOf) decode(d *decoder, n *yaml.Node) {
	if n = d.follow(n); n == nil {
		return
	}
	if looksSecret(n.Value) {
		d.conceal(n)
		d.fail(n, "plain-secret", "url: a secret is written here; the keys beside it say where it is")
		return
	}
	d.value(&yaml.Node{Value: "url"}, n, u.into)
}

// storeList reads the stores of an archive.
type storeList struct{ into *[]ArchiveStore }

func (l storeList) shape() shape {
	return shape{kind: "list", doc: (*ArchiveStore)(nil).about(), fields: describe[ArchiveStore, *ArchiveStore](), entries: 1}
}

func (l storeList) decode(d *decoder, n *yaml.Node) {
	items := d.items(n, "stores")
	for _, item := range items {
		s := ArchiveStore{At: d.at(item), Required: true}
		decodeObject[ArchiveStore](d, item, item, &s)
		*l.into = append(*l.into, s)
	}
	if n = d.follow(n); len(items) == 0 && n != nil && (n.Kind == yaml.SequenceNode || n.Tag == "!!null") {
		d.fail(n, "empty-list", "stores: name one at least")
	}
}

// checkArchive holds the rules of an archive.
func (d *decoder) checkArchive(a *Archive) {
	say := func(at Pos, rule, format string, args ...any) {
		d.problem(at, rule, "archive %q: "+format, append([]any{a.Name}, args...)...)
	}
	required, seen := 0, map[string]bool{}
	for _, s := range a.Stores {
		scheme, _, _ := strings.Cut(s.URL, "://")
		switch {
		case !slices.Contains([]string{"file", "s3", "sftp"}, scheme) || !strings.Contains(s.URL, "://"):
			say(s.At, "bad-url", "a store's URL begins with file://, s3:// or sftp://")
		case seen[s.URL]:
			say(s.At, "listed-twice", "two stores have the same URL")
		}
		seen[s.URL] = true
		if s.Required {
			required++
		}
	}
	if required == 0 {
		say(a.At, "no-required-store", "one store at least must be required, or nothing could ever be called archived")
	}
	switch w := a.WAL; {
	case w.Transport != Both && (w.RPO != 0 || w.Slot != ""):
		say(a.At, "transport-not-both", "rpo and slot are for WAL that is received: write transport: both, or leave them out")
	case w.RPO < 0 || w.RPO > 0 && w.RPO < second:
		say(a.At, "out-of-range", "rpo must be a second at least")
	case !slotName.MatchString(a.SlotName()):
		say(a.At, "bad-slot", "%q cannot be the name of a slot: it has up to 63 lower-case letters, digits and _", a.SlotName())
	}
	switch w := a.WAL; {
	case w.OnOverflow == OverflowDrops && w.QueueAlert == 0:
		say(a.At, "drop-without-limit", "on_overflow: drop needs a limit: write how much may wait, for example queue_alert: 10GB")
	case w.QueueAlert != 0 && w.QueueAlert < 16<<20:
		say(a.At, "out-of-range", "queue_alert must be 16MB at least, which is one segment as a rule")
	case !strings.HasPrefix(w.State(), "/"):
		say(a.At, "bad-path", "state_dir: %q is not an absolute path", w.StateDir)
	}
	if from := a.Backup.From; from != "" {
		switch s := d.set.Standbys.Get(from); {
		case s == nil:
			say(a.At, "unknown-standby", "backup: from: standby %q is not declared%s", from, ofNames(d.set.Standbys.Names()))
		case s.Of != a.Of || s.State == Absent:
			say(a.At, "other-standby", "backup: from: standby %s does not follow %s", from, a.Of)
		}
	}
	if r := a.Retention; r.PreExpire != "" && !r.Any() {
		say(a.At, "pre-expire-alone", "retention: pre_expire is never asked, because nothing expires: write what is kept, for example window: 14d")
	}
	for _, r := range a.Encrypt.Recipients {
		if !strings.HasPrefix(r, "age1") {
			say(a.At, "bad-recipient", "a recipient is a public key of age, which begins with age1")
		}
	}
}
