package londiste

import (
	"fmt"
	"slices"
	"strings"
)

// Others is the name in a mapping of columns that, with no name here, leaves out all
// columns that the mapping does not name.
const Others = "*"

// Here is the name that the root's column has under a mapping; empty: it is left out.
func Here(columns map[string]string, column string) string {
	if name, named := columns[column]; named {
		return name
	}
	if name, named := columns[Others]; named && name == "" {
		return ""
	}
	return column
}

// ParseColumns reads which columns a table has here, from our attribute or from what a
// handler of the dispatch family says.
//
// Source: contract/londiste.md section 4.4.
func ParseColumns(attrs Dict) (map[string]string, error) {
	d, err := ParseDict(attrs.Get(AttrColumns))
	if err != nil {
		return nil, fmt.Errorf("table attribute %s: %w", AttrColumns, err)
	}
	if len(d) > 0 || attrs.Get(AttrHandler) == "" {
		return d.Texts(), nil
	}
	p, err := ParseHandler(attrs.Get(AttrHandler))
	if err != nil {
		return nil, err
	}
	return p.columns()
}

// columns are those of the arguments fields and skip_fields.
func (h Handler) columns() (map[string]string, error) {
	fields, skipped := h.Args.Get("fields"), h.Args.Get("skip_fields")
	columns, taken := map[string]string{}, map[string]bool{}
	for name := range strings.SplitSeq(skipped, ",") {
		if name = strings.TrimSpace(name); name != "" {
			columns[name] = ""
		}
	}
	if fields == "" || fields == "*" {
		if len(columns) == 0 {
			return nil, nil
		}
		return columns, nil
	}
	skip := columns
	columns = map[string]string{Others: ""}
	for field := range strings.SplitSeq(fields, ",") {
		name, here, renamed := strings.Cut(field, ":")
		if name, here = strings.TrimSpace(name), strings.TrimSpace(here); !renamed {
			here = name
		}
		_, skips := skip[name]
		_, twice := columns[name]
		if name == "" || here == "" || skips || twice || taken[here] {
			return nil, fmt.Errorf("handler %s: fields: %q is no list of columns that can be: each once, and none that skip_fields has", h.Name, fields)
		}
		columns[name], taken[here] = here, true
	}
	return columns, nil
}

// partName is how a handler of the dispatch family calls parts that are called as ours are.
func partName(period string) string {
	units := []string{"year", "month", "day", "hour"}
	text := "%(parent)s"
	for _, unit := range units[:slices.Index(units, period)+1] {
		text += "_%(" + unit + ")s"
	}
	return text
}
