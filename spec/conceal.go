package spec

import (
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

// Problems show the line that they are about. A line with a password in it must
// not be shown, whatever the problem is: logs of CI are read by many.

// concealed stands for what is not shown.
const concealed = "(not shown: it may hold a password)"

var (
	passwordKey  = regexp.MustCompile(`(?i)(^|[\s\pZ?&'"])(password|sslpassword|passphrase)\s*=\s*\S`)
	passwordWord = regexp.MustCompile(`(?i)(^|[\s{,?&'"_-])(pass(word|phrase|wd)?|secret|token)["']?\s*[=:]\s*\S`)
	passwordURL  = regexp.MustCompile(`(?i)[a-z0-9+]://[^\s:/@]*:([^\s]*)@`)
	portFirst    = regexp.MustCompile(`^\d*([/?,]|$)`)
)

// holdsPassword reports a conninfo string or URL with a password in it.
func holdsPassword(text string) bool {
	if passwordKey.MatchString(text) {
		return true
	}
	m := passwordURL.FindStringSubmatch(text)
	return m != nil && !portFirst.MatchString(m[1])
}

// looksSecret is holdsPassword for a line of YAML, which may name its keys freely.
func looksSecret(line string) bool { return holdsPassword(line) || passwordWord.MatchString(line) }

// conceal notes a value that must not be shown, with all that is in it.
func (d *decoder) conceal(n *yaml.Node) {
	d.secrets[n] = true
	for _, inner := range n.Content {
		d.conceal(inner)
	}
}

// blank takes the noted values out of the lines. Where a value ends is not known;
// one that does not stand on its first line in full ends before the next begins.
func (d *decoder) blank(root *yaml.Node) {
	if len(d.secrets) == 0 {
		return
	}
	lines := d.lines[d.file]
	var last *yaml.Node
	end := func(until int) {
		if last == nil || !d.secrets[last] {
			return
		}
		if i := last.Line - 1; i >= 0 && i < len(lines) && last.Value != "" && strings.Contains(lines[i], last.Value) {
			until = last.Line
		}
		for i := max(last.Line, 1); i <= min(until, len(lines)); i++ {
			lines[i-1] = concealed
		}
	}
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		end(n.Line)
		last = n
		for _, inner := range n.Content {
			walk(inner)
		}
	}
	walk(root)
	end(len(lines))
	clear(d.secrets)
}
