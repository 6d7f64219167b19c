package spec

import (
	"gopkg.in/yaml.v3"
)

// Parts says how rows are spread over tables by time.
type Parts struct {
	By        PartBy     `json:"by,omitempty"`
	Field     string     `json:"field,omitempty"`
	Period    PartPeriod `json:"period,omitempty"`
	Rows      PartRows   `json:"rows,omitempty"`
	Events    []string   `json:"events,omitempty"`
	Create    PartCreate `json:"create,omitzero"`
	Retention string     `json:"retention,omitempty"`
	SkipOld   bool       `json:"skip_old,omitempty"`
}

func (p *Parts) about() string {
	return "How rows are spread over tables by time. A part is called like the table, with _2026, _2026_08, _2026_08_23 or _2026_08_23_09 behind; times are those of UTC, or as the column says them."
}

func (p *Parts) fields() []Field[Parts] {
	return []Field[Parts]{
		{Name: "by", Doc: "The time that decides: of the event, of its batch, of its replay, or of a column. Without it rows are not spread.", Example: "event_time", Into: func(p *Parts) any { return &p.By }},
		{Name: "field", Doc: "The column with the time, for by: field. A row without a time stops the node.", Example: "created_at", Into: func(p *Parts) any { return &p.Field }},
		{Name: "period", Doc: "What one part holds.", Default: "day", Example: "month", Into: func(p *Parts) any { return &p.Period }},
		{Name: "rows", Doc: "plain: changes are made in the part that they belong to; keep_latest: an update deletes the row there and inserts it anew; keep_all: every version stays, and nothing is deleted.",
			Default: "plain", Example: "keep_latest", Into: func(p *Parts) any { return &p.Rows }},
		{Name: "events", Doc: "Only these: I, U, D.", Default: "[I, U, D]", Example: "[I]", Into: func(p *Parts) any { return &p.Events }},
		{Name: "create", Doc: "A function that makes a part: (table, part, key columns, field, time, period). Or {function}, or {sql}, with what runs before and after it, in the transaction that also fills the part.",
			Default: "londiste.create_partition", Example: `{after: "grant select on %(part)s to readers"}`, Into: func(p *Parts) any { return createOf{&p.Create} }},
		{Name: "retention", Doc: "Parts that are older are dropped whenever one is made: an interval.", Example: "3 months", Into: func(p *Parts) any { return &p.Retention }},
		{Name: "skip_old", Doc: "Leave out rows of parts that are older than the retention.", Default: "false", Example: "false", Into: func(p *Parts) any { return &p.SkipOld }},
	}
}

// PartCreate says how a part is made. Its SQL has places for texts, such as %(part)s.
type PartCreate struct {
	Function string `json:"function,omitempty"`
	SQL      string `json:"sql,omitempty"`
	Before   string `json:"before,omitempty"`
	After    string `json:"after,omitempty"`
}

func (c *PartCreate) about() string {
	return "How a part is made. SQL has places for texts: %(part)s, %(parent)s, %(pkeys)s, %(part_field)s, %(part_time)s, %(period)s, and %(schema_table)s, which is the part with __ for its dot; a percent sign is written twice. Names come quoted where they need it; within quotes of the SQL only names that need none can stand, and in texts all. It may not end the transaction."
}

func (c *PartCreate) fields() []Field[PartCreate] {
	return []Field[PartCreate]{
		{Name: "function", Doc: "A function that makes it: (table, part, key columns, field, time, period).", Default: "londiste.create_partition", Example: "public.make_part", Into: func(c *PartCreate) any { return &c.Function }},
		{Name: "sql", Doc: "SQL that makes it, instead of a function.", Example: `"create table %(part)s (like %(parent)s including all) inherits (%(parent)s)"`, Into: func(c *PartCreate) any { return &c.SQL }},
		{Name: "before", Doc: "SQL that runs before.", Example: `"lock table %(parent)s in share update exclusive mode"`, Into: func(c *PartCreate) any { return &c.Before }},
		{Name: "after", Doc: "SQL that runs when the part is there.", Example: `"grant select on %(part)s to readers"`, Into: func(c *PartCreate) any { return &c.After }},
	}
}

// createOf reads the name of a function, or a mapping.
type createOf struct{ into *PartCreate }

func (c createOf) shape() shape {
	var zero PartCreate
	return shape{kind: "either", doc: zero.about(), fields: describe[PartCreate, *PartCreate](), oneOf: []string{"text"}}
}

func (c createOf) decode(d *decoder, n *yaml.Node) {
	if n = d.follow(n); n == nil {
		return
	}
	if n.Kind == yaml.ScalarNode {
		d.value(&yaml.Node{Value: "create"}, n, &c.into.Function)
		return
	}
	before := len(d.problems)
	decodeObject[PartCreate, *PartCreate](d, n, n, c.into)
	if len(d.problems) == before && (*c.into == PartCreate{} || c.into.Function != "" && c.into.SQL != "") {
		d.fail(n, "bad-parts", "create: name a function or sql, before or after; and not both of the first")
	}
}

// PartBy says which time decides.
type PartBy string

func (b *PartBy) choices() []string {
	return []string{"batch_time", "event_time", "current_time", "field"}
}
func (b *PartBy) set(s string) { *b = PartBy(s) }

// PartPeriod is what one part holds.
type PartPeriod string

func (p *PartPeriod) choices() []string { return []string{"hour", "day", "month", "year"} }
func (p *PartPeriod) set(s string)      { *p = PartPeriod(s) }

// PartRows says what updates and deletes do.
type PartRows string

func (r *PartRows) choices() []string { return []string{"plain", "keep_all", "keep_latest"} }
func (r *PartRows) set(s string) {
	if *r = PartRows(s); s == "plain" {
		*r = ""
	}
}

// partsOf reads a mapping.
type partsOf struct{ into **Parts }

func (p partsOf) shape() shape {
	var zero Parts
	return shape{kind: "mapping", doc: zero.about(), fields: describe[Parts, *Parts]()}
}

func (p partsOf) decode(d *decoder, n *yaml.Node) {
	got, before := &Parts{}, len(d.problems)
	decodeObject[Parts, *Parts](d, n, n, got)
	if got.By != "" && got.Period == "" {
		got.Period = "day"
	}
	switch {
	case len(d.problems) > before:
	case got.By == "" && (got.Period != "" || got.Retention != "" || got.Create != PartCreate{} || got.SkipOld) || got.By == "" && got.Rows == "" && len(got.Events) == 0:
		d.fail(n, "bad-parts", "parts: say which time decides, by: event_time, batch_time, current_time or field")
	case (got.By == "field") != (got.Field != ""):
		d.fail(n, "bad-parts", "parts: field: and by: field belong together")
	case got.SkipOld && got.Retention == "":
		d.fail(n, "bad-parts", "parts: skip_old needs a retention")
	}
	for _, op := range got.Events {
		if op != "I" && op != "U" && op != "D" {
			d.fail(n, "bad-parts", "parts: events are I, U and D, not %s", op)
		}
	}
	*p.into = got
}
