package planner

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pgq"
	"github.com/skytools-go/skytools/sql/pgqnode"
)

// An Adoption gathers objects that exist and writes the YAML that declares them.
type Adoption struct {
	queues map[string]*adopted
	want   func(Address) bool
	count  int

	scene   *Scene
	sources map[Address]int // how many queues fill a table by leafs; the address is that of the table there, without its queue
}

// adopted is what was found of one queue, in all databases.
type adopted struct {
	home      string
	settings  []string
	consumers map[string]string // name -> options as a flow mapping, or empty
	capture   map[string]string
	nodes     map[string]string
	tables    map[string]*adoptedTable
	sequences map[string]bool
}

type adoptedTable struct {
	on      map[string]string // node -> options
	options []string
	merging []string // what is to be said of other sources
	copying string
	notes   []string
}

// AdoptYAML writes the YAML of the objects that exist, are not declared in set
// and match one of the globs; without globs, of all. Settings that are at their
// default are left out. The YAML begins with the keys that a file of its own needs
// beside the databases.
func AdoptYAML(set *spec.Set, live *Live, o Options, globs []string) (text string, count int, err error) {
	a, err := adoption(set, live, o, globs)
	if err != nil {
		return "", 0, err
	}
	return a.yaml(slices.Sorted(maps.Keys(a.queues))...), a.count, nil
}

// AdoptQueues is [AdoptYAML] with a text for each queue, by its name. A queue is
// declared in one place with all that belongs to it, so it cannot be split further.
func AdoptQueues(set *spec.Set, live *Live, o Options, globs []string) (texts map[string]string, count int, err error) {
	a, err := adoption(set, live, o, globs)
	if err != nil {
		return nil, 0, err
	}
	texts = map[string]string{}
	for name := range a.queues {
		texts[name] = a.yaml(name)
	}
	return texts, a.count, nil
}

// adoption gathers what AdoptYAML writes.
func adoption(set *spec.Set, live *Live, o Options, globs []string) (*Adoption, error) {
	b := survey(set, live, o)
	unmanaged := map[Address]bool{}
	for _, u := range b.unmanaged {
		unmanaged[u.Address] = true
	}
	for _, u := range b.orphans { // recorded once, and not declared any more
		unmanaged[u.Address] = !u.Gone
	}
	a := &Adoption{queues: map[string]*adopted{}, scene: b.Scene, sources: b.liveSources(), want: func(x Address) bool {
		return unmanaged[x] && (len(globs) == 0 || matchAny(x, globs))
	}}
	for _, database := range slices.Sorted(maps.Keys(live.Databases)) {
		for _, k := range kinds {
			for _, row := range live.Databases[database].rows(k.name()) {
				if err := k.adopt(a, database, row); err != nil {
					return nil, fmt.Errorf("read a %s of %s: %w", k.name(), database, err)
				}
			}
		}
	}
	return a, nil
}

// queue returns the place for what belongs to a queue, or nil when the object is
// not to be adopted.
func (a *Adoption) queue(x Address, name string) *adopted {
	if !a.want(x) {
		return nil
	}
	a.count++
	q := a.queues[name]
	if q == nil {
		q = &adopted{consumers: map[string]string{}, capture: map[string]string{}, nodes: map[string]string{}, tables: map[string]*adoptedTable{}, sequences: map[string]bool{}}
		a.queues[name] = q
	}
	return q
}

func adoptQueue(a *Adoption, database, name string, have queueState) {
	q := a.queue(Address{"queue", name, database}, name)
	if q == nil {
		return
	}
	q.home = database
	d := defaultQueue()
	for _, f := range []struct {
		key     string
		differs bool
		value   string
	}{
		{"ticker_max_lag", have.TickerMaxLag != d.TickerMaxLag, interval(have.TickerMaxLag)},
		{"ticker_max_count", have.TickerMaxCount != d.TickerMaxCount, fmt.Sprint(have.TickerMaxCount)},
		{"ticker_idle_period", have.TickerIdlePeriod != d.TickerIdlePeriod, interval(have.TickerIdlePeriod)},
		{"rotation_period", have.RotationPeriod != d.RotationPeriod, interval(have.RotationPeriod)},
		{"ticker_paused", have.TickerPaused, "true"},
	} {
		if f.differs {
			q.settings = append(q.settings, f.key+": "+f.value)
		}
	}
	if have.PerTxLimit != nil {
		q.settings = append(q.settings, fmt.Sprintf("per_tx_limit: %d", *have.PerTxLimit))
	}
}

