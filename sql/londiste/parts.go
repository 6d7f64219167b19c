package londiste

import (
	"fmt"
	"slices"
	"strings"

	"github.com/skytools-go/skytools/sql"
)

// Parts says how rows are spread over tables by time, one for each period.
//
// Source: contract/londiste.md section 4.4.
type Parts struct {
	By        string   `json:"by,omitempty"`        // batch_time, event_time, current_time, field; empty: not spread
	Field     string   `json:"field,omitempty"`     // column with the time
	Period    string   `json:"period,omitempty"`    // hour, day, month, year
	Rows      string   `json:"rows,omitempty"`      // keep_all: every version of a row stays; keep_latest: an update puts the row where it belongs now; empty: plain
	Events    []string `json:"events,omitempty"`    // of I, U, D; empty: all
	Create    string   `json:"create,omitempty"`    // function that makes a part; empty: [CreatePart]
	SQL       string   `json:"sql,omitempty"`       // [sql.Template] that makes it instead
	Before    string   `json:"before,omitempty"`    // the same, run before it is made
	After     string   `json:"after,omitempty"`     // and after that
	Retention string   `json:"retention,omitempty"` // interval after which parts are dropped; empty: never
	SkipOld   string   `json:"skip_old,omitempty"`  // yes: rows of parts that would be dropped are left out
}

// CreatePart makes a part where nothing else is said.
const CreatePart = "londiste.create_partition"

// PartTexts are the names of texts that templates have places for: the part, under both
// names of the original; the table; the part's name with __ for its dot, where it needs no
// quotes; the columns of the key; the column with the time, that time, and the period.
var PartTexts = []string{"part", "dest", "parent", "schema_table", "pkeys", "part_field", "part_time", "period"}

// AttrParts holds [Parts] as JSON.
const AttrParts = "skytools_parts"

var partBys = map[string]string{"event": "event_time", "batch": "batch_time", "field": "date_field", "time": "current_time"}
var partPeriods = map[string]string{"hourly": "hour", "daily": "day", "monthly": "month", "yearly": "year"}

// dispatchArgs are those that handlers of the family know.
var dispatchArgs = []string{"table_mode", "part_func", "part_mode", "part_field", "period", "part_name", "part_template", "row_mode", "event_types",
	"load_mode", "method", "fields", "skip_fields", "table", "pre_part", "post_part", "retention_period", "ignore_old_events", "ignore_truncate", "encoding", "analyze", "key", "hash_key"}

// presets are what the name of a handler of the dispatch family says.
func presets(name string) (table, by, period, rows string, ok bool) {
	rest := strings.TrimPrefix(name, "bulk_")
	switch first, second, _ := strings.Cut(rest, "_"); {
	case name == "dispatch":
		return "part", "batch_time", "day", "plain", true
	case rest == "direct":
		return "direct", "", "", "plain", true
	case partPeriods[first] != "" && partBys[second] != "":
		return "part", partBys[second], partPeriods[first], "keep_latest", true
	}
	return "", "", "", "", false
}

