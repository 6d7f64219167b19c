package compare

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/skytools-go/skytools/runners"
	"github.com/skytools-go/skytools/runners/replay"
	"github.com/skytools-go/skytools/sql"
	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/pgqnode"
)

// A Statement puts one row of the subscriber right. It changes nothing where the row is
// not as it was found, and never more than one row.
type Statement struct {
	Table string `json:"table"`
	Kind  string `json:"kind"` // of the difference
	Text  string `json:"sql"`
}

// Statements are what puts the tables of one subscriber right, in an order that foreign
// keys can bear, as far as there is one: rows go from referring tables first, and come
// into referred ones first. Rows of one table that refer to each other keep the order of
// keys.
func Statements(results []*Result) []Statement {
	sorted := Ordered(results)
	var all []Statement
	for _, r := range slices.Backward(sorted) {
		all = append(all, r.statements(Extra)...)
	}
	for _, r := range sorted {
		all = append(append(all, r.statements(Changed)...), r.statements(Missing)...)
	}
	return all
}

// Ordered sorts tables of one subscriber so that those that others refer to come first; tables that
// refer to each other in a circle come by name.
func Ordered(results []*Result) []*Result {
	left := map[string]*Result{}
	for _, r := range results {
		left[r.Dest] = r
	}
	var sorted []*Result
	for len(left) > 0 {
		names := slices.Sorted(maps.Keys(left))
		free := slices.IndexFunc(names, func(name string) bool {
			return !slices.ContainsFunc(left[name].parents, func(p string) bool { return p != name && left[p] != nil })
		})
		name := names[max(free, 0)]
		sorted = append(sorted, left[name])
		delete(left, name)
	}
	return sorted
}

func (r *Result) statements(kind string) []Statement {
	var all []Statement
	for _, d := range r.Differences {
		if d.Kind == kind {
			for _, text := range r.here.mend(&d) {
				all = append(all, Statement{r.Dest, kind, text})
			}
		}
	}
	return all
}

// mend is the statements for one row: one, or two where a column cannot be set.
func (s *server) mend(d *Difference) []string {
	switch d.Kind {
	case Missing:
		return []string{s.insert(d)}
	case Extra:
		return []string{s.remove(d)}
	}
	var set []string
	for i, name := range s.shape.filled {
		if !slices.Contains(s.shape.compared, name) || same(d.want[i], d.have[i]) {
			continue
		}
		if s.Column(name).Always {
			return []string{s.remove(d), s.insert(d)}
		}
		set = append(set, sql.Ident(name)+" = "+literal(d.want[i].text))
	}
	return []string{"update " + s.From(s.name) + " t set " + strings.Join(set, ", ") + " where " + s.asFound(d)}
}

func (s *server) insert(d *Difference) string {
	return "insert into " + s.name.Ident() + " (" + strings.Join(each(s.shape.filled, func(name string) string { return sql.Ident(name) }), ", ") +
		") overriding system value select " + strings.Join(literals(d.want), ", ") +
		" where not exists (select 1 from " + s.From(s.name) + " t where " + strings.Join(s.withKey(d), " and ") + ")"
}

func (s *server) remove(d *Difference) string {
	return "delete from " + s.From(s.name) + " t where " + s.asFound(d)
}

func (s *server) withKey(d *Difference) []string {
	var all []string
	for i, name := range s.shape.key {
		all = append(all, "t."+sql.Ident(name)+" = "+sql.Literal(d.Row[i])+"::"+s.Column(name).Type)
	}
	return all
}

// asFound is the condition that the row still is what it was when it was compared.
func (s *server) asFound(d *Difference) string {
	all := s.withKey(d)
	for i, name := range s.shape.filled {
		switch v := d.have[i]; {
		case !slices.Contains(s.shape.compared, name) || slices.Contains(s.shape.key, name):
		case v.text == nil:
			all = append(all, "t."+sql.Ident(name)+" is null")
		case s.comparable(name):
			all = append(all, "t."+sql.Ident(name)+" = "+literal(v.text))
		default:
			all = append(all, s.canonical(name)+" = "+literal(v.canonical))
		}
	}
	return strings.Join(all, " and ")
}

// comparable reports whether = tells values apart exactly as their canonical texts do.
func (s *server) comparable(name string) bool {
	c := s.Column(name)
	switch c.Base {
	case "int2", "int4", "int8", "numeric", "float4", "float8", "bool", "uuid", "date", "timestamp", "timestamptz", "time", "bytea", "oid", "enum":
		return true
	case "text", "varchar":
		return c.Exact
	}
	return false
}

func literal(text *string) string {
	if text == nil {
		return "null"
	}
	return sql.Literal(*text)
}

func literals(row []value) []string {
	all := make([]string, len(row))
	for i, v := range row {
		all[i] = literal(v.text)
	}
	return all
}

// A Repaired is what a repair has done to one table.
type Repaired struct {
	Statements []Statement `json:"statements"` // that ran
	Unsettled  []Key       `json:"unsettled"`  // rows that were changed during every attempt: they were left alone
}

