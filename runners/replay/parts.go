package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
)

// route adds an event of a table that is spread over parts to the part that it belongs
// to, which is made if it is missing. A row of another time is not looked for: an update
// or delete whose row is not in the part is nothing special, unless on_missing says so.
//
// Source: contract/londiste.md section 4.4.
func (a *Applier) route(ctx context.Context, t *target, e *Event, k *kind) error {
	s := t.Parts
	if len(s.Events) > 0 && !slices.Contains(s.Events, string(k.op)) || s.Rows == "keep_all" && k.op == opDelete {
		a.Stats.Ignored.Add(1)
		return nil
	}
	part, err := a.partOf(ctx, t, e, k)
	if err != nil {
		return a.wrong(e, err)
	}
	if part == nil {
		a.Stats.Ignored.Add(1)
		return nil
	}
	ops := []byte{k.op}
	switch {
	case s.Rows == "keep_latest" && k.op == opUpdate:
		ops = []byte{opDelete, opInsert}
	case s.Rows == "keep_all":
		ops = []byte{opInsert}
	}
	if len(ops) > 1 || ops[0] != k.op {
		if k.format == formatSQL {
			return a.wrong(e, fmt.Errorf("rows: %s needs whole rows, which sqltriga does not write: use logutriga or jsontriga", s.Rows))
		}
	}
	for _, op := range ops {
		as := *k
		as.op = op
		if err := part.add(a, e, &as); err != nil {
			return a.wrong(e, err)
		}
		if s.Rows == "keep_all" { // each version is a row of its own
			part.changes[len(part.changes)-1].key = fmt.Sprint("#", e.ID)
		}
	}
	return a.took(ctx, e)
}

// partOf is the part of an event; nil: it is obsolete, and its events are left out.
func (a *Applier) partOf(ctx context.Context, t *target, e *Event, k *kind) (*target, error) {
	s, dest, at := t.Parts, t.Dest, ""
	if s.By != "" {
		var err error
		if at, err = a.timeOf(t, e, k); err != nil {
			return nil, err
		}
		dest.Rel += suffixOf(at, s.Period)
	}
	name := "part " + t.Name + " " + dest.Rel // no name of a table begins so
	if part, known := a.targets[name]; known {
		return part, nil
	}
	if err := a.Flush(ctx); err != nil { // into parts that may be dropped now
		return nil, err
	}
	if s.By != "" {
		ready, err := a.makePart(ctx, t, dest, at, k)
		if err != nil || !ready {
			if err == nil {
				a.targets[name] = nil
			}
			return nil, err
		}
	}
	table := *t.Table
	table.Dest, table.Parts = dest, nil
	if table.OnMissing == "" {
		table.OnMissing = londiste.MissingIgnore
	}
	part := &target{Table: &table, writers: map[writerKey]*writer{}}
	var err error
	if part.rel, err = Describe(ctx, a.tx, dest); err == nil {
		a.targets[name] = part
	}
	return part, err
}

// makePart makes a part that is missing, and drops those that are too old then. It
// reports false for one that would be too old itself, where such rows are left out.
func (a *Applier) makePart(ctx context.Context, t *target, dest sql.Name, at string, k *kind) (bool, error) {
	s := t.Parts
	if s.SkipOld != "" {
		old, err := pg.One[bool](ctx, a.tx, "select coalesce(londiste.is_obsolete_partition($1, $2::text::interval, $3), false)", dest.String(), s.Retention, s.Period)
		if err != nil || old {
			return false, err
		}
	}
	exists := func() (bool, error) {
		return pg.One[bool](ctx, a.tx, "select to_regclass($1) is not null", dest.Ident())
	}
	there, err := exists()
	if err == nil && !there && s.Templates() { // of two nodes in this database, one makes it
		if _, err = a.tx.Exec(ctx, "select pg_advisory_xact_lock(hashtextextended('skytools part ' || $1, 0))", dest.String()); err == nil {
			there, err = exists()
		}
	}
	if err != nil || there {
		return there, err
	}
	if err = a.create(ctx, t, dest, at, k); err == nil {
		if there, err = exists(); err == nil && !there {
			err = errors.New("it is not there after what should make it")
		}
	}
	if err == nil && s.Retention != "" {
		a.Forget()
		_, err = a.tx.Exec(ctx, "select londiste.drop_obsolete_partitions($1, $2::text::interval, $3)", t.Dest.String(), s.Retention, s.Period)
	}
	if err != nil {
		return false, fmt.Errorf("make part %s: %w", dest, err)
	}
	return true, nil
}

