package spec

import (
	"strings"

	"gopkg.in/yaml.v3"
)

// A Capture is the trigger that turns a table's changes into events of a queue.
type Capture struct {
	Head
	Ignore []string `json:"ignore"`
	PKey   []string `json:"pkey"`
	When   string   `json:"when"`
	Backup bool     `json:"backup"`
	Level  Level    `json:"level"`
	State  State    `json:"state"`
}

func (c *Capture) about() string { return "Triggers that turn a table's changes into events." }

func (c *Capture) fields() []Field[Capture] {
	return []Field[Capture]{
		{Name: "ignore", Doc: "Columns left out of events; a change of only these makes no event.", Example: "[updated_at]",
			Into: func(c *Capture) any { return &c.Ignore }},
		{Name: "pkey", Doc: "Columns that identify a row, instead of the primary key.", Example: "[order_id, line]",
			Into: func(c *Capture) any { return &c.PKey }},
		{Name: "when", Doc: "SQL condition over the row; false makes no event.", Example: `"status <> 'draft'"`,
			Into: func(c *Capture) any { return &c.When }},
		{Name: "backup", Doc: "Put the old row of an update into ev_extra2.", Default: "false", Example: "true",
			Into: func(c *Capture) any { return &c.Backup }},
		levelField(func(c *Capture) *Level { return &c.Level }),
		{Name: "state", Doc: "absent: drop the triggers.", Default: "present", Example: "absent",
			Into: func(c *Capture) any { return &c.State }},
	}
}

// Level says how often the triggers fire. Source: PostgreSQL documentation, 39.1
// Overview of Trigger Behavior.
type Level string

// The levels.
const (
	ByRow       Level = ""
	ByStatement Level = "statement"
)

func (l *Level) choices() []string { return []string{"row", "statement"} }

func (l *Level) set(text string) {
	if *l = Level(text); text == "row" {
		*l = ByRow
	}
}

// levelField is the key of a capture and of a replicated table.
func levelField[T any](into func(*T) *Level) Field[T] {
	return Field[T]{Name: "level", Doc: "statement: triggers fire once for a statement, which doubles the speed of large ones. Not for partitioned or inheriting tables; the apply of native logical replication does not fire them.",
		Default: "row", Example: "statement", Into: func(t *T) any { return into(t) }}
}

// Args are the capture's options as the trigger's arguments after the queue name.
// Source: contract/pgq.md section 7.1.
func (c *Capture) Args() []string { return triggerArgs(c.Level, c.Ignore, c.PKey, c.When, c.Backup) }

func triggerArgs(level Level, ignore, pkey []string, when string, backup bool) []string {
	args := []string{}
	if level == ByStatement {
		args = append(args, "statement")
	}
	if len(ignore) > 0 {
		args = append(args, "ignore="+strings.Join(ignore, ","))
	}
	if len(pkey) > 0 {
		args = append(args, "pkey="+strings.Join(pkey, ","))
	}
	if backup {
		args = append(args, "backup")
	}
	if when != "" {
		args = append(args, "when="+when)
	}
	return args
}

// relationName is the rule for names of tables and sequences: with their schema,
// and quoted in the YAML if PostgreSQL would fold them when a person types them
// without quotes, to show that upper case is meant.
func relationName(d *decoder, key *yaml.Node) bool {
	schema, rel, dotted := strings.Cut(key.Value, ".")
	quoted := key.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0
	switch {
	case !dotted || schema == "" || rel == "":
		d.report(key, "no-schema", "write public."+key.Value, "%q: a name needs its schema", key.Value)
		return false
	case !quoted && key.Value != strings.ToLower(key.Value):
		d.report(key, "folded-name", `write "`+key.Value+`" in quotes if upper case is meant, or `+strings.ToLower(key.Value),
			"%s: PostgreSQL folds upper case unless it is quoted", key.Value)
		return false
	case len(schema) > 63 || len(rel) > 63:
		d.fail(key, "too-long", "%s: a PostgreSQL name has 63 bytes at most", key.Value)
		return false
	}
	return true
}