func adoptConsumer(a *Adoption, database, name string, have consumerState) {
	queue, consumer := splitName(name)
	q := a.queue(Address{"consumer", name, database}, queue)
	if q == nil {
		return
	}
	var options []string
	if q.home != "" && q.home != database {
		options = append(options, "on: "+database)
	}
	if len(have.Members) > 0 {
		options = append(options, "members: "+spec.FlowList(have.Members))
	}
	q.consumers[consumer] = flow(options)
}

func adoptCapture(a *Adoption, database, name string, have captureState) {
	queue, table := splitName(name)
	if q := a.queue(Address{"capture", name, database}, queue); q != nil {
		options, notes := argOptions(have.Args)
		q.capture[table] = flow(options) + comment(notes)
	}
}

func adoptNode(a *Adoption, database, queue string, have nodeState) {
	q := a.queue(Address{"node", queue, database}, queue)
	if q == nil {
		return
	}
	options := []string{"type: " + have.Type}
	if have.Type != pgqnode.Root {
		options = append(options, "provider: "+have.Provider)
	} else {
		q.home = database
	}
	if have.Combined != "" {
		options = append(options, "merge: "+spec.Scalar(have.Combined))
	}
	if have.Worker != queue+"."+database {
		options = append(options, "worker: "+spec.Scalar(have.Worker))
	}
	q.nodes[database] = flow(options)
	if have.Node != database {
		q.nodes[database] += comment([]string{"its name in the cascade is " + have.Node + ": call the database so"})
	}
}

func adoptTable(a *Adoption, database, name string, have tableState) {
	queue, table := splitName(name)
	q := a.queue(Address{"table", name, database}, queue)
	if q == nil {
		return
	}
	t := q.tables[table]
	if t == nil {
		t = &adoptedTable{on: map[string]string{}}
		q.tables[table] = t
	}
	var options []string
	if have.Where != "" {
		options = append(options, "where: "+spec.Scalar(have.Where))
	}
	if have.Dest != "" {
		options = append(options, "as: "+spec.Scalar(have.Dest))
	}
	options = append(options, flowMap("columns", have.Columns)...)
	options = append(options, flowMap("transform", have.Compute)...)
	options = append(options, handlingYAML(have.Handling)...)
	const key = "mask_key: {env: SKYTOOLS_MASK_KEY}  # where it is, nobody has recorded"
	mask := have.Mask
	if text := have.handler(); obfuscates(text) {
		var note string
		if mask, note = a.maskOf(queue, table, database); mask != nil {
			options = append(options, "mask:"+maskYAML(mask))
		}
		t.notes = append(t.notes, note)
	} else if text != "" {
		t.notes = append(t.notes, "handler "+text+" on "+database+" has no word here and stays")
	}
	if hashes(mask) && !slices.Contains(q.settings, key) {
		q.settings = append(q.settings, key)
	}
	t.on[database] = flow(options)
	if a.sources[Address{"table", orName(have.Dest, table), database}] > 1 && have.Triggers != "capture" && have.Newest == nil && !slices.Contains(t.merging, "merge: all") {
		t.merging = []string{"merge: all"}
	}
	var copying []string
	if rate, err := strconv.ParseInt(have.Attrs[londiste.AttrRate], 10, 64); err == nil {
		copying = append(copying, "rate: "+spec.Rate(rate).String())
	}
	if have.Attrs[londiste.AttrIndexes] == "keep" {
		copying = append(copying, "indexes: keep")
	}
	if len(copying) > 0 {
		t.copying = "copy: {" + strings.Join(copying, ", ") + "}"
	}
	if have.Triggers == "capture" {
		var notes []string
		t.options, notes = argOptions(have.withoutTriggerArgs())
		t.notes = append(t.notes, notes...)
	}
}

