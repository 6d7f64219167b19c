package cli

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/planner/render"
	"github.com/skytools-go/skytools/runners/compare"
	"github.com/skytools-go/skytools/runners/status"
	"github.com/skytools-go/skytools/spec"
)

// A followed table is one on a node that follows another one.
type followed struct {
	address     planner.Address
	queue, name string
	state       string // as status says
	above       string // the database to compare with
	problem     string // why nobody can look at it
	ignore      []string
}

// tableGlob is what a person has named: an address, or the name of a table with or
// without its queue. A name without a schema is one of public.
func tableGlob(text string) string {
	rest, node, hasNode := strings.Cut(strings.TrimPrefix(text, "table/"), "@")
	queue, name, hasQueue := strings.Cut(rest, "/")
	if !hasQueue {
		queue, name = "*", rest
	}
	if !strings.ContainsAny(name, ".*?") {
		name = "public." + name
	}
	if hasNode {
		node = "@" + node
	}
	return "table/" + queue + "/" + name + node
}

// follow finds the tables that match the globs, none: all, on the nodes named, none: all.
// Tables of databases that cannot be read are those that are declared.
func (a *app) follow(ctx context.Context, set *spec.Set, verb string, globs, nodes []string, from string) ([]followed, error) {
	if from != "provider" && from != "root" {
		return nil, usage("%s: --from %s: provider or root", verb, from)
	}
	for _, n := range nodes {
		if set.Database(n) == nil {
			err := usage("%s: --node %s: there is no such database", verb, n)
			if near := spec.Nearest(n, set.Databases.Names()); near != "" {
				err = usage("%s: --node %s: there is no such database; did you mean %s?", verb, n, near)
			}
			return nil, err
		}
	}
	r := status.Collect(ctx, sources(set), a.timeout)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	all := candidates(set, r, from)
	var chosen []followed
	for _, glob := range globs {
		found := false
		for _, t := range all {
			if (t.address.Match(glob) || t.address.Match(tableGlob(glob))) && (len(nodes) == 0 || slices.Contains(nodes, t.address.Database)) {
				found = true
				if !slices.ContainsFunc(chosen, func(c followed) bool { return c.address == t.address }) {
					chosen = append(chosen, t)
				}
			}
		}
		if !found {
			return nil, noTable(verb, tableGlob(glob), all)
		}
	}
	if len(globs) == 0 {
		for _, t := range all {
			if len(nodes) == 0 || slices.Contains(nodes, t.address.Database) {
				chosen = append(chosen, t)
			}
		}
		if len(chosen) == 0 {
			return nil, &codeError{code: exitError, message: verb + ": there is no replicated table", hint: "skytools status lists what there is"}
		}
	}
	slices.SortFunc(chosen, func(x, y followed) int { return strings.Compare(x.address.String(), y.address.String()) })
	return chosen, nil
}

// noTable names the nearest table.
func noTable(verb, glob string, all []followed) error {
	var names []string
	for _, t := range all {
		switch {
		case strings.Contains(glob, "@"):
			names = append(names, t.address.String(), "table/*/"+t.name+"@"+t.address.Database)
		default:
			names = append(names, t.address.Short(), "table/*/"+t.name)
		}
	}
	message := fmt.Sprintf("%s: no replicated table below a root matches %s", verb, render.Clean(glob))
	if near := spec.Nearest(glob, names); near != "" {
		message += "; did you mean " + render.Clean(strings.TrimPrefix(near, "table/*/")) + "?"
	}
	return &codeError{code: exitError, message: message, hint: "skytools status lists what there is"}
}

// candidates are all tables below roots.
func candidates(set *spec.Set, r *status.Report, from string) []followed {
	var all []followed
	unread := map[string]string{}
	for _, d := range r.Databases {
		if d.Error != "" {
			unread[d.Name] = d.Error
		}
		for _, n := range d.Nodes {
			if n.Type == "root" {
				continue
			}
			for _, t := range n.Tables {
				f := followed{address: planner.Address{Kind: "table", Name: n.Queue + "/" + t.Name, Database: d.Name}, queue: n.Queue, name: t.Name, state: t.State}
				f.ignore = ignored(set, n.Queue, t.Name)
				f.above = above(r, n, from)
				if f.above == "" {
					f.problem = fmt.Sprintf("its %s is in none of the databases that could be read", from)
					for name, err := range unread {
						f.problem += fmt.Sprintf("; %s: %s", name, err)
					}
				}
				all = append(all, f)
			}
		}
	}
	for _, address := range planner.Addresses(set) {
		why, lost := unread[address.Database]
		queue, name, _ := strings.Cut(address.Name, "/")
		q := set.Queues.Get(queue)
		if !lost || address.Kind != "table" || q == nil || q.Root() != nil && q.Root().Name == address.Database {
			continue
		}
		all = append(all, followed{address: address, queue: queue, name: name, state: "unknown", problem: why})
	}
	return all
}

// above is the database of a node's provider, or of its root.
func above(r *status.Report, n status.Node, from string) string {
	for _, d := range r.Databases {
		for _, other := range d.Nodes {
			if other.Queue == n.Queue && (from == "provider" && other.Name == n.Provider || from == "root" && other.Type == "root") {
				return d.Name
			}
		}
	}
	return ""
}

// ignored are the columns that the YAML does not replicate.
func ignored(set *spec.Set, queue, table string) []string {
	q := set.Queues.Get(queue)
	if q == nil {
		return nil
	}
	if t := q.Tables.Get(table); t != nil {
		return t.Ignore
	}
	for _, t := range q.Tables {
		if ok, err := path.Match(t.Name, table); t.Pattern() && ok && err == nil {
			return t.Ignore
		}
	}
	return nil
}

// comparison is how the table is compared.
func (f *followed) comparison(set *spec.Set) compare.Config {
	place := func(name string) compare.Place {
		return compare.Place{Name: name, DSN: func(ctx context.Context) (string, error) { return dsn(set)(ctx, name) }}
	}
	return compare.Config{Queue: f.queue, Table: f.name, Subscriber: place(f.address.Database), Provider: place(f.above), Ignore: f.ignore}
}
