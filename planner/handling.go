package planner

import (
	"github.com/skytools-go/skytools/spec"
	"github.com/skytools-go/skytools/sql/londiste"
)

// attrHandler names the plug-in of the original that handles a table.
const attrHandler = "handler"

// keepsRows is the original's word for truncate: no.
const keepsRows = "londiste(ignore_truncate=1)"

// handling is how a node applies a table's changes, in the words of the YAML. Defaults
// are empty.
type handling struct {
	OnMissing  string `json:"on_missing,omitempty"`
	OnConflict string `json:"on_conflict,omitempty"`
	Truncate   string `json:"truncate,omitempty"`
}

func wantedHandling(h spec.Handling) handling {
	return handling{string(h.OnMissing), string(h.OnConflict), string(h.Truncate)}
}

// read takes a table's attribute. It reports false when it is none of these.
func (h *handling) read(key, value string) bool {
	switch {
	case key == londiste.AttrOnMissing:
		h.OnMissing = value
	case key == londiste.AttrOnConflict:
		h.OnConflict = value
	case key == londiste.AttrTruncate:
		h.Truncate = value
	case key == attrHandler && value == keepsRows:
		h.Truncate = londiste.TruncateNo
	case key == attrHandler && (value == "londiste" || value == "londiste()" || value == "londiste(ignore_truncate=0)"): // as without
	default:
		return false
	}
	return true
}

// write is the opposite of read. What the original can be told is told in its words, so
// that its workers do the same.
func (h handling) write(d londiste.Dict) {
	for key, value := range map[string]string{londiste.AttrOnMissing: h.OnMissing, londiste.AttrOnConflict: h.OnConflict, londiste.AttrTruncate: h.Truncate} {
		if value != "" {
			d.Set(key, value)
		}
	}
	if h.Truncate == londiste.TruncateNo && d[attrHandler] == nil {
		delete(d, londiste.AttrTruncate)
		d.Set(attrHandler, keepsRows)
	}
}

// yaml is the handling as options of a node.
func (h handling) yaml() (options []string) {
	for _, o := range [][2]string{{"on_missing", h.OnMissing}, {"on_conflict", h.OnConflict}, {"truncate", h.Truncate}} {
		if o[1] != "" {
			options = append(options, o[0]+": "+spec.Scalar(o[1]))
		}
	}
	return options
}
