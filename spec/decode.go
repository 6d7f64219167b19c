package spec

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// The limits below keep hostile input from using much memory or time. Nothing
// that a person writes comes near them.
const (
	maxFile  = 8 << 20 // bytes
	maxNodes = 500_000 // yaml nodes visited, aliases counted at every use

	maxProblems    = 1000
	maxSuggestions = 100 // problems that look for the nearest name, which takes time
)

// decoder is the only code that walks yaml.Node.
type decoder struct {
	set      *Set
	dir      func(file string) fs.FS // where a file of YAML is
	file     string
	lines    map[string][]string
	path     []step // the objects being read, outermost first
	refs     []ref
	problems Problems
	secrets  map[*yaml.Node]bool // values that must not be shown
	nodes    int
}

// step is one object on the way to what is being read.
type step struct{ label, name string }

func (s step) String() string { return fmt.Sprintf("%s %q", s.label, s.name) }

// ref is a name that must be declared somewhere.
type ref struct {
	at   *yaml.Node
	file string
	to   string // "database" or "node"
	name string
	path []step // where it stands
}

// refer notes a name, to be looked up when everything has been read.
func (d *decoder) refer(at *yaml.Node, to, name string) {
	if name != "" {
		d.refs = append(d.refs, ref{at, d.file, to, name, d.path})
	}
}

// files are those beside the one that is read, and below.
func (d *decoder) files() fs.FS { return d.dir(d.file) }

func newDecoder(dir func(file string) fs.FS, sources []Source) *decoder {
	d := &decoder{set: &Set{}, dir: dir, lines: map[string][]string{}, secrets: map[*yaml.Node]bool{}}
	for _, s := range sources {
		d.lines[s.Name] = lineBreak.Split(strings.TrimPrefix(string(s.Text), "\ufeff"), -1)
	}
	return d
}

// lineBreak is what ends a line of YAML, as the parser counts them.
var lineBreak = regexp.MustCompile("\r\n|[\r\n\u0085\u2028\u2029]")

// countsFromZero are the messages of yaml.v3's parser, as opposed to its scanner,
// whose line is one too small.
var countsFromZero = regexp.MustCompile(`^did not find expected (<|node content|'-' indicator|key|',')|^found (undefined tag|duplicate %|incompatible)`)

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// source reads one file into the set.
func (d *decoder) source(s Source) {
	d.file = s.Name
	switch {
	case len(s.Text) > maxFile:
		d.problem(Pos{File: s.Name}, "too-large", "the file has %d bytes; at most %d are read", len(s.Text), maxFile)
		return
	case !utf8.Valid(s.Text):
		d.problem(invalidAt(s), "not-utf8", "this is not UTF-8 text")
		return
	}
	docs, err := documents(s.Text)
	if err != nil {
		line, message := 1, err.Error()
		if m := yamlLine.FindStringSubmatch(message); m != nil {
			message = m[2]
			if n, err := strconv.Atoi(m[1]); err == nil {
				if countsFromZero.MatchString(message) {
					n++
				}
				line = max(1, min(n, len(d.lines[s.Name])))
			}
		}
		if looksSecret(string(s.Text)) { // without its structure nobody knows where it begins and ends
			d.lines[s.Name] = nil
		}
		d.problem(Pos{s.Name, line, 1}, "syntax", "this is not YAML: %s", message)
		return
	}
	if len(docs) == 0 {
		d.problem(Pos{File: s.Name}, "empty-file", "the file says nothing; remove it or write: skytools: %d", Format)
		return
	}
	if len(docs) > 1 {
		d.fail(docs[1], "second-document", "a second document begins here; write one document in a file")
	}
	d.top(docs[0])
	for _, doc := range docs {
		d.blank(doc)
	}
}

// invalidAt is the place of the first byte that is not UTF-8.
func invalidAt(s Source) Pos {
	good := 0
	for good < len(s.Text) {
		r, size := utf8.DecodeRune(s.Text[good:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		good += size
	}
	lines := lineBreak.Split(string(s.Text[:good]), -1)
	return Pos{s.Name, len(lines), utf8.RuneCountInString(lines[len(lines)-1]) + 1}
}

// documents splits a file, turning a panic of the parser into an error.
func documents(text []byte) (docs []*yaml.Node, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the parser gave up: %v", p)
		}
	}()
	dec := yaml.NewDecoder(strings.NewReader(string(text)))
	for len(docs) < 2 {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if len(doc.Content) == 1 && doc.Content[0].Tag != "!!null" {
			docs = append(docs, doc.Content[0])
		} else if len(docs) > 0 {
			docs = append(docs, &doc)
		}
	}
	return docs, nil
}

