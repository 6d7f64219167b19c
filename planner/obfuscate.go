package planner

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql/londiste"
	"github.com/skytools-go/skytools/sql/pgqnode"
)

// obfuscates reports the handler that masks rows by rules which no database holds.
// Source: contract/londiste.md section 4.3.
func obfuscates(handler string) bool {
	name, _, _ := strings.Cut(handler, "(")
	return name == "obfuscate"
}

// handler is one of the original that stays as it is; empty: there is none.
func (t *tableState) handler() string {
	return cmp.Or(t.Attrs[londiste.AttrHandler], t.Attrs["handlers"])
}

// refuseUnmasked says why that handler cannot give way to what the YAML says: rows that it
// masks would be replayed, and passed on, as they are.
func refuseUnmasked(have, want tableState, name string, n *spec.Node) *Diagnostic {
	if n.Type == spec.Root || !obfuscates(have.handler()) || want.Mask != nil || want.handler() == have.handler() {
		return nil
	}
	return &Diagnostic{Code: "mask-missing", Message: fmt.Sprintf("the handler obfuscate masks %s on %s, and without it nothing would", name, n.Name),
		Try: "write mask: with a rule for every column; skytools adopt --obfuscator-map FILE makes it of the handler's file"}
}

// maskOf is the mask of a table that the handler's file has rules for: columns that it does
// not name are left out there, too. Note is what is to be said of it.
func (a *Adoption) maskOf(queue, table, database string) (m londiste.Mask, note string) {
	rules, known := a.scene.Masks[table]
	if !known {
		return nil, "handler obfuscate on " + database + " stays, and stops the table: its rules are in a file (adopt --obfuscator-map FILE)"
	}
	text, _ := json.Marshal(rules) // words, which have been checked
	json.Unmarshal(text, &m)
	if m == nil {
		m = londiste.Mask{}
	}
	for root := range a.scene.Live.Databases {
		if nodesIn(a.scene, root)[queue].Type != pgqnode.Root {
			continue
		}
		if source, ok := structureOf(a.scene, root, table); ok {
			for _, column := range source.columns() {
				if _, named := m[column]; !named {
					m[column] = londiste.Rule{Word: "skip"}
				}
			}
		}
	}
	return m, "masked on " + database + " by the handler obfuscate so far: it is copied again, or keeps its rows with copy: no"
}