// together is how many rows one transaction puts right.
const together = 200

// Repair puts rows of one table right whose differences are of these kinds.
//
// The worker is not paused. Each transaction holds the row in which the worker stores its
// position, so that the subscriber stays at one tick until it commits. Then it compares
// the rows anew, at that tick, as [Table] does, and writes what the provider had at it;
// rows that are busy wait for another attempt. So nothing is overwritten that is newer
// than the comparison, and what is replayed later finds what it expects. The worker may
// hold locks on rows while it waits for its position: then the repair gives way, before
// the server would see a deadlock, and tries again.
func Repair(ctx context.Context, c Config, rows []Key, kinds ...string) (*Repaired, error) {
	t, err := open(ctx, c)
	if err != nil {
		return nil, err
	}
	defer t.close()
	if _, err := replay.Become(ctx, t.here, c.Queue); err != nil {
		return nil, err
	}
	done := &Repaired{Statements: []Statement{}, Unsettled: []Key{}}
	left := rows
	for round := 0; len(left) > 0 && round < t.Rounds; round++ {
		var busy []Key
		var last *point
		for part := range slices.Chunk(left, together) {
			p, found, ran, err := t.mendTogether(ctx, part, kinds)
			if err != nil {
				return done, err
			}
			busy, last = append(busy, found...), p
			done.Statements = append(done.Statements, ran...)
		}
		left = busy
		if len(left) > 0 && round+1 < t.Rounds {
			if err := t.passed(ctx, last); errors.Is(err, errStands) {
				break
			} else if err != nil {
				return done, err
			}
		}
	}
	done.Unsettled = append(done.Unsettled, left...)
	return done, nil
}

// mendTogether repairs some rows in one transaction, as soon as the worker lets it.
func (t *comparison) mendTogether(ctx context.Context, rows []Key, kinds []string) (p *point, busy []Key, ran []Statement, err error) {
	for deadline := time.Now().Add(t.Patience); ; {
		p, busy, ran, err = t.mendOnce(ctx, rows, kinds)
		if code := pg.Code(err); code != "55P03" && code != "40P01" || time.Now().After(deadline) {
			return p, busy, ran, err
		}
		if !runners.Sleep(ctx, 50*time.Millisecond) {
			return nil, nil, nil, ctx.Err()
		}
	}
}

func (t *comparison) mendOnce(ctx context.Context, rows []Key, kinds []string) (p *point, busy []Key, ran []Statement, err error) {
	p = &point{}
	err = t.here.Write(ctx, func(here *pg.Tx) error {
		if err := t.stop(ctx, here); err != nil {
			return fmt.Errorf("subscriber %s: %w", t.Subscriber.Name, err)
		}
		if err := t.readHere(ctx, here, p); err != nil {
			return fmt.Errorf("subscriber %s: %w", t.Subscriber.Name, err)
		}
		if p.table.Mask != nil {
			return errors.New("the table has a mask, and a repair would write what that hides: copy it again (resync)")
		}
		return t.above.Snapshot(ctx, func(above *pg.Tx) error {
			if err := t.complete(ctx, above, p); err != nil {
				return err
			}
			found := &Result{Dest: t.dest.String()}
			if busy, err = t.again(ctx, p, rows, found); err != nil {
				return err
			}
			for _, kind := range []string{Extra, Changed, Missing} {
				if !slices.Contains(kinds, kind) {
					continue
				}
				for _, s := range found.statements(kind) {
					n, err := here.Exec(ctx, s.Text)
					if err != nil {
						return fmt.Errorf("subscriber %s: %s: %w", t.Subscriber.Name, s.Text, err)
					}
					if n != 1 {
						return fmt.Errorf("subscriber %s: %s: it would change %d rows and not one; is somebody else writing there?", t.Subscriber.Name, s.Text, n)
					}
					ran = append(ran, s)
				}
			}
			return nil
		})
	})
	if err != nil {
		return nil, nil, nil, err
	}
	return p, busy, ran, nil
}

// stop holds the worker's position until the transaction ends. It gives up when
// something is locked for as long as a deadlock might take to be noticed.
func (t *comparison) stop(ctx context.Context, tx *pg.Tx) error {
	if _, err := tx.Exec(ctx, "set local lock_timeout = '500ms'"); err != nil {
		return err
	}
	s, err := readStanding(ctx, tx, t.Queue, t.Table)
	if err != nil {
		return err
	}
	// An update that changes nothing takes the lock, also without the right to lock rows.
	if _, err := tx.Run(ctx, pgqnode.SetConsumerError(t.Queue, s.Worker, s.Error)); err != nil {
		return fmt.Errorf("hold the position of worker %s: %w", s.Worker, err)
	}
	return hold(ctx, tx, t.dest)
}

// Again compares these rows alone, after a repair: a worker that stood at one of them gets
// the time to try again.
func Again(ctx context.Context, c Config, rows []Key) (*Result, error) {
	t, err := open(ctx, c)
	if err != nil {
		return nil, err
	}
	defer t.close()
	t.stuck = retried
	return t.run(ctx, rows)
}
