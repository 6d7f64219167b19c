package main

import (
	"context"
	"fmt"

	"github.com/skytools-go/skytools/runners/cascade"
	"github.com/skytools-go/skytools/runners/tick"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgq"
	"github.com/skytools-go/skytools/sql/pgqcoop"
	"github.com/skytools-go/skytools/sql/pgqnode"
	"github.com/skytools-go/skytools/sql/sandbox"
)

// A followed is a root and a leaf that has its table t, in sync; nothing runs yet.
type followed struct {
	server     *sandbox.Server
	name       string // of the root's database
	root, leaf *pg.Conn
}

// newFollowed makes both with all that is ours. The script makes the table public.t, and
// what is in it, on each.
func newFollowed(ctx context.Context, name, script string) (*followed, error) {
	s, err := onReplica(ctx)
	if err != nil {
		return nil, err
	}
	f := &followed{server: s, name: name}
	schemas := install(pgq.Schema, pgqcoop.Schema, pgqnode.Schema, londiste.Schema)
	here, there := sql.Literal(s.DSN(name)), sql.Literal(s.DSN(f.leafName()))
	f.root, err = database(ctx, s, name, schemas+";\n"+script+fmt.Sprintf(`;
		select pgq_node.register_location('shop', 'root', %[1]s, false), pgq_node.register_location('shop', 'leaf', %[2]s, false),
		       pgq_node.create_node('shop', 'root', 'root', 'root', null, null, null);
		select pgq.set_queue_config('shop', 'ticker_max_lag', '50 ms');
		select pgq_node.register_subscriber('shop', 'leaf', 'leaf', null);
		select londiste.local_add_table('shop', 'public.t');
		select pgq.create_capture('shop', 'public.t', '_londiste_shop', '{}')`, here, there))
	if err != nil {
		return nil, err
	}
	begin, err := pg.One[int64](ctx, f.root, "select last_tick from pgq.get_consumer_info('shop', 'leaf')")
	if err != nil {
		return nil, err
	}
	f.leaf, err = database(ctx, s, f.leafName(), schemas+";\n"+script+fmt.Sprintf(`;
		select pgq_node.register_location('shop', 'root', %[1]s, false), pgq_node.register_location('shop', 'leaf', %[2]s, false),
		       pgq_node.create_node('shop', 'leaf', 'leaf', 'leaf', 'root', %[3]d, null);
		select londiste.global_add_table('shop', 'public.t');
		select londiste.local_add_table('shop', 'public.t', array['expect_sync'])`, here, there, begin))
	return f, err
}

func (f *followed) leafName() string { return f.name + "_leaf" }

// tick runs our ticker until ctx ends, replay the leaf's worker.
func (f *followed) tick(ctx context.Context) error {
	return tick.New(tick.Config{DSN: f.dsn(f.name)}).Run(ctx)
}

func (f *followed) replay(ctx context.Context) error {
	return cascade.New(cascade.Config{Queue: "shop", DSN: f.dsn(f.leafName())}).Run(ctx)
}

func (f *followed) dsn(database string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return f.server.DSN(database), nil }
}
