package spec

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

func (s *Set) about() string {
	return "A cluster: the queues, replicated tables and databases that one team looks after."
}

func (s *Set) fields() []Field[Set] {
	return []Field[Set]{
		{Name: "skytools", Doc: "Version of this format.", Example: "1", Into: func(s *Set) any { return versionOf{&s.Version} }},
		{Name: "cluster", Doc: "Name of the owner. It is the key of the lock that apply takes, and it is recorded beside every managed object.",
			Example: "shop", Into: func(s *Set) any { return onceOf{&s.Cluster} }},
		{Name: "databases", Doc: "The databases to manage, by the name that everything else here calls them.", Example: "{hub: {dsn: {env: HUB_DSN}}}",
			Into: func(s *Set) any { return namedOf[Database, *Database]{&s.Databases, "database", plainName} }},
		{Name: "queues", Doc: "PgQ queues, by name: plain ones with on:, cascades with nodes:.", Example: "{audit: {on: hub}}",
			Into: func(s *Set) any { return namedOf[Queue, *Queue]{&s.Queues, "queue", queueName} }},
		{Name: "archives", Doc: "Where WAL is kept, by name.", Example: `{wal: {of: hub, stores: [{url: "file:///srv/wal"}]}}`,
			Into: func(s *Set) any { return namedOf[Archive, *Archive]{&s.Archives, "archive", plainName} }},
		{Name: "standbys", Doc: "Servers that follow others, by name.", Example: "{b: {of: hub, dsn: service=b, data_dir: /srv/pg}}",
			Into: func(s *Set) any { return namedOf[Standby, *Standby]{&s.Standbys, "standby", standbyName} }},
		{Name: "allow", Doc: "Standing approvals of hazards.",
			Example: "[{drops-consumer: consumer/audit/old_report@hub, because: replaced by report-v2, until: 2026-09-30}]", Into: func(s *Set) any { return allowList{&s.Allow} }},
		{Name: "ignore", Doc: "Known drift that is not reported until a date.",
			Example: `[{address: "queue/*@hub", field: rotation_period, until: 2026-09-30}]`, Into: func(s *Set) any { return ignoreList{&s.Ignore} }},
	}
}

// plainName is the rule for names that people type in addresses and flags.
func plainName(d *decoder, key *yaml.Node) bool {
	for _, r := range key.Value {
		if r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			d.fail(key, "bad-name", "%q: use letters, digits, - and _; it is a name for addresses, not the name of the database on the server", key.Value)
			return false
		}
	}
	return true
}

// queueName is the rule for queues: orders/mailer is a consumer of orders, so the
// first slash must be that one.
func queueName(d *decoder, key *yaml.Node) bool {
	if strings.Contains(key.Value, "/") {
		d.fail(key, "bad-name", "%q: the name of a queue cannot hold a slash here: in addresses it ends at the first one", key.Value)
		return false
	}
	return true
}

// versionOf reads the version of the format, which every file may state.
type versionOf struct{ into *int }

func (v versionOf) shape() shape { return shape{kind: "number"} }

func (v versionOf) decode(d *decoder, n *yaml.Node) {
	if n = d.follow(n); n == nil {
		return
	}
	if n.Tag != "!!int" || n.Value != strconv.Itoa(Format) {
		found := n.Value
		if n.Tag != "!!int" {
			found = d.kindName(n) + ", which is no number"
		}
		d.fail(n, "bad-version", "skytools: this program reads format %d, found %s", Format, found)
		return
	}
	*v.into = Format
}

// onceOf reads a text that several files may state, if they agree.
type onceOf struct{ into *string }

func (o onceOf) shape() shape { return shape{kind: "text"} }

func (o onceOf) decode(d *decoder, n *yaml.Node) {
	if n = d.follow(n); n == nil {
		return
	}
	var text string
	if n.Kind != yaml.ScalarNode {
		d.fail(n, "not-a-value", "cluster: expected a name, found %s", d.kindName(n))
		return
	}
	d.text(&yaml.Node{Value: "cluster"}, n, &text)
	if *o.into != "" && *o.into != text {
		d.fail(n, "declared-twice", "cluster: another file says %q", *o.into)
		return
	}
	*o.into = text
}

// sort orders the objects by name, and the objects inside them.
func (all Named[T]) sort() {
	slices.SortFunc(all, func(a, b T) int { return cmp.Compare(headOf(&a).Name, headOf(&b).Name) })
	for i := range all {
		if inner, ok := any(&all[i]).(interface{ sortInside() }); ok {
			inner.sortInside()
		}
	}
}
