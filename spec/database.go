package spec

import (
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

// A Database is one managed PostgreSQL database.
type Database struct {
	Head
	DSN      Secret `json:"dsn"`      // how this program connects
	Direct   Secret `json:"direct"`   // the same past a connection pooler; zero: DSN is direct
	Location string `json:"location"` // what other nodes connect to; empty: the DSN, if that is no secret
	State    Life   `json:"state"`
}

func (d *Database) about() string { return "One managed PostgreSQL database." }

func (d *Database) fields() []Field[Database] {
	return []Field[Database]{
		{Name: "dsn", Must: true, Doc: "Where to connect: a conninfo string or URL without a password, or a reference: {env: NAME}, {file: PATH}, {command: [PROGRAM, ARG]}.",
			Example: "{env: HUB_DSN}", Into: func(d *Database) any { return secretOf{&d.DSN, "dsn"} }},
		{Name: "direct", Doc: "The same database past a connection pooler, for locks and listening. Needed only when dsn leads to a pooler.",
			Example: "{env: HUB_DIRECT}", Into: func(d *Database) any { return secretOf{&d.Direct, "direct"} }},
		{Name: "location", Doc: "What other nodes connect to when that differs from dsn. It is stored on every node of a cascade, so it must not hold a password.",
			Default: "the dsn, when that is written out", Example: `"host=10.0.0.2 dbname=shop"`, Catalog: "pgq_node.node_location.node_location",
			Into: func(d *Database) any { return locationOf{&d.Location} }},
		{Name: "state", Doc: "dead: the database is lost; plans do not wait for it.", Default: "alive", Example: "dead",
			Into: func(d *Database) any { return &d.State }},
	}
}

// Life says whether a database or node still exists.
type Life string

// The lives of a database.
const (
	Alive Life = ""
	Dead  Life = "dead"
)

func (l *Life) choices() []string { return []string{"alive", "dead"} }

func (l *Life) set(s string) {
	if *l = Life(s); s == "alive" {
		*l = Alive
	}
}

// secretOf reads a text without a password, or a reference to one.
type secretOf struct {
	into *Secret
	key  string
}

func (s secretOf) shape() shape {
	return shape{kind: "object", doc: "Where the value comes from.", keys: 1, oneOf: []string{"text"}, fields: []anyField{
		{name: "env", doc: "Name of an environment variable.", example: "HUB_DSN", typ: new(string)},
		{name: "file", doc: "Path of a file that holds only the value.", example: "/run/secrets/hub", typ: new(string)},
		{name: "command", doc: "A program and its arguments; what it prints is the value.", example: "[vault, read, -field=dsn, shop/hub]", typ: argvOf{}},
	}}
}

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (s secretOf) decode(d *decoder, n *yaml.Node) {
	if n = d.follow(n); n == nil {
		return
	}
	if n.Kind == yaml.ScalarNode {
		s.plain(d, n)
		return
	}
	found := 0
	d.each(n, func(k, v *yaml.Node) {
		found++
		switch k.Value {
		case "env", "file", "command":
			s.reference(d, k, v)
		default:
			d.conceal(v)
			d.failNear(k, "unknown-field", []string{"env", "file", "command"}, "%s: unknown reference %q; write {env: NAME}, {file: PATH} or {command: [...]}", s.key, k.Value)
		}
	})
	if found != 1 && n.Kind == yaml.MappingNode {
		d.fail(n, "bad-secret", "%s: expected exactly one of env, file and command", s.key)
	}
}

// plain reads a text that is no secret.
func (s secretOf) plain(d *decoder, n *yaml.Node) {
	var text string
	d.text(&yaml.Node{Value: s.key}, n, &text)
	switch {
	case n.Tag == "!!null" || d.hasPassword(s.key, n, text):
	case strings.TrimSpace(text) == "":
		d.fail(n, "empty-value", "%s: the value is missing", s.key)
	default:
		*s.into = plain(text)
	}
}

// reference reads where a secret comes from.
func (s secretOf) reference(d *decoder, k, v *yaml.Node) {
	argv := []string{""}
	if k.Value == "command" {
		argv = nil
		d.argv(k, v, &argv)
	} else {
		d.value(k, v, &argv[0])
	}
	n := d.follow(v)
	if n == nil || n.Kind == yaml.MappingNode || n.Kind == yaml.SequenceNode && k.Value != "command" || n.Tag == "!!null" {
		return // reported
	}
	switch {
	case d.hasPassword(s.key, n, strings.Join(argv, " ")):
	case len(argv) == 0 || argv[0] == "":
		d.fail(n, "bad-secret", "%s: %s: the value is missing", s.key, k.Value)
	case k.Value == "env" && !variable.MatchString(argv[0]):
		d.conceal(n) // it may be the secret itself
		d.fail(n, "bad-secret", "%s: env: expected the name of an environment variable, such as HUB_DSN", s.key)
	case k.Value == "env":
		*s.into = fromEnv(argv[0])
	case k.Value == "file":
		*s.into = fromFile(argv[0])
	default:
		*s.into = fromCommand(argv)
	}
}

// hasPassword reports a password written in the YAML, without repeating it.
func (d *decoder) hasPassword(key string, n *yaml.Node, text string) bool {
	if !holdsPassword(text) {
		return false
	}
	d.conceal(n)
	d.fail(n, "plain-secret", "%s: a password is written here; use {env: NAME}, {file: PATH} or ~/.pgpass", key)
	return true
}

// locationOf reads a conninfo that is stored where others can read it.
type locationOf struct{ into *string }

func (l locationOf) shape() shape { return shape{kind: "text"} }

func (l locationOf) decode(d *decoder, n *yaml.Node) {
	if n = d.follow(n); n == nil {
		return
	}
	var text string
	d.value(&yaml.Node{Value: "location"}, n, &text)
	if holdsPassword(text) {
		d.conceal(n)
		d.fail(n, "plain-secret", "location: a password is written here; every node of a cascade can read it, so let them find it in ~/.pgpass")
		return
	}
	*l.into = strings.TrimSpace(text)
}