// top reads the keys of a file into the set.
func (d *decoder) top(n *yaml.Node) {
	decodeObject[Set](d, n, n, d.set)
}

// value sets *into from n. The type of into says how to parse.
func (d *decoder) value(key, n *yaml.Node, into any) {
	if custom, ok := into.(node); ok {
		custom.decode(d, n)
		return
	}
	if list, ok := into.(*[]string); ok {
		d.list(key, n, list)
		return
	}
	n = d.follow(n)
	if n == nil {
		return
	}
	if n.Kind != yaml.ScalarNode {
		d.fail(n, "not-a-value", "%s: expected a single value, found %s", key.Value, d.kindName(n))
		return
	}
	if _, optional := into.(**int); n.Tag == "!!null" && !optional {
		d.fail(n, "empty-value", "%s: the value is missing", key.Value)
		return
	}
	switch p := into.(type) {
	case *string:
		d.text(key, n, p)
	case *int:
		d.number(key, n, func(v int) { *p = v })
	case **int:
		if n.Tag != "!!null" {
			d.number(key, n, func(v int) { *p = &v })
		}
	case *bool:
		switch {
		case n.Tag == "!!bool" && (n.Value == "true" || n.Value == "false"):
			*p = n.Value == "true"
		default:
			d.fail(n, "bad-bool", "%s: expected true or false, found %q", key.Value, n.Value)
		}
	case *Duration:
		v, err := ParseDuration(n.Value)
		if err != nil {
			d.fail(n, "bad-duration", "%s: %v", key.Value, err)
		}
		*p = v
	case choice:
		if !slices.Contains(p.choices(), n.Value) {
			d.failNear(n, "bad-choice", p.choices(), "%s: expected %s, found %q", key.Value, either(p.choices()), n.Value)
			return
		}
		p.set(n.Value)
	default:
		panic(fmt.Sprintf("spec: %s cannot be decoded into %T", key.Value, into))
	}
}

// choice is one of a few words.
type choice interface {
	choices() []string
	set(string)
}

func either(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// text reads a text as it is written. It reports whether there is one.
func (d *decoder) text(key, n *yaml.Node, into *string) bool {
	switch {
	case n.Tag == "!!null":
		d.fail(n, "empty-value", "%s: the value is missing", key.Value)
	case strings.ContainsRune(n.Value, 0):
		d.fail(n, "bad-text", "%s: zero bytes cannot be stored", key.Value)
	default:
		*into = n.Value
		return true
	}
	return false
}

func (d *decoder) number(key, n *yaml.Node, set func(int)) {
	v, err := strconv.Atoi(n.Value)
	digits := strings.TrimLeft(n.Value, "+-")
	switch {
	case len(digits) > 1 && digits[0] == '0' && strings.Trim(digits, "0123456789") == "":
		d.fail(n, "leading-zero", "%s: %s has a leading zero, which YAML reads as octal; write it without", key.Value, n.Value)
	case err != nil || n.Tag != "!!int":
		d.fail(n, "bad-number", "%s: expected a whole number, found %q", key.Value, n.Value)
	case v < 0 || v > math.MaxInt32:
		d.fail(n, "out-of-range", "%s: expected 0 to %d, found %d", key.Value, math.MaxInt32, v)
	default:
		set(v)
	}
}

// list reads a set of texts; a single text stands for a list of one.
func (d *decoder) list(key, n *yaml.Node, into *[]string) {
	var items []string
	d.names(key, n, func(_ *yaml.Node, text string) { items = append(items, text) })
	*into = items
}

// names walks a set of texts: none is empty, and none is there twice.
func (d *decoder) names(key, n *yaml.Node, f func(item *yaml.Node, text string)) {
	seen := map[string]bool{}
	d.texts(key, n, func(item *yaml.Node, text string) {
		switch {
		case text == "":
			d.fail(item, "empty-value", "%s: a text in the list is empty", key.Value)
		case seen[text]:
			d.fail(item, "listed-twice", "%s: %q is in the list already", key.Value, text)
		default:
			seen[text] = true
			f(item, text)
		}
	})
}

// argv reads a program and its arguments: they may be empty, and the same twice.
func (d *decoder) argv(key, n *yaml.Node, into *[]string) {
	d.texts(key, n, func(_ *yaml.Node, text string) { *into = append(*into, text) })
}

// argvOf decodes a command line.
type argvOf struct{ into *[]string }

func (a argvOf) shape() shape                    { return shape{kind: "texts"} }
func (a argvOf) decode(d *decoder, n *yaml.Node) { d.argv(&yaml.Node{Value: "command"}, n, a.into) }

// texts walks a sequence of texts, or a single one.
func (d *decoder) texts(key, n *yaml.Node, f func(item *yaml.Node, text string)) {
	n = d.follow(n)
	if n == nil {
		return
	}
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	} else if n.Kind == yaml.MappingNode {
		d.fail(n, "not-a-list", "%s: expected a list, found a mapping", key.Value)
		return
	}
	for _, item := range items {
		if item = d.follow(item); item == nil {
			continue
		}
		var s string
		if item.Kind != yaml.ScalarNode {
			d.fail(item, "not-a-value", "%s: expected a text in the list, found %s", key.Value, d.kindName(item))
			continue
		}
		if d.text(key, item, &s) {
			f(item, s)
		}
	}
}