// create makes a part by a function or by SQL, and runs what comes before and after.
func (a *Applier) create(ctx context.Context, t *target, dest sql.Name, at string, k *kind) error {
	s := t.Parts
	field, keys := "", []string{}
	if s.Field != "" {
		field = t.Here(s.Field)
	}
	for _, key := range k.keys {
		if here := t.Here(key); here != "" {
			keys = append(keys, here)
		}
	}
	var texts map[string]string
	if s.Templates() {
		var err error
		if texts, err = a.partTexts(ctx, t, dest, at, field, keys); err != nil {
			return err
		}
	}
	if err := a.template(ctx, "before", s.Before, texts); err != nil {
		return err
	}
	create := cmp.Or(s.Create, londiste.CreatePart)
	if s.SQL != "" {
		if err := a.template(ctx, "sql", s.SQL, texts); err != nil {
			return err
		}
	} else if _, err := a.tx.Exec(ctx, "select "+sql.ParseName(create).Ident()+"($1::text, $2::text, $3::text, $4::text, $5::text::timestamptz, $6::text)",
		t.Dest.String(), dest.String(), strings.Join(keys, ","), field, at, s.Period); err != nil {
		return err
	}
	return a.template(ctx, "after", s.After, texts)
}

// template runs SQL of the user's.
func (a *Applier) template(ctx context.Context, key, template string, texts map[string]string) error {
	if template == "" {
		return nil
	}
	text, err := sql.Template(template).Fill(texts)
	if err == nil {
		_, err = a.tx.Run(ctx, sql.Stmt{Text: text})
	}
	if err != nil {
		return fmt.Errorf("create: %s: %w", key, err)
	}
	return nil
}

// partTexts are what templates have places for. Names are quoted where they need it, as
// the original does: [londiste.PartTexts].
func (a *Applier) partTexts(ctx context.Context, t *target, dest sql.Name, at, field string, keys []string) (map[string]string, error) {
	q, err := pg.Rows[string](ctx, a.tx, "select quote_ident(name) from unnest($1::text[]) with ordinality u (name, n) order by n",
		append([]string{dest.Schema, dest.Rel, t.Dest.Schema, t.Dest.Rel, field}, keys...))
	if err != nil {
		return nil, err
	}
	part := q[0] + "." + q[1]
	texts := map[string]string{"part": part, "dest": part, "parent": q[2] + "." + q[3], "pkeys": strings.Join(q[5:], ","), "part_time": at, "period": t.Parts.Period}
	if field != "" {
		texts["part_field"] = q[4]
	}
	if flat := strings.ReplaceAll(part, ".", "__"); sql.Plain(flat) {
		texts["schema_table"] = flat
	}
	return texts, nil
}

var timeText = regexp.MustCompile(`^\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d)?|$)`)

// timeOf is the time that an event is filed under: what its text says, without its zone.
func (a *Applier) timeOf(t *target, e *Event, k *kind) (string, error) {
	text := ""
	switch t.Parts.By {
	case "event_time":
		text = string(e.When())
	case "batch_time":
		text = a.Batch.Time
	case "current_time":
		text = time.Now().UTC().Format(time.DateTime)
	default:
		fields, _, err := k.decode(e.Data, nil)
		if err != nil {
			return "", fmt.Errorf("read its data: %w", err)
		}
		for i, name := range names(fields) {
			if name == t.Parts.Field {
				text, _, _ = textOf(fields[i].value)
			}
		}
	}
	if !timeText.MatchString(text) {
		return "", fmt.Errorf("%.60q is no time to choose a part by", text)
	}
	text = strings.Replace(text, "T", " ", 1)
	return (text + " 00:00:00")[:19], nil
}

// suffixOf is what a part's name has more than its parent's.
func suffixOf(at, period string) string {
	end := map[string]int{"year": 4, "month": 7, "day": 10, "hour": 13}[period]
	return "_" + strings.NewReplacer("-", "_", " ", "_").Replace(at[:end])
}