func adoptSequence(a *Adoption, database, name string, _ sequenceState) {
	queue, seq := splitName(name)
	if q := a.queue(Address{"sequence", name, database}, queue); q != nil {
		q.sequences[seq] = true
	}
}

// argOptions writes trigger arguments as YAML; those that have no key are notes.
func argOptions(args []string) (options, notes []string) {
	for _, arg := range args {
		key, value, _ := strings.Cut(arg, "=")
		switch key {
		case "ignore", "pkey":
			options = append(options, key+": "+spec.FlowList(strings.Split(value, ",")))
		case pgq.Statement:
			options = append(options, "level: statement")
		case "backup":
			options = append(options, "backup: true")
		case "when":
			options = append(options, "when: "+spec.Scalar(value))
		default:
			notes = append(notes, "trigger argument without a key here: "+arg)
		}
	}
	return options, notes
}

func flow(options []string) string {
	if len(options) == 0 {
		return ""
	}
	return " {" + strings.Join(options, ", ") + "}"
}

// flowMap is an option whose value is a mapping; none when it is empty.
func flowMap(key string, texts map[string]string) []string {
	if len(texts) == 0 {
		return nil
	}
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		pairs = append(pairs, spec.Scalar(name)+": "+orNull(texts[name]))
	}
	return []string{key + ":" + flow(pairs)}
}

func orNull(text string) string {
	if text == "" {
		return "null"
	}
	return spec.Scalar(text)
}

func comment(notes []string) string {
	if len(notes) == 0 {
		return ""
	}
	return "  # " + oneLine(strings.Join(notes, "; "))
}

// oneLine keeps what would end a comment, or what YAML refuses, out of it.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text)
}

func (a *Adoption) yaml(queues ...string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "skytools: %d\nqueues:\n", spec.Format)
	for _, name := range queues {
		a.queues[name].yaml(&out, name)
	}
	return out.String()
}

func (q *adopted) yaml(out *strings.Builder, name string) {
	fmt.Fprintf(out, "  %s:\n", spec.Scalar(name))
	if len(q.nodes) == 0 && q.home != "" {
		fmt.Fprintf(out, "    on: %s\n", q.home)
	}
	for _, line := range q.settings {
		fmt.Fprintf(out, "    %s\n", line)
	}
	section := func(key string, items map[string]string) {
		if len(items) == 0 {
			return
		}
		fmt.Fprintf(out, "    %s:\n", key)
		for _, item := range slices.Sorted(maps.Keys(items)) {
			fmt.Fprintf(out, "      %s:%s\n", spec.Scalar(item), items[item])
		}
	}
	section("nodes", q.nodes)
	section("consumers", q.consumers)
	section("capture", q.capture)
	tables := map[string]string{}
	for name, t := range q.tables {
		tables[name] = q.table(t)
	}
	section("tables", tables)
	if len(q.sequences) > 0 {
		fmt.Fprintf(out, "    sequences: %s\n", spec.FlowList(slices.Sorted(maps.Keys(q.sequences))))
	}
}

// table writes one table's options; on: is left out where every node has it as
// the root does.
func (q *adopted) table(t *adoptedTable) string {
	options := slices.Concat(t.options, t.merging)
	if t.copying != "" {
		options = append(options, t.copying)
	}
	plainly, everywhere := true, true
	var nodes, named []string
	for _, node := range slices.Sorted(maps.Keys(q.nodes)) {
		how, there := t.on[node]
		if node == q.home && how == "" {
			continue
		}
		everywhere = everywhere && there
		if there {
			plainly = plainly && how == ""
			nodes = append(nodes, node)
			if how == "" {
				how = " {}"
			}
			named = append(named, node+":"+how)
		}
	}
	switch {
	case !plainly:
		options = append(options, "on: {"+strings.Join(named, ", ")+"}")
	case !everywhere && len(nodes) > 0:
		options = append(options, "on: "+spec.FlowList(nodes))
	}
	return flow(options) + comment(t.notes)
}
