package spec

import (
	"cmp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Handling is how a table's changes are applied on the nodes that follow the root. A
// node's own words go before the table's.
type Handling struct {
	Apply      *Apply     `json:"apply,omitempty"`
	Store      Store      `json:"store,omitempty"` // on the root, too
	Shard      *Shard     `json:"shard,omitempty"`
	Mask       *Mask      `json:"mask,omitempty"`
	OnMissing  OnMissing  `json:"on_missing,omitempty"`
	OnConflict OnConflict `json:"on_conflict,omitempty"`
	Truncate   Truncate   `json:"truncate,omitempty"`
}

// saidBelowRoot reports whether anything is said that a root has no use for.
func (h Handling) saidBelowRoot() bool {
	h.Store = ""
	if s := h.Shard; s != nil && s.Number == nil && s.Of == nil && s.Replay == "" { // its triggers write the hash
		h.Shard = nil
	}
	return h != Handling{}
}

// How is the handling on one node. Words that stand for the default are left out.
func (t *Table) How(node string) Handling {
	on := t.On[node].Handling
	h := Handling{
		Apply:      cmp.Or(on.Apply, t.Apply),
		Store:      cmp.Or(on.Store, t.Store),
		Shard:      on.Shard.over(t.Shard),
		Mask:       cmp.Or(on.Mask, t.Mask),
		OnMissing:  cmp.Or(on.OnMissing, t.OnMissing),
		OnConflict: cmp.Or(on.OnConflict, t.OnConflict),
		Truncate:   cmp.Or(on.Truncate, t.Truncate),
	}
	if h.Apply != nil && h.Apply.Word == "rows" {
		h.Apply = nil
	}
	if h.Store == "yes" {
		h.Store = ""
	}
	if h.OnMissing == "error" {
		h.OnMissing = ""
	}
	if h.OnConflict == "error" {
		h.OnConflict = ""
	}
	if h.Truncate == "yes" {
		h.Truncate = ""
	}
	return h
}

// handlingFields are the keys that tables and their nodes share.
func handlingFields[T any](of func(*T) *Handling) []Field[T] {
	return []Field[T]{
		{Name: "apply", Doc: "What the changes are for. rows: the table there follows; bulk: the same, and the original's workers load it by COPY; nothing: the table there is left alone; virtual: there need not be a table, the node only passes the changes on; " +
			"or what else is done with them: {function: NAME}, {newest: {timefield: COLUMN}}, {queue: NAME}, {parts: ...}.",
			Default: "rows", Example: "{queue: mails}", Hazard: "recopies-table", Into: func(t *T) any { return applyOf{&of(t).Apply} }},
		{Name: "store", Doc: "no: rows that are inserted become events and are not stored. On the root the table is a way into the queue; on other nodes it is left alone.",
			Default: "yes", Example: "no", Into: func(t *T) any { return &of(t).Store }},
		{Name: "shard", Doc: "Which rows the node has: those whose hash, modulo the number of shards, is the node's number. The table says key and function, each node its number. The root's triggers write the hash of a row into ev_extra3. A branch passes on only its own rows.",
			Example: "{key: id, number: 0, of: 4}", Hazard: "recopies-table", Into: func(t *T) any { return shardOf{&of(t).Shard} }},
		{Name: "mask", Doc: "What becomes of values on their way to the node, and on to those below it: a rule for every column. keep, skip, bool (whether it is true), hash (a keyed BLAKE2s hash as uuid), hash32, hash64 (as signed numbers), or a mapping with rules for the members of a JSON object. Columns that come to the table later are left out.",
			Example: "{id: keep, name: keep, mail: bool, notes: skip, doc: {plan: keep, name: skip}}", Hazard: "recopies-table", Into: func(t *T) any { return maskOf{&of(t).Mask} }},
		{Name: "on_missing", Doc: "What to do about an update or delete of a row that is not there. error: stop, so that somebody compares the tables; warn: go on, and log how many; ignore: go on. Metrics count them.",
			Default: "error", Example: "warn", Into: func(t *T) any { return &of(t).OnMissing }},
		{Name: "on_conflict", Doc: "What to do about an insert of a row whose key is there. error: stop; overwrite: the event wins; keep: the row there stays. Metrics count them. Other unique constraints are not meant.",
			Default: "error", Example: "overwrite", Into: func(t *T) any { return &of(t).OnConflict }},
		{Name: "truncate", Doc: "What TRUNCATE of the root's table does. yes: it empties the table there, and stops where a foreign key of another table refers to it; cascade: it empties such tables, too; no: nothing.",
			Default: "yes", Example: "no", Into: func(t *T) any { return &of(t).Truncate }},
	}
}

// Apply says what changes are for: a word, or one of the others.
type Apply struct {
	Word     string            `json:"word,omitempty"`     // rows, bulk, nothing, virtual
	Function string            `json:"function,omitempty"` // called with each event
	Conf     string            `json:"conf,omitempty"`     // its first argument
	Newest   map[string]string `json:"newest,omitempty"`   // arguments of merge_on_time
	Queue    string            `json:"queue,omitempty"`    // events go on into that queue there
	Parts    *Parts            `json:"parts,omitempty"`    // rows are spread over tables by time
}

var applyWords = []string{"rows", "bulk", "nothing", "virtual"}

func (a *Apply) about() string {
	return "What the changes of a table are for, where its rows do not simply follow."
}

func (a *Apply) fields() []Field[Apply] {
	return []Field[Apply]{
		{Name: "function", Doc: "A function there that is called with each event: conf, tick, ev_id, ev_time, ev_txid, ev_retry, ev_type, ev_data, ev_extra1 to ev_extra4.",
			Example: "public.on_order", Into: func(a *Apply) any { return &a.Function }},
		{Name: "conf", Doc: "What the function gets as its first argument.", Example: "mode=fast", Into: func(a *Apply) any { return &a.Conf }},
		{Name: "newest", Doc: "Several roots write the table, and the newer row wins: the arguments of merge_on_time, the original's function for that.",
			Example: "{timefield: changed_at}", Into: func(a *Apply) any { return textMap{&a.Newest, "newest", false} }},
		{Name: "queue", Doc: "A queue in the node's database into which the events go on. There need not be a table.", Example: "mails",
			Into: func(a *Apply) any { return &a.Queue }},
		{Name: "parts", Doc: "Rows are spread over tables by time, one for each period, which are made when they are needed.", Example: "{by: event_time, period: month, rows: keep_latest}",
			Into: func(a *Apply) any { return partsOf{&a.Parts} }},
	}
}

// applyOf reads a word or a mapping.
type applyOf struct{ into **Apply }

func (a applyOf) shape() shape {
	var zero Apply
	return shape{kind: "either", doc: zero.about(), fields: describe[Apply, *Apply](), oneOf: []string{"text"}}
}

func (a applyOf) decode(d *decoder, n *yaml.Node) {
	if n = d.follow(n); n == nil {
		return
	}
	got := &Apply{}
	if n.Kind == yaml.ScalarNode {
		if !slices.Contains(applyWords, n.Value) {
			d.failNear(n, "bad-choice", applyWords, "apply: expected %s, or a mapping, found %q", either(applyWords), n.Value)
			return
		}
		got.Word = n.Value
		*a.into = got
		return
	}
	before := len(d.problems)
	decodeObject[Apply, *Apply](d, n, n, got)
	var said []string
	for _, s := range []struct {
		key string
		is  bool
	}{{"function", got.Function != ""}, {"newest", got.Newest != nil}, {"queue", got.Queue != ""}, {"parts", got.Parts != nil}} {
		if s.is {
			said = append(said, s.key)
		}
	}
	switch {
	case len(d.problems) > before:
	case len(said) != 1:
		d.fail(n, "one-purpose", "apply: name exactly one of function, newest, queue and parts; found %s", cmp.Or(strings.Join(said, " and "), "none"))
	case got.Conf != "" && got.Function == "":
		d.fail(n, "one-purpose", "apply: conf is for a function")
	}
	*a.into = got
}

// Shard says which rows a node has.
type Shard struct {
	Key      string `json:"key,omitempty"`
	Function string `json:"function,omitempty"`
	Number   *int   `json:"number,omitempty"`
	Of       *int   `json:"of,omitempty"`
	Replay   Store  `json:"replay,omitempty"`
}

func (s *Shard) about() string {
	return "The part of a table's rows that a node has. Values of the key do not change."
}

func (s *Shard) fields() []Field[Shard] {
	return []Field[Shard]{
		{Name: "key", Doc: "The column that is hashed.", Example: "customer", Into: func(s *Shard) any { return &s.Key }},
		{Name: "function", Doc: "A function of the key that gives a whole number, with its schema, on the root and on branches.", Default: "partconf.get_hash_raw", Example: "public.hash",
			Into: func(s *Shard) any { return &s.Function }},
		{Name: "number", Doc: "The node's number, from 0. Without it partconf.conf in the node's database says it.", Example: "0", Into: func(s *Shard) any { return &s.Number }},
		{Name: "of", Doc: "How many shards there are: a power of two.", Example: "4", Into: func(s *Shard) any { return &s.Of }},
		{Name: "replay", Doc: "no: the node passes its rows on and does not store them.", Default: "yes", Example: "no", Into: func(s *Shard) any { return &s.Replay }},
	}
}

// over is s with the words of the table where s has none.
func (s *Shard) over(table *Shard) *Shard {
	if s == nil || table == nil {
		return cmp.Or(s, table)
	}
	return &Shard{cmp.Or(s.Key, table.Key), cmp.Or(s.Function, table.Function), cmp.Or(s.Number, table.Number), cmp.Or(s.Of, table.Of), cmp.Or(s.Replay, table.Replay)}
}

// wrong says what does not fit together; empty: nothing. A root has all rows.
func (s *Shard) wrong(root bool) string {
	switch {
	case s == nil:
	case s.Key == "":
		return "shard: key is missing: which column is hashed?"
	case (s.Number == nil) != (s.Of == nil) && !root:
		return "shard: number and of belong together"
	case s.Of != nil && (*s.Of < 1 || *s.Of&(*s.Of-1) != 0):
		return "shard: of must be a power of two"
	case s.Number != nil && s.Of != nil && *s.Number >= *s.Of:
		return "shard: number must be below of"
	}
	return ""
}

// shardOf reads a mapping.
type shardOf struct{ into **Shard }

func (s shardOf) shape() shape {
	var zero Shard
	return shape{kind: "mapping", doc: zero.about(), fields: describe[Shard, *Shard]()}
}

func (s shardOf) decode(d *decoder, n *yaml.Node) {
	got := &Shard{}
	decodeObject[Shard, *Shard](d, n, n, got)
	*s.into = got
}

// Store says whether inserted rows are stored. Empty: nothing is said.
type Store string

func (s *Store) choices() []string { return []string{"yes", "no"} }
func (s *Store) set(text string)   { *s = Store(text) }

// OnMissing says what to do without a row. Empty: nothing is said.
type OnMissing string

func (m *OnMissing) choices() []string { return []string{"error", "warn", "ignore"} }
func (m *OnMissing) set(s string)      { *m = OnMissing(s) }

// OnConflict says what to do about a row that is in the way. Empty: nothing is said.
type OnConflict string

func (c *OnConflict) choices() []string { return []string{"error", "overwrite", "keep"} }
func (c *OnConflict) set(s string)      { *c = OnConflict(s) }

// Truncate says what TRUNCATE does. Empty: nothing is said.
type Truncate string

func (t *Truncate) choices() []string { return []string{"yes", "no", "cascade"} }
func (t *Truncate) set(s string)      { *t = Truncate(s) }
