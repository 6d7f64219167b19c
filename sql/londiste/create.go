package londiste

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/skytools-go/skytools/sql"
)

// A Mode says how much of a table [CreateTable] makes.
type Mode int

const (
	// TableOnly makes what rows need to arrive: columns and primary key. Defaults
	// that use a sequence are left out, and so is partitioning: the rows of a
	// partitioned table arrive under its own name.
	TableOnly Mode = iota
	// Full also makes the sequences of defaults, unique, check and exclusion
	// constraints, indexes and partitioning. A partition is attached, so its
	// partitioned table must exist.
	Full
)

// CreateTable is the DDL that makes a table like s with the name as. It makes no
// foreign keys, as they need other tables, no triggers and no grants. Types,
// collations and functions that s names must exist.
func CreateTable(s Structure, as sql.Name, mode Mode) []sql.Stmt {
	b := builder{Structure: s, as: as, mode: mode}
	b.schema(as.Schema)
	if mode == Full {
		b.createSequences()
	}
	b.createTable()
	if mode == Full {
		b.ownSequences()
		b.addConstraints()
		b.createIndexes()
		b.attach()
	}
	return b.out
}

type builder struct {
	Structure
	as   sql.Name
	mode Mode
	out  []sql.Stmt
	made map[string]bool // schemas
}

func (b *builder) add(format string, args ...any) {
	b.out = append(b.out, sql.Exec(fmt.Sprintf(format, args...)))
}

// schema makes a schema once. public is there, or somebody dropped it on purpose
// and the next statement says so.
func (b *builder) schema(name string) {
	if name == "public" || b.made[name] {
		return
	}
	if b.made == nil {
		b.made = map[string]bool{}
	}
	b.made[name] = true
	b.add("create schema if not exists %s", sql.Ident(name))
}

func (b *builder) createSequences() {
	for _, q := range b.Sequences {
		if q.Identity {
			continue
		}
		name := sql.ParseName(q.Name)
		b.schema(name.Schema)
		b.add("create sequence if not exists %s as %s %s", name.Ident(), q.Type, options(q))
	}
}

// options are all options of a sequence, in full: a default of the server may
// differ from what the provider has.
func options(q TableSequence) string {
	cycle := "no cycle"
	if q.Cycle {
		cycle = "cycle"
	}
	return fmt.Sprintf("increment by %d minvalue %d maxvalue %d start with %d cache %d %s",
		q.Increment, q.Min, q.Max, q.Start, q.Cache, cycle)
}

func (b *builder) createTable() {
	var lines []string
	for _, c := range b.Columns {
		lines = append(lines, b.column(c))
	}
	if b.PrimaryKey != nil {
		lines = append(lines, "constraint "+sql.Ident(b.PrimaryKey.Name)+" "+b.PrimaryKey.definition())
	}
	partition := ""
	if b.partitioned() {
		partition = " partition by " + b.PartitionBy
	}
	body := ""
	if len(lines) > 0 {
		body = "\n    " + strings.Join(lines, ",\n    ") + "\n"
	}
	b.add("create table %s (%s)%s", b.as.Ident(), body, partition)
}

func (b *builder) partitioned() bool { return b.mode == Full && b.Kind == PartitionedTable }

func (b *builder) column(c Column) string {
	out := sql.Ident(c.Name) + " " + c.Type
	if c.Collation != "" {
		out += " collate " + c.Collation
	}
	switch {
	case c.Generated != "":
		out += " generated always as (" + c.Default + ") " + c.Generated
	case c.Identity != "":
		out += b.identity(c)
	case c.Default != "" && (b.mode == Full || !b.usesSequence(c.Name)):
		out += " default " + c.Default
	}
	if c.NotNull {
		out += " not null"
	}
	return out
}

// identity is nothing for a partition that is attached: from PostgreSQL 17 on it
// has the identity of its partitioned table, and before it can have none.
func (b *builder) identity(c Column) string {
	if b.mode == Full && b.PartitionOf != nil {
		return ""
	}
	out := " generated " + c.Identity + " as identity"
	for _, q := range b.Sequences {
		if q.Identity && q.Column == c.Name {
			out += " (" + options(q) + ")"
		}
	}
	return out
}

func (b *builder) usesSequence(column string) bool {
	for _, q := range b.Sequences {
		if q.Column == column && !q.Identity {
			return true
		}
	}
	return false
}

func (k PrimaryKey) definition() string {
	if k.Def != "" {
		return k.Def
	}
	quoted := make([]string, len(k.Columns))
	for i, c := range k.Columns {
		quoted[i] = sql.Ident(c)
	}
	return "primary key (" + strings.Join(quoted, ", ") + ")"
}

// ownSequences skips those of another schema: PostgreSQL allows an owner only in
// the sequence's own schema, and the table may have moved.
func (b *builder) ownSequences() {
	for _, q := range b.Sequences {
		name := sql.ParseName(q.Name)
		if q.Owned && !q.Identity && name.Schema == b.as.Schema {
			b.add("alter sequence %s owned by %s", name.Ident(), sql.Ident(b.as.Schema, b.as.Rel, q.Column))
		}
	}
}

