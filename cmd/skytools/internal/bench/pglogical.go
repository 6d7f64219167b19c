package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/sandbox"
)

// errNoPglogical is the result of figures without their peer.
var errNoPglogical = errors.New("the server has no extension pglogical (Debian's package postgresql-15-pglogical)")

// pglogicalPlugin decodes the log for it.
const pglogicalPlugin = "pglogical_output"

// withPglogical lets a server load pglogical, if it is installed. It does nothing in databases
// without the extension.
func withPglogical(ctx context.Context, s *sandbox.Server) (there bool, err error) {
	conn, err := pg.Dial(ctx, s.DSN("postgres"), pg.Options{})
	if err != nil {
		return false, err
	}
	defer conn.Close()
	there, err = pg.One[bool](ctx, conn, "select exists (select from pg_available_extensions where name = 'pglogical')")
	if err != nil || !there {
		return false, err
	}
	if err := conn.Script(ctx, "alter system set shared_preload_libraries = 'pglogical'"); err != nil {
		return false, err
	}
	s.Halt()
	return true, s.Resume(ctx)
}

// publishes makes a database a provider of tables, whose changes it has from then on.
func publishes(ctx context.Context, conn *pg.Conn, dsn string, tables ...string) error {
	text := "create extension pglogical; select pglogical.create_node('provider', " + sql.Literal(dsn) + ");"
	for _, table := range tables {
		text += "select pglogical.replication_set_add_table('default', " + sql.Literal(table) + ");"
	}
	if err := conn.Script(ctx, text); err != nil {
		return fmt.Errorf("make a provider of pglogical: %w", err)
	}
	return nil
}

// subscribed makes a database a subscriber of a provider, with its rows or without.
func subscribed(ctx context.Context, conn *pg.Conn, dsn, provider string, rows bool) error {
	if err := conn.Script(ctx, "create extension if not exists pglogical"); err != nil {
		return err
	}
	_, err := conn.Exec(ctx, "select pglogical.create_node('subscriber', $1) where not exists (select from pglogical.local_node)", dsn)
	if err == nil {
		_, err = conn.Exec(ctx, "select pglogical.create_subscription('s', $1, synchronize_data := $2)", provider, rows)
	}
	if err == nil {
		err = until(ctx, conn, "select coalesce(bool_and(sync_status = 'r'), false) from pglogical.local_sync_status")
	}
	if err != nil {
		return fmt.Errorf("make a subscriber of pglogical: %w", err)
	}
	return nil
}

// byPglogical copies the tables with pglogical's initial synchronisation.
func (b *copyBench) byPglogical(ctx context.Context) (float64, error) {
	if b.logical == nil {
		return 0, nil
	}
	took, err := b.timed(ctx, b.logical, func() error {
		return subscribed(ctx, b.logical, b.down.DSN("logical"), b.up.DSN("source"), true)
	})
	if err == nil {
		_, err = b.logical.Exec(ctx, "select pglogical.drop_subscription('s')")
	}
	return took, err
}

// pglogical replays with pglogical. Its subscription is made after the changes, and then put
// back to where they begin: the slot, and the position that the subscriber remembers.
func (b *backlog) pglogical(ctx context.Context) (float64, error) {
	begin := b.name + "_begin"
	prepare := func(conn *pg.Conn) error {
		if err := subscribed(ctx, conn, b.server.DSN(b.leafName()), b.server.DSN(b.name+"_plain"), false); err != nil {
			return err
		}
		if _, err := conn.Exec(ctx, "select pglogical.alter_subscription_disable('s', true)"); err != nil {
			return err
		}
		slot, err := pg.One[string](ctx, conn, "select slot_name::text from pglogical.show_subscription_status('s')")
		if err != nil {
			return err
		}
		if err := dropSlot(ctx, b.plain, slot); err != nil {
			return err
		}
		at, err := pg.One[string](ctx, b.plain, "select confirmed_flush_lsn::text from pg_replication_slots where slot_name = $1", begin)
		if err == nil {
			_, err = b.plain.Exec(ctx, "select pg_copy_logical_replication_slot($1, $2)", begin, slot)
		}
		if err == nil {
			_, err = conn.Exec(ctx, "select pg_replication_origin_advance($1, $2::text::pg_lsn)", slot, at)
		}
		return err
	}
	return b.run(ctx, "native", prepare, func(during context.Context) error {
		admin, err := pg.Dial(ctx, b.server.DSN(b.leafName()), pg.Options{})
		if err != nil {
			return err
		}
		defer admin.Close()
		if _, err := admin.Exec(ctx, "select pglogical.alter_subscription_enable('s', true)"); err != nil {
			return err
		}
		<-during.Done()
		_, err = admin.Exec(ctx, "select pglogical.drop_subscription('s')")
		return err
	})
}

// dropSlot waits until nobody uses a slot any more, for a few seconds.
func dropSlot(ctx context.Context, conn *pg.Conn, slot string) (err error) {
	for range 100 {
		if _, err = conn.Exec(ctx, "select pg_drop_replication_slot($1)", slot); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}
