package londiste

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// A Mask says what becomes of the values of a table's columns on their way to a node, and
// on from there. A column that it does not name is left out.
//
// Source: contract/londiste.md section 4.3, obfuscate.
type Mask map[string]Rule

// A Rule is a word of [MaskRules], or says what becomes of the members of a JSON object.
type Rule struct {
	Word   string
	Inside Mask
}

// MaskRules are the words: the value itself; nothing; whether it is true; and its keyed
// hash, as 128 bits in the form of a UUID, or as a signed number of 32 or 64 bits.
var MaskRules = []string{"keep", "skip", "bool", "hash", "hash32", "hash64"}

// AttrMask holds a [Mask] as JSON.
const AttrMask = "skytools_mask"

// Hashes reports a rule that needs the key.
func (r Rule) Hashes() bool {
	for _, inside := range r.Inside {
		if inside.Hashes() {
			return true
		}
	}
	return strings.HasPrefix(r.Word, "hash")
}

// MarshalJSON writes a word, or an object.
func (r Rule) MarshalJSON() ([]byte, error) {
	if r.Inside != nil {
		return json.Marshal(r.Inside)
	}
	return json.Marshal(r.Word)
}

// UnmarshalJSON reads what MarshalJSON writes. A word that nobody knows is an error.
func (r *Rule) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] == '{' {
		return json.Unmarshal(text, &r.Inside)
	}
	if err := json.Unmarshal(text, &r.Word); err != nil {
		return err
	}
	if !slices.Contains(MaskRules, r.Word) {
		return fmt.Errorf("mask: %q is none of %s", r.Word, strings.Join(MaskRules, ", "))
	}
	return nil
}
