package londiste

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/skytools-go/skytools/sql"
)

//go:embed script.sql
var scriptSQL string

// Scripts reads every script that a database remembers.
var Scripts = sql.Catalog{Kind: "script", Text: scriptSQL}

// AppliedScript is one row of [Scripts].
type AppliedScript struct {
	Queue  string `json:"queue"`
	Name   string `json:"name"`
	At     int64  `json:"at"`     // when it ran, in seconds of Unix
	Digest string `json:"sha256"` // of its text, in hexadecimal
}

// A Script is SQL that travels through a queue and runs once on every node, or only
// where its conditions are met.
//
// Source: contract/londiste.md section 5.2.
type Script struct {
	Name string // nodes remember it by that
	Text string
	When Dict // conditions: a kind, and the names that it is about, with commas
}

// The conditions that a script can state. All of a node must be met, or none.
const (
	WhenTable       = "local-table"       // a table that the node replicates
	WhenSequence    = "local-sequence"    // a sequence that it replicates
	WhenDestination = "local-destination" // a replicated table that is there, too
	WhenHasTable    = "need-table"        // these exist
	WhenHasSequence = "need-sequence"
	WhenHasView     = "need-view"
	WhenHasSchema   = "need-schema"
	WhenHasFunction = "need-function" // name(number of arguments)
)

var conditionKinds = []string{WhenTable, WhenSequence, WhenDestination, WhenHasTable, WhenHasSequence, WhenHasView, WhenHasSchema, WhenHasFunction}

// ParseScript reads the conditions in the comments at the top of a script, such as
//
//	--*-- Local-Table: public.orders, public.items
//
// A line that ends with a comma goes on in the next of them.
func ParseScript(name, text string) (Script, error) {
	s := Script{name, text, Dict{}}
	key := ""
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		said, isCondition := strings.CutPrefix(line, "--*--")
		if !isCondition && line != "" && !strings.HasPrefix(line, "--") {
			break
		}
		if !isCondition {
			continue
		}
		if key == "" {
			var found bool
			key, said, found = strings.Cut(said, ":")
			key = strings.ToLower(strings.TrimSpace(key))
			if !found || !slices.Contains(conditionKinds, key) {
				return s, fmt.Errorf("line %d: --*-- begins a condition, and there is none called %q: write one of %s, and a colon", i+1, key, strings.Join(conditionKinds, ", "))
			}
		}
		said = strings.TrimSpace(said)
		values := s.When.Get(key) + "," + said
		goesOn := strings.HasSuffix(said, ",")
		s.When.Set(key, strings.Trim(values, ", "))
		if !goesOn && s.When.Get(key) == "" {
			return s, fmt.Errorf("line %d: condition %s names nothing", i+1, key)
		}
		if !goesOn {
			key = ""
		}
	}
	if key != "" {
		return s, fmt.Errorf("condition %s ends with a comma: what else is it about?", key)
	}
	return s, nil
}

// names are what one condition is about.
func (s Script) names(key string) (all []string) {
	for name := range strings.SplitSeq(s.When.Get(key), ",") {
		if name = strings.TrimSpace(name); name != "" {
			all = append(all, name)
		}
	}
	return all
}

// Locals are the replicated tables and sequences that conditions name, as they are
// written there: @name@ in the text stands for what each is called on the node.
func (s Script) Locals() (all []string) {
	for _, key := range slices.Sorted(maps.Keys(s.When)) {
		if strings.HasPrefix(key, "local-") {
			all = append(all, s.names(key)...)
		}
	}
	return all
}

// Here is the text for a node on which dest says what a local table or sequence is
// called; nil where it has the name that it has everywhere.
func (s Script) Here(dest map[string]sql.Name) string {
	text := s.Text
	for _, name := range s.Locals() {
		here, known := dest[name]
		if !known {
			here = sql.ParseName(name)
		}
		text = strings.ReplaceAll(text, "@"+name+"@", here.Ident())
	}
	return text
}

// Condition is a query for one value: true where a node should run the script, false
// where it should pass it over, null where only some conditions are met, so that
// nobody can say. Empty: every node runs it.
func (s Script) Condition(queue string) (string, error) {
	var met []string
	for _, key := range slices.Sorted(maps.Keys(s.When)) {
		for _, name := range s.names(key) {
			text, err := condition(queue, strings.ToLower(key), name)
			if err != nil {
				return "", err
			}
			met = append(met, "(exists ("+text+"))")
		}
	}
	if len(met) == 0 {
		return "", nil
	}
	return "select case when bool_and(met) then true when not bool_or(met) then false end from (values " + strings.Join(met, ", ") + ") c (met)", nil
}

func condition(queue, key, value string) (string, error) {
	name := sql.ParseName(value)
	relation := func(kinds string) string {
		return "select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where n.nspname = " +
			sql.Literal(name.Schema) + " and c.relname = " + sql.Literal(name.Rel) + " and c.relkind in (" + kinds + ")"
	}
	registered := func(table, column string) string {
		return "select from londiste." + table + " t where t.queue_name = " + sql.Literal(queue) + " and t." + column + " = " + sql.Literal(name.String()) + " and t.local"
	}
	switch key {
	case WhenTable:
		return registered("table_info", "table_name"), nil
	case WhenSequence:
		return registered("seq_info", "seq_name"), nil
	case WhenDestination:
		return registered("table_info", "table_name") + " and exists (select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace" +
			" where n.nspname || '.' || c.relname = coalesce(t.dest_table, t.table_name) and c.relkind in ('r', 'p'))", nil
	case WhenHasTable:
		return relation("'r', 'p'"), nil
	case WhenHasSequence:
		return relation("'S'"), nil
	case WhenHasView:
		return relation("'v', 'm'"), nil
	case WhenHasSchema:
		return "select from pg_catalog.pg_namespace n where n.nspname = " + sql.Literal(value), nil
	case WhenHasFunction:
		count := "0"
		if at := strings.IndexByte(value, '('); at >= 0 && strings.HasSuffix(value, ")") {
			name, count = sql.ParseName(value[:at]), value[at+1:len(value)-1]
		}
		return "select from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace where n.nspname = " +
			sql.Literal(name.Schema) + " and p.proname = " + sql.Literal(name.Rel) + " and p.pronargs::text = " + sql.Literal(count), nil
	}
	return "", fmt.Errorf("its condition %q is unknown", key)
}

// Run is what runs a script on the root, in one transaction, and sends it on. The text
// is the one for the root; what travels is the script as it was written. It fails where
// the script ran already.
func (s Script) Run(queue, here string) ([]sql.Stmt, error) {
	when, err := s.Condition(queue)
	if err != nil {
		return nil, err
	}
	return []sql.Stmt{
		sql.Exec("select case when ret_code = 201 then 409 else ret_code end as ret_code, ret_note from londiste.execute_start($1, $2, $3, true, $4)",
			queue, s.Name, s.Text, text(s.When.String())),
		{Text: here, If: when},
		sql.Exec("select * from londiste.execute_finish($1, $2)", queue, s.Name),
	}, nil
}
