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
	return shape{kind: "object", oneOf: []string{"text"}, fields: []anyField{
		{name: "env", doc: "Name of an environment variable.", typ: new(string)},
		{name: "file", doc: "Path of a file that holds only the value.", typ: new(string)},
		{name: "command", doc: "A program and its arguments; what it prints is the value.", typ: new([]string)},
	}}
}

var (
	passwordKey = regexp.MustCompile(`(?i)(^|[\s?&])(password|sslpassword|passphrase)\s*=\s*\S`)
	passwordURL = regexp.MustCompile(`(?i)^[a-z0-9+]+://[^/@\s]*:[^/@\s]+@`)
)

func (s secretOf) decode(d *decoder, n *yaml.Node) {
	if n = d.follow(n); n == nil {
		return
	}
	if n.Kind == yaml.ScalarNode {
		var text string
		d.text(&yaml.Node{Value: s.key}, n, &text)
		if d.hasPassword(s.key, n, text) || text == "" {
			return
		}
		*s.into = plain(text)
		return
	}
	found := 0
	d.each(n, func(k, v *yaml.Node) {
		found++
		var text string
		var argv []string
		switch k.Value {
		case "env":
			if d.value(k, v, &text); text != "" {
				*s.into = fromEnv(text)
			}
		case "file":
			if d.value(k, v, &text); text != "" {
				*s.into = fromFile(text)
			}
		case "command":
			if d.value(k, v, &argv); len(argv) > 0 {
				*s.into = fromCommand(argv)
			}
		default:
			d.failNear(k, "unknown-field", []string{"env", "file", "command"}, "%s: unknown reference %q; write {env: NAME}, {file: PATH} or {command: [...]}", s.key, k.Value)
		}
	})
	if found != 1 && n.Kind == yaml.MappingNode {
		d.fail(n, "bad-secret", "%s: expected exactly one of env, file and command", s.key)
	}
}

// hasPassword reports a password written in the YAML, without repeating it.
func (d *decoder) hasPassword(key string, n *yaml.Node, text string) bool {
	if !passwordKey.MatchString(text) && !passwordURL.MatchString(text) {
		return false
	}
	d.problems = append(d.problems, Problem{Pos: d.at(n), Rule: "plain-secret",
		Message: d.where() + ": " + key + ": a password is written here; use {env: NAME}, {file: PATH} or ~/.pgpass"})
	for name, lines := range d.lines { // the line must not be printed either
		if i := n.Line - 1; name == d.file && i >= 0 && i < len(lines) {
			lines[i] = "(not shown: it holds a password)"
		}
	}
	return true
}

// locationOf reads a conninfo that is stored where others can read it.
type locationOf struct{ into *string }

func (l locationOf) shape() shape { return shape{kind: "text"} }

func (l locationOf) decode(d *decoder, n *yaml.Node) {
	var text string
	d.value(&yaml.Node{Value: "location"}, n, &text)
	if !d.hasPassword("location", n, text) {
		*l.into = strings.TrimSpace(text)
	}
}
