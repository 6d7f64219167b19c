package replay

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pg"
)

// An Applier applies the data events of batches. It belongs to one session and is
// not safe for concurrent use.
type Applier struct {
	// Find returns how the table of that global name is replicated here, or nil if
	// it is not. It is asked once in a transaction.
	Find func(ctx context.Context, tx *pg.Tx, table string) (*Table, error)

	// Ordered keeps the order between tables: for sessions in which foreign keys
	// and the users' triggers fire.
	Ordered bool

	// A piece is applied when it has that many events or bytes. Zero: 100,000 and 32 MB.
	MaxEvents, MaxBytes int

	// Ahead writes a piece while the next one is made ready and one more is taken. Nobody
	// else may use the transaction from Begin on until Flush.
	Ahead bool

	Stats *Stats // may be nil
	Batch *Batch // in hand: some tables need its tick or time

	tx      *pg.Tx
	targets map[string]*target
	changed []*target // in the order of their first change
	events  int
	bytes   int
	writing *writing // the newest piece on its way; nil: none
	kinds   map[string]*kind
	fields  []field
	room    [][]byte
	missed  map[string]*missed // by table
}

// A target is a table in the transaction in hand.
type target struct {
	*Table
	rel      *Relation
	shapes   []*shape
	mu       sync.Mutex // guards writers: a piece is made ready while another is written
	writers  map[writerKey]*writer
	changes  []change
	likely   int      // how many there will be: as many as the last time
	events   []*Event // of a table whose events are passed on as they are
	strict   bool     // keys cannot be compared as text: keep the order of events
	keyNames []string
	keyText  string
}

type writerKey struct {
	shape *shape
	keys  string
}

// A change is one event, decoded.
type change struct {
	event  int64
	op     byte
	shape  *shape
	keys   []string
	values [][]byte // as JSON texts, in the order of the shape
	key    string   // canonical
}

// Begin starts a transaction, which ends with [Applier.End]. What an earlier one left
// behind is forgotten.
func (a *Applier) Begin(tx *pg.Tx) {
	a.tx, a.targets, a.changed, a.events, a.bytes = tx, map[string]*target{}, nil, 0, 0
	a.missed = map[string]*missed{}
	if a.kinds == nil || len(a.kinds) > 10_000 {
		a.kinds = map[string]*kind{}
	}
	if a.MaxEvents == 0 {
		a.MaxEvents = 100_000
	}
	if a.MaxBytes == 0 {
		a.MaxBytes = 32 << 20
	}
	if a.Stats == nil {
		a.Stats = &Stats{}
	}
}

// End waits for what is still being written after something has failed: it is called
// before the transaction ends, whatever has happened.
func (a *Applier) End() { a.settle() }

// Forget makes the applier read the catalog again: after DDL. Flush first.
func (a *Applier) Forget() { a.targets = map[string]*target{} }

// Add takes a data event, which must stay as it is until [Applier.Flush].
func (a *Applier) Add(ctx context.Context, e *Event) error {
	k, err := a.kind(e)
	if err != nil {
		return a.wrong(e, err)
	}
	name := e.Table()
	t, err := a.target(ctx, name)
	if err != nil {
		return a.wrong(e, err)
	}
	if t == nil || t.Seen.Visible(e.Txid) || t.leaves() {
		a.Stats.Ignored.Add(1)
		return nil
	}
	if ours, err := t.Chooses(e); err != nil || !ours {
		if err != nil {
			return a.wrong(e, err)
		}
		a.Stats.Ignored.Add(1)
		return nil
	}
	if a.parts(t) {
		if err := a.Flush(ctx); err != nil {
			return err
		}
	}
	if t.Queue != "" || t.calls() && k.op != opTruncate {
		return a.pass(ctx, t, e)
	}
	if k.op == opTruncate {
		return a.truncate(ctx, e, t)
	}
	if t.Parts != nil {
		return a.route(ctx, t, e, k)
	}
	if err := t.add(a, e, k); err != nil {
		return a.wrong(e, err)
	}
	return a.took(ctx, e)
}

// parts reports that what has been added must be applied before an event of t.
func (a *Applier) parts(t *target) bool {
	return len(a.changed) > 0 && a.changed[0] != t && (a.Ordered || a.changed[0].calls() || t.calls())
}

func (a *Applier) wrong(e *Event, err error) error {
	return fmt.Errorf("event %d: table %s: %w", e.ID, e.Table(), err)
}

