package spec

import (
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"
)

// Scalar writes a text as a YAML scalar on one line, quoted when it has to be, or
// when it is the name of a relation whose upper case is meant.
func Scalar(text string) string {
	if text != strings.ToLower(text) || strings.ContainsFunc(text, unprintable) || strings.ContainsAny(text, "\"'*?:{}[],&#|<>%@`\\") {
		n := yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text, Style: yaml.DoubleQuotedStyle}
		if out, err := yaml.Marshal(&n); err == nil {
			return strings.TrimSpace(string(out))
		}
	}
	out, err := yaml.Marshal(text)
	if err != nil {
		return `""`
	}
	return strings.TrimSpace(string(out))
}

func unprintable(r rune) bool { return r != ' ' && !unicode.IsPrint(r) }

// FlowList writes texts as a YAML list on one line.
func FlowList(items []string) string {
	quoted := make([]string, len(items))
	for i, item := range items {
		quoted[i] = Scalar(item)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