// each walks the keys of a mapping. No value at all is an empty mapping.
func (d *decoder) each(n *yaml.Node, f func(key, value *yaml.Node)) {
	n = d.follow(n)
	if n == nil || n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.fail(n, "not-a-mapping", "expected keys and values here, found %s", d.kindName(n))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode {
			d.fail(key, "bad-key", "a key must be a single value, found %s", d.kindName(key))
			continue
		}
		if key.Tag == "!!merge" {
			d.fail(key, "merge-key", "merge keys are not read; write the keys out")
			continue
		}
		if line, twice := seen[key.Value]; twice {
			d.fail(key, "duplicate-key", "%q stands on line %d already", key.Value, line)
			continue
		}
		seen[key.Value] = key.Line
		f(key, n.Content[i+1])
	}
}

// follow replaces an alias by what it stands for. Nil means that the budget is
// used up, which only hostile input manages.
func (d *decoder) follow(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode && n.Alias != nil && d.nodes <= maxNodes {
		n = n.Alias
		d.nodes++
	}
	if d.nodes++; d.nodes > maxNodes {
		if d.nodes == maxNodes+1 {
			d.fail(n, "too-large", "this YAML has more than %d values, aliases counted at every use", maxNodes)
		}
		return nil
	}
	return n
}

// kindName says what stands in the place of something else.
func (d *decoder) kindName(n *yaml.Node) string {
	if holdsPassword(n.Value) {
		d.conceal(n)
		return "a text that holds a password"
	}
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		return strconv.Quote(n.Value)
	}
	return "an alias"
}

// in runs f while what it reads is called label "name" in messages.
func (d *decoder) in(label, name string, f func()) {
	before := d.path
	d.path = append(slices.Clip(d.path), step{label, name})
	f()
	d.path = before
}

// where is the innermost object being read, for messages.
func (d *decoder) where() string {
	if len(d.path) == 0 {
		return ""
	}
	return d.path[len(d.path)-1].String()
}

func (d *decoder) at(n *yaml.Node) Pos {
	return Pos{d.file, max(1, n.Line), max(1, n.Column)}
}

func (d *decoder) fail(n *yaml.Node, rule, format string, args ...any) {
	d.report(n, rule, "", format, args...)
}

// failNear adds the candidate that was probably meant.
func (d *decoder) failNear(n *yaml.Node, rule string, candidates []string, format string, args ...any) {
	d.report(n, rule, d.near(n.Value, candidates), format, args...)
}

func (d *decoder) report(n *yaml.Node, rule, try, format string, args ...any) {
	if len(d.problems) >= maxProblems {
		return
	}
	message := fmt.Sprintf(format, args...)
	if w := d.where(); w != "" {
		message = w + ": " + message
	}
	width := utf8.RuneCountInString(n.Value)
	if n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
		width += 2
	}
	d.problems = append(d.problems, Problem{Pos: d.at(n), Rule: rule, Message: message, Try: try, Width: width})
}

// problem reports something about a place that is no yaml node; line 0 is the file.
func (d *decoder) problem(at Pos, rule, format string, args ...any) {
	if len(d.problems) < maxProblems {
		p := Problem{Pos: at, Rule: rule, Message: fmt.Sprintf(format, args...), whole: at.Line == 0}
		p.Line, p.Column = max(1, at.Line), max(1, at.Column)
		d.problems = append(d.problems, p)
	}
}