func (b *builder) addConstraints() {
	for _, c := range b.Constraints {
		b.add("alter table %s add constraint %s %s", b.as.Ident(), sql.Ident(c.Name), c.Def)
	}
}

func (b *builder) createIndexes() {
	for _, x := range b.Indexes {
		unique := ""
		if x.Unique {
			unique = "unique "
		}
		b.add("create %sindex %s on %s %s", unique, sql.Ident(x.Name), b.as.Ident(), x.Def)
	}
}

func (b *builder) attach() {
	if of := b.PartitionOf; of != nil {
		b.add("alter table %s attach partition %s %s", sql.ParseName(of.Name).Ident(), b.as.Ident(), of.Bound)
	}
}

// A Difference is one detail in which two tables differ. Provider or Subscriber is
// empty where that side has nothing there.
type Difference struct {
	Path       string // column.NAME, column.NAME.type, primary_key, index.NAME, ...
	Provider   string
	Subscriber string
}

// Differences compares two tables in all that [CreateTable] makes in [Full] mode
// and in their foreign keys: columns by name, in the provider's order, then the
// rest by name. The names of the tables and sequences and the order of columns
// are no difference; nil means alike.
func Differences(provider, subscriber Structure) []Difference {
	var d differ
	d.compare("kind", provider.Kind, subscriber.Kind)
	d.columns(provider, subscriber)
	d.compare("primary_key", keyText(provider.PrimaryKey), keyText(subscriber.PrimaryKey))
	d.named("constraint", constraintTexts(provider), constraintTexts(subscriber))
	d.named("fkey", fkeyTexts(provider), fkeyTexts(subscriber))
	d.named("index", indexTexts(provider), indexTexts(subscriber))
	d.named("sequence", sequenceTexts(provider), sequenceTexts(subscriber))
	d.compare("partition_by", provider.PartitionBy, subscriber.PartitionBy)
	d.compare("partition_of", partitionText(provider.PartitionOf), partitionText(subscriber.PartitionOf))
	return d
}

type differ []Difference

func (d *differ) compare(path, provider, subscriber string) {
	if provider != subscriber {
		*d = append(*d, Difference{path, provider, subscriber})
	}
}

// A detail is one named thing of a table and its definition.
type detail struct{ name, text string }

// named compares two lists by name: the provider's in its order, then what only
// the subscriber has.
func (d *differ) named(kind string, provider, subscriber []detail) {
	theirs := map[string]string{}
	for _, s := range subscriber {
		theirs[s.name] = s.text
	}
	seen := map[string]bool{}
	for _, p := range provider {
		seen[p.name] = true
		d.compare(kind+"."+p.name, p.text, theirs[p.name])
	}
	for _, s := range subscriber {
		if !seen[s.name] {
			d.compare(kind+"."+s.name, "", s.text)
		}
	}
}

func (d *differ) columns(provider, subscriber Structure) {
	theirs := map[string]Column{}
	for _, c := range subscriber.Columns {
		theirs[c.Name] = c
	}
	seen := map[string]bool{}
	for _, p := range provider.Columns {
		seen[p.Name] = true
		s, found := theirs[p.Name]
		path := "column." + p.Name
		if !found {
			d.compare(path, p.Type, "")
			continue
		}
		d.compare(path+".type", p.Type, s.Type)
		d.compare(path+".collation", p.Collation, s.Collation)
		d.compare(path+".not_null", strconv.FormatBool(p.NotNull), strconv.FormatBool(s.NotNull))
		d.compare(path+".default", p.Default, s.Default)
		d.compare(path+".identity", p.Identity, s.Identity)
		d.compare(path+".generated", p.Generated, s.Generated)
	}
	for _, s := range subscriber.Columns {
		if !seen[s.Name] {
			d.compare("column."+s.Name, "", s.Type)
		}
	}
}

func keyText(k *PrimaryKey) string {
	if k == nil {
		return ""
	}
	return k.definition()
}

func constraintTexts(s Structure) (all []detail) {
	for _, c := range s.Constraints {
		all = append(all, detail{c.Name, c.Def})
	}
	return all
}

func fkeyTexts(s Structure) (all []detail) {
	for _, k := range s.Fkeys {
		all = append(all, detail{k.Name, k.Def})
	}
	return all
}

func indexTexts(s Structure) (all []detail) {
	for _, x := range s.Indexes {
		text := x.Def
		if x.Unique {
			text = "UNIQUE " + text
		}
		all = append(all, detail{x.Name, text})
	}
	return all
}

func sequenceTexts(s Structure) (all []detail) {
	for _, q := range s.Sequences {
		text := q.Type + " " + options(q)
		if q.Owned {
			text += " owned"
		}
		if q.Identity {
			text += " identity"
		}
		all = append(all, detail{q.Column, text})
	}
	return all
}

func partitionText(p *PartitionOf) string {
	if p == nil {
		return ""
	}
	return p.Name + " " + p.Bound
}