func (a *Applier) kind(e *Event) (*kind, error) {
	if k := a.kinds[string(e.Type)]; k != nil {
		return k, nil
	}
	k, err := parseKind(e.Type)
	if err != nil {
		return nil, fmt.Errorf("read the event type %.200q: %w", e.Type, err)
	}
	a.kinds[string(e.Type)] = k
	return k, nil
}

func (a *Applier) target(ctx context.Context, name string) (*target, error) {
	if t, known := a.targets[name]; known {
		return t, nil
	}
	if err := a.settle(); err != nil {
		return nil, err
	}
	table, err := a.Find(ctx, a.tx, name)
	if err != nil {
		return nil, err
	}
	var t *target
	if table != nil {
		t = &target{Table: table, writers: map[writerKey]*writer{}}
		if !t.leaves() && !t.calls() && t.Queue == "" {
			if t.rel, err = Describe(ctx, a.tx, table.Dest); err != nil {
				return nil, err
			}
		}
	}
	a.targets[name] = t
	return t, nil
}

// add decodes an event and appends it to the table's changes.
func (t *target) add(a *Applier, e *Event, k *kind) error {
	fields, keys, err := k.decode(e.Data, a.fields)
	a.fields = fields
	if err != nil {
		return fmt.Errorf("read its data: %w", err)
	}
	if t.Mask != nil {
		if k.format == formatSQL {
			return fmt.Errorf("a mask needs the columns of rows, which sqltriga does not write: use logutriga or jsontriga")
		}
		if fields, err = t.masked(fields); err != nil {
			return err
		}
	}
	c := change{event: e.ID, op: k.op, shape: t.shape(fields), keys: keys, values: a.values(fields)}
	if k.format == formatSQL {
		if k.op == opInsert {
			c.keys = t.primaryKey(c.shape)
		}
		if k.op == opUpdate && (t.Where != "" || len(t.Transform) > 0) {
			return fmt.Errorf("a row filter or a transform needs whole rows, which sqltriga does not write: use logutriga or jsontriga")
		}
	}
	if len(c.keys) == 0 && c.op != opInsert {
		return fmt.Errorf("the event names no key to find the row by")
	}
	if err := t.identify(&c, fields); err != nil {
		return err
	}
	if len(t.changes) == 0 {
		a.changed = append(a.changed, t)
		t.changes = make([]change, 0, t.likely)
	}
	t.changes = append(t.changes, c)
	return nil
}

// values keeps the values of fields. Many share one piece of memory.
func (a *Applier) values(fields []field) [][]byte {
	if cap(a.room)-len(a.room) < len(fields) {
		a.room = make([][]byte, 0, max(4096, len(fields)))
	}
	start := len(a.room)
	for _, f := range fields {
		a.room = append(a.room, f.value)
	}
	return a.room[start:len(a.room):len(a.room)]
}

// row is the change's row as a JSON object.
func (c *change) row() []byte {
	fields := make([]field, len(c.values))
	for i, value := range c.values {
		fields[i] = field{c.shape.raw[i], value}
	}
	return joinObject(fields)
}

// shape is the list of columns that fields has, as one value for equal lists.
func (t *target) shape(fields []field) *shape {
	for i := len(t.shapes) - 1; i >= 0; i-- {
		if t.shapes[i].is(fields) {
			return t.shapes[i]
		}
	}
	s := &shape{names: names(fields)}
	for _, f := range fields {
		s.raw = append(s.raw, append([]byte(nil), f.name...))
	}
	t.shapes = append(t.shapes, s)
	return s
}

func (s *shape) is(fields []field) bool {
	if len(s.raw) != len(fields) {
		return false
	}
	for i := range fields {
		if string(s.raw[i]) != string(fields[i].name) {
			return false
		}
	}
	return true
}

func (s *shape) place(name string) int {
	for i, n := range s.names {
		if n == name {
			return i
		}
	}
	return -1
}

// primaryKey names the columns of the table's own key, if the shape has them all.
func (t *target) primaryKey(s *shape) []string {
	var keys []string
	for place := 1; ; place++ {
		found := false
		for _, c := range t.rel.Columns {
			if c.KeyPlace == place {
				name := t.Origin(c.Name)
				if s.place(name) < 0 {
					return nil
				}
				keys, found = append(keys, name), true
			}
		}
		if !found {
			return keys
		}
	}
}

