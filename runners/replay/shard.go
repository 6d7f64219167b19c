package replay

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
)

// Load is how a table's changes are applied on the node that q leads to.
func Load(ctx context.Context, q pg.Queryer, r *Registered) (*Table, error) {
	t, err := r.Table()
	if err != nil || t.Shard == nil || t.Shard.Number != nil {
		return t, err
	}
	type row struct{ Number, Of *int32 }
	conf, err := pg.Struct[row](ctx, q, `
		select coalesce(c ->> 'shard_nr', c ->> 'part_nr')::int4 as number,
		       coalesce((c ->> 'shard_count')::int4, (c ->> 'max_part')::int4 + 1) as of
		  from (select to_jsonb(p) as c from partconf.conf p limit 1) x`)
	if err == nil && (conf.Number == nil || conf.Of == nil) {
		err = errors.New("it says neither number nor count")
	}
	if err != nil {
		return nil, fmt.Errorf("read the node's shard from partconf.conf: %w", err)
	}
	s := *t.Shard
	s.Number, s.Of = new(int(*conf.Number)), new(int(*conf.Of))
	t.Shard = &s
	if err := s.Check(); err != nil {
		return nil, fmt.Errorf("partconf.conf: %w", err)
	}
	return t, nil
}

// LoadKeyed is [Load] for who applies the changes: it gives the table's mask the key that
// its hashes need. Key may be nil; then a mask that hashes is an error.
func LoadKeyed(ctx context.Context, q pg.Queryer, r *Registered, key func(context.Context) ([]byte, error)) (*Table, error) {
	t, err := Load(ctx, q, r)
	if err != nil || t.Mask == nil {
		return t, err
	}
	var secret []byte
	if key != nil {
		if secret, err = key(ctx); err != nil {
			return nil, err
		}
	}
	return t, t.UseKey(secret)
}

// Selected is the condition for the rows of the root that belong here; empty: all do.
func (t *Table) Selected() string {
	switch {
	case t.Shard == nil:
		return t.Where
	case t.Where == "":
		return t.Shard.Where()
	}
	return "(\n" + t.Where + "\n) and " + t.Shard.Where()
}

// Chooses reports whether an event is about a row that belongs to the node's shard. One
// without a hash is an error: nobody could say.
func (t *Table) Chooses(e *Event) (bool, error) {
	if t.Shard == nil || len(e.Type) == 1 && e.Type[0] == opTruncate {
		return true, nil
	}
	meta, err := londiste.ParseDict(string(e.Extra[2]))
	if err == nil && meta["hash"] == nil {
		err = errors.New("there is none; the root's triggers write it where shard: is declared there")
	}
	if err != nil {
		return false, fmt.Errorf("read the row's hash in ev_extra3: %w", err)
	}
	hash, err := strconv.ParseInt(meta.Get("hash"), 10, 64)
	if err != nil {
		return false, fmt.Errorf("read the row's hash in ev_extra3: %w", err)
	}
	return hash&int64(*t.Shard.Of-1) == int64(*t.Shard.Number), nil
}
