package cascade_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/skytools-go/skytools/runners/cascade"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgqnode"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// modelTables have keys of several kinds. Rows are (key, u unique, v): keys come
// from a small set, so that folding has work.
var modelTables = []struct {
	name, key string
	args      []string
	keyOf     func(i int) string // SQL for the ith key
}{
	{"public.ints", "k int primary key", nil, func(i int) string { return fmt.Sprint(i) }},
	{"public.urls", "k text primary key", []string{"tgflags=L"}, func(i int) string { return sql.Literal(fmt.Sprintf("k'\" &%%=+\\ %d", i)) }},
	{"public.sqls", "k text primary key", []string{"tgflags=Q"}, func(i int) string { return sql.Literal(fmt.Sprintf("k'\" \\ %d", i)) }},
	{"public.jsons", "k text primary key", []string{"tgflags=J"}, func(i int) string { return sql.Literal(fmt.Sprintf("k'\" \\ %d", i)) }},
	{"public.nums", "k numeric primary key", nil, func(i int) string { return fmt.Sprintf("%d.5%s", i/3, []string{"", "0", "00"}[i%3]) }},
	{"public.times", "k timestamptz primary key", nil, func(i int) string {
		return fmt.Sprintf("'2020-01-01 %02d:00:00+%02d'", 12+i%3, i%3)
	}},
	{"public.floats", "k float8 primary key", []string{"tgflags=L"}, func(i int) string { return []string{"'0'", "'-0'", "1.5", "'NaN'"}[i%4] }},
	{`public.we"ird; drop table x`, "k int primary key", nil, func(i int) string { return fmt.Sprint(i) }},
}

// TestModel replays random histories with restarts and lost connections; the
// root's rows are the model.
func TestModel(t *testing.T) {
	t.Parallel()
	for _, seed := range []uint64{1, 2, 3} {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { model(t, seed) })
	}
}

func model(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 0))
	s := sandboxtest.Server(t)
	root := newRoot(t, s, "root")
	branch := root.add(s, root, "branch", pgqnode.Branch)
	leaf := branch.add(s, root, "leaf", pgqnode.Leaf)
	drainAll := func() {
		for _, n := range []*node{branch, leaf} {
			w := cascade.New(n.config())
			drain(t, w)
			w.Close()
		}
	}
	var tables []string
	for _, m := range modelTables {
		tables = append(tables, m.name)
		for _, n := range []*node{root, branch, leaf} {
			n.run("create table " + sql.ParseName(m.name).Ident() + " (" + m.key + ", u int unique, v text)")
		}
		root.addTable(m.name, londiste.AddTable{Args: m.args})
	}
	root.tick()
	drainAll()
	for _, n := range []*node{branch, leaf} {
		for _, name := range tables {
			n.addTable(name, londiste.AddTable{Args: []string{"expect_sync"}})
		}
	}
	for range 25 {
		for range 1 + rnd.IntN(6) {
			root.run(history(rnd, 1+rnd.IntN(40)))
		}
		if rnd.IntN(4) > 0 {
			root.tick()
		}
		for _, n := range []*node{branch, leaf} {
			ctx := t.Context()
			if rnd.IntN(2) == 0 {
				ctx = pg.WithFault(context.Background(), &pg.Fault{Nth: 1 + rnd.IntN(40), After: rnd.IntN(2) == 0})
			}
			w := cascade.New(n.config())
			for range rnd.IntN(3) {
				w.RunOnce(ctx)
			}
			w.Close()
		}
	}
	root.tick()
	drainAll()
	sameTables(t, root, branch, tables...)
	sameTables(t, root, leaf, tables...)
	sameQueues(t, root, branch)
}

// history is one transaction of n statements, as a DO block in which a statement
// that a unique key refuses is left out.
func history(rnd *rand.Rand, n int) string {
	text := ""
	for range n {
		m := modelTables[rnd.IntN(len(modelTables))]
		name, key := sql.ParseName(m.name).Ident(), m.keyOf(rnd.IntN(12))
		u, v := fmt.Sprint(rnd.IntN(20)), sql.Literal(fmt.Sprintf("v %d \\ '\n\t\"&=%%", rnd.IntN(100)))
		if rnd.IntN(5) == 0 {
			u = "null"
		}
		if rnd.IntN(5) == 0 {
			v = "null"
		}
		var stmt string
		switch rnd.IntN(20) {
		case 0, 1, 2, 3, 4, 5, 6, 7:
			stmt = fmt.Sprintf("insert into %s values (%s, %s, %s)", name, key, u, v)
		case 8, 9, 10, 11, 12, 13:
			stmt = fmt.Sprintf("update %s set u = %s, v = %s where k = %s", name, u, v, key)
		case 14:
			stmt = fmt.Sprintf("update %s set v = v || 'x'", name)
		case 15, 16, 17, 18:
			stmt = fmt.Sprintf("delete from %s where k = %s", name, key)
		default:
			if stmt = fmt.Sprintf("delete from %s where k = %s; insert into %s values (%s, %s, %s)", name, key, name, key, u, v); rnd.IntN(10) == 0 {
				stmt = "truncate " + name
			}
		}
		text += "begin " + stmt + "; exception when unique_violation then null; end;\n"
	}
	zone := []string{"UTC", "Europe/Tallinn", "America/New_York"}[rnd.IntN(3)]
	return "set timezone = '" + zone + "'; do $history$ begin " + text + " end $history$; set timezone = 'UTC'"
}