// identify sets the key by which changes are folded. It marks the table strict
// when keys cannot be compared.
func (t *target) identify(c *change, fields []field) error {
	if t.strict && c.op == opInsert {
		return nil
	}
	text := strings.Join(c.keys, "\x00")
	if len(t.changes) == 0 {
		t.strict, t.keyNames, t.keyText = len(c.keys) == 0, c.keys, text
	} else if text != t.keyText {
		t.strict = true
	}
	var key []byte
	for i, name := range c.keys {
		place, col := c.shape.place(name), t.column(name)
		switch {
		case col == nil:
			return fmt.Errorf("%s has no column %s, which is in the key of its events", t.Dest, name)
		case place < 0:
			return fmt.Errorf("the event lacks column %s, which is in its key", name)
		}
		value, isSet, err := textOf(fields[place].value)
		if err != nil {
			return err
		}
		if !isSet {
			if c.op == opInsert { // a unique key of the provider that is not a primary key
				t.strict = true
				continue
			}
			return fmt.Errorf("column %s of the key is null", name)
		}
		plain, ok := canon(col.Base, value)
		if !ok || !col.Exact {
			t.strict = true
		}
		if i == 0 && len(c.keys) == 1 {
			c.key = plain
			return nil
		}
		key = append(append(key, plain...), 0)
	}
	c.key = string(key)
	return nil
}

func (a *Applier) truncate(ctx context.Context, e *Event, t *target) error {
	err := a.Flush(ctx)
	if err != nil || t.Truncate == londiste.TruncateNo {
		return err
	}
	if t.rel == nil {
		if t.rel, err = Describe(ctx, a.tx, t.Dest); err != nil {
			return a.wrong(e, err)
		}
	}
	text := "truncate " + t.rel.From(t.Dest)
	if t.Parts != nil { // with its parts
		text = "truncate " + t.Dest.Ident()
	}
	if t.Truncate == londiste.TruncateCascade {
		text += " cascade"
	}
	_, err = a.tx.Exec(ctx, text)
	if pg.Code(err) == "0A000" {
		err = fmt.Errorf("%w; a foreign key of a table that is not replicated refers to it: empty or replicate that table, drop the key, or declare truncate: cascade", err)
	}
	if err != nil {
		return a.wrong(e, fmt.Errorf("truncate %s: %w", t.Dest, err))
	}
	return nil
}

// writeTable applies one table's changes: folded if possible, or else in order. What a policy
// allows costs nothing where it does not happen: it is tried without one first.
func (a *Applier) writeTable(ctx context.Context, t *load) error {
	switch {
	case t.Queue != "":
		return a.enqueue(ctx, t)
	case t.calls():
		return a.call(ctx, t)
	}
	if t.folds() {
		policies := []Policy{{}}
		switch {
		case t.Where != "" && t.OnConflict == londiste.ConflictOverwrite: // by a row that is not wanted, too
			policies = []Policy{t.policy()}
		case t.policy().lenient():
			policies = append(policies, t.policy())
		}
		t.fold()
		for _, p := range policies {
			if t.net == nil {
				break
			}
			var done tally
			err := a.attempt(ctx, func() (err error) { done, err = a.writeNet(ctx, t, p); return err })
			if err == nil {
				a.count(t.target, done)
				return nil
			}
			if pg.Code(err) == "" && !isMismatch(err) || hopeless(pg.Code(err)) {
				return fmt.Errorf("apply to %s: %w", t.Dest, err)
			}
		}
		a.Stats.Fallbacks.Add(1)
	}
	done, err := a.writeOrdered(ctx, t)
	if err == nil {
		a.count(t.target, done)
	}
	return err
}

// hopeless tells errors that another way to write the rows does not help with:
// deadlock, cancel, shutdown, no space, no right.
func hopeless(code string) bool {
	return strings.HasPrefix(code, "40") || strings.HasPrefix(code, "57") || strings.HasPrefix(code, "53") || code == "42501" || code == "55P03"
}

// attempt undoes what f did when it fails.
func (a *Applier) attempt(ctx context.Context, f func() error) error {
	if _, err := a.tx.Exec(ctx, "savepoint net"); err != nil {
		return err
	}
	err := f()
	if err == nil {
		_, err = a.tx.Exec(ctx, "release savepoint net")
		return err
	}
	if pg.Code(err) == "" && !isMismatch(err) {
		return err
	}
	if _, back := a.tx.Exec(ctx, "rollback to savepoint net"); back != nil {
		return back
	}
	if _, back := a.tx.Exec(ctx, "release savepoint net"); back != nil {
		return back
	}
	return err
}

func (t *target) writer(c *change) (*writer, error) {
	k := writerKey{c.shape, strings.Join(c.keys, "\x00")}
	t.mu.Lock()
	defer t.mu.Unlock()
	if w := t.writers[k]; w != nil {
		return w, nil
	}
	w, err := newWriter(t, c.shape, c.keys)
	if err == nil {
		t.writers[k] = w
	}
	return w, err
}
