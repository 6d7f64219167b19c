package spec

import (
	"encoding/json"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// A Mask says what becomes of the values of columns.
type Mask map[string]MaskRule

// A MaskRule is a word, or rules for the members of a JSON object.
type MaskRule struct {
	Word   string
	Inside Mask
}

var maskWords = []string{"keep", "skip", "bool", "hash", "hash32", "hash64"}

// MarshalJSON writes a word, or an object.
func (r MaskRule) MarshalJSON() ([]byte, error) {
	if r.Inside != nil {
		return json.Marshal(r.Inside)
	}
	return json.Marshal(r.Word)
}

// Hashes reports whether a rule needs the key.
func (m Mask) Hashes() bool {
	return slices.ContainsFunc(slices.Collect(maps.Values(m)), func(r MaskRule) bool {
		return r.Inside.Hashes() || len(r.Word) >= 4 && r.Word[:4] == "hash"
	})
}

// maskOf reads a mapping from columns to rules.
type maskOf struct{ into **Mask }

func (m maskOf) shape() shape { return shape{kind: "anymap", entries: 1} }

func (m maskOf) decode(d *decoder, n *yaml.Node) {
	all := readMask(d, n)
	if len(all) == 0 {
		d.fail(n, "empty-list", "mask: nothing is named; leave the key out")
	}
	*m.into = &all
}

func readMask(d *decoder, n *yaml.Node) Mask {
	all := Mask{}
	d.each(n, func(key, value *yaml.Node) {
		v := d.follow(value)
		switch {
		case v == nil:
		case v.Kind == yaml.MappingNode:
			all[key.Value] = MaskRule{Inside: readMask(d, v)}
		case v.Kind != yaml.ScalarNode || !slices.Contains(maskWords, v.Value):
			d.failNear(v, "bad-choice", maskWords, "mask: %s: expected %s, or a mapping, found %s", key.Value, either(maskWords), d.kindName(v))
		default:
			all[key.Value] = MaskRule{Word: v.Value}
		}
	})
	return all
}

// ParseMasks reads the file in which the original's handler obfuscate has its rules: a
// mapping from tables to those of their columns.
//
// Source: contract/londiste.md section 4.3.
func ParseMasks(s Source) (map[string]Mask, Problems) {
	d := newDecoder(func(string) fs.FS { return noFiles{} }, []Source{s})
	d.file = s.Name
	all := map[string]Mask{}
	docs, err := documents(s.Text)
	switch {
	case err != nil:
		d.problem(Pos{File: s.Name}, "syntax", "this is not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	case len(docs) != 1:
		d.problem(Pos{File: s.Name}, "empty-file", "there should be one mapping from tables to rules")
	default:
		d.each(docs[0], func(key, value *yaml.Node) { all[key.Value] = readMask(d, value) })
	}
	d.problems.finish(d.lines)
	return all, d.problems
}

// maskKeyOf reads a reference to a key, which never stands in the YAML itself.
type maskKeyOf struct{ into **Secret }

func (k maskKeyOf) shape() shape { return secretOf{new(Secret), "mask_key"}.shape() }

func (k maskKeyOf) decode(d *decoder, n *yaml.Node) {
	if v := d.follow(n); v == nil || v.Kind == yaml.ScalarNode {
		d.conceal(n)
		d.fail(n, "plain-secret", "mask_key: write where it is: {env: NAME}, {file: PATH} or {command: [PROGRAM, ARG]}")
		return
	}
	*k.into = new(Secret)
	secretOf{*k.into, "mask_key"}.decode(d, n)
}