// readDispatch is what a handler of the dispatch family does.
func (h *Handling) readDispatch(p Handler) error {
	table, by, period, rows, _ := presets(p.Name)
	choose := func(arg string, into *string, words ...string) error {
		if value := p.Args.Get(arg); value != "" {
			if !slices.Contains(words, value) {
				return fmt.Errorf("handler %s: %s %q is none of %s", p.Name, arg, value, strings.Join(words, ", "))
			}
			*into = value
		}
		return nil
	}
	load, method, old := "", "", ""
	for _, err := range []error{
		choose("table_mode", &table, "part", "direct", "ignore"), choose("part_mode", &by, "batch_time", "event_time", "date_field", "current_time"),
		choose("period", &period, "day", "month", "year", "hour"), choose("row_mode", &rows, "plain", "keep_all", "keep_latest"),
		choose("load_mode", &load, "direct", "bulk"), choose("method", &method, "0", "1", "2", "3"), choose("ignore_old_events", &old, "0", "1"),
	} {
		if err != nil {
			return err
		}
	}
	for arg, instead := range map[string]string{"table": "as:", "key": "shard:", "hash_key": "shard:"} {
		if p.Args[arg] != nil {
			return fmt.Errorf("handler %s: the argument %s is not known here: use %s", p.Name, arg, instead)
		}
	}
	if name := p.Args.Get("part_name"); name != "" && table == "part" && name != partName(period) {
		return fmt.Errorf("handler %s: part_name %q: parts have the name %s here, by which those that are too old are found", p.Name, name, partName(period))
	}
	columns, err := p.columns()
	if err != nil {
		return err
	}
	if table == "ignore" {
		h.Apply = ApplyNothing
		return nil
	}
	s := &Parts{}
	if rows != "plain" {
		s.Rows = rows
	}
	if types := p.Args.Get("event_types"); types != "" && types != "*" {
		s.Events = strings.Split(strings.ToUpper(types), ",")
	}
	if method == "3" && s.Events == nil && s.Rows == "" {
		s.Events = []string{"I"}
	}
	if table == "part" {
		s.By, s.Period, s.Retention = by, period, p.Args.Get("retention_period")
		if by == "date_field" {
			s.By, s.Field = "field", p.Args.Get("part_field")
			for from, here := range columns { // the original looks after it has given columns their names
				if here == s.Field {
					s.Field = from
				}
			}
			if s.Field != "" && Here(columns, s.Field) != p.Args.Get("part_field") {
				return fmt.Errorf("handler %s: part_field %q is none of the columns that fields and skip_fields leave", p.Name, p.Args.Get("part_field"))
			}
		}
		s.SQL, s.Before, s.After = p.Args.Get("part_template"), p.Args.Get("pre_part"), p.Args.Get("post_part")
		if s.Create = p.Args.Get("part_func"); s.Create == CreatePart || s.SQL != "" {
			s.Create = ""
		}
		if old == "1" {
			s.SkipOld = "yes"
		}
	}
	if s.By == "" && s.Rows == "" && s.Events == nil {
		if strings.HasPrefix(p.Name, "bulk") || load == "bulk" {
			h.Apply = ApplyBulk
		}
		return nil
	}
	h.Parts = s
	return s.Check()
}

// Templates reports whether a part's making takes SQL of the user's.
func (s *Parts) Templates() bool { return s.SQL != "" || s.Before != "" || s.After != "" }

// Check fails where words are missing or unknown.
func (s *Parts) Check() error {
	for _, c := range []struct {
		key, value string
		words      []string
	}{
		{"by", s.By, []string{"", "batch_time", "event_time", "current_time", "field"}}, {"rows", s.Rows, []string{"", "keep_all", "keep_latest"}},
		{"skip_old", s.SkipOld, []string{"", "yes"}},
	} {
		if !slices.Contains(c.words, c.value) {
			return fmt.Errorf("parts: %s %q is none of %s", c.key, c.value, strings.Join(c.words[1:], ", "))
		}
	}
	for _, op := range s.Events {
		if op != "I" && op != "U" && op != "D" {
			return fmt.Errorf("parts: event %q is none of I, U, D", op)
		}
	}
	for key, text := range map[string]string{"sql": s.SQL, "before": s.Before, "after": s.After} {
		if err := sql.Template(text).Check(PartTexts); err != nil {
			return fmt.Errorf("parts: create: %s: %w", key, err)
		}
	}
	switch {
	case s.Create != "" && s.SQL != "":
		return fmt.Errorf("parts: create: a function or sql makes a part, not both")
	case s.By != "" && !slices.Contains([]string{"hour", "day", "month", "year"}, s.Period):
		return fmt.Errorf("parts: period %q is none of hour, day, month, year", s.Period)
	case (s.By == "field") != (s.Field != ""):
		return fmt.Errorf("parts: field and by: field belong together")
	case s.SkipOld != "" && s.Retention == "":
		return fmt.Errorf("parts: skip_old needs a retention")
	}
	return nil
}
