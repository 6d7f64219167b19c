package spec

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// A Script is a file of SQL that runs once on every node of a cascade, on the root
// first. Its name is that of the file without directories: it is what nodes remember.
//
// Source: contract/londiste.md section 5.2.
type Script struct {
	Head
	Digest string `json:"sha256"` // of Text
	File   string `json:"-"`      // as found from the directory of the YAML
	Text   string `json:"-"`
}

const maxScript = 1 << 20 // bytes

// scriptList reads patterns of files. Scripts come in the order in which patterns
// stand, those of one pattern by name.
type scriptList struct{ into *[]Script }

func (l scriptList) shape() shape { return shape{kind: "texts"} }

func (l scriptList) decode(d *decoder, n *yaml.Node) {
	d.names(&yaml.Node{Value: "scripts"}, n, func(item *yaml.Node, pattern string) {
		files, err := fs.Glob(d.files(), path.Clean(pattern))
		switch {
		case err != nil:
			d.fail(item, "bad-script", "scripts: %q is no pattern of file names: %v", pattern, err)
		case path.IsAbs(pattern) || slices.Contains(strings.Split(pattern, "/"), ".."):
			d.fail(item, "bad-script", "scripts: %q: write where it is from the directory of this file; what is outside is not read", pattern)
		case len(files) == 0:
			d.fail(item, "no-script", "scripts: no file matches %q in the directory of this file", pattern)
		}
		slices.Sort(files)
		for _, file := range files {
			l.add(d, item, file)
		}
	})
}

func (l scriptList) add(d *decoder, item *yaml.Node, file string) {
	s := Script{Head: Head{path.Base(file), Pos{d.file, item.Line, item.Column}}, File: file}
	raw, err := fs.ReadFile(d.files(), file)
	var other *Script
	if at := slices.IndexFunc(*l.into, func(o Script) bool { return o.Name == s.Name }); at >= 0 {
		other = &(*l.into)[at]
	}
	switch {
	case err != nil:
		d.fail(item, "bad-script", "scripts: %v", err)
	case len(raw) > maxScript:
		d.fail(item, "bad-script", "scripts: %s has %d bytes; at most %d are read", file, len(raw), maxScript)
	case !utf8.Valid(raw) || strings.ContainsRune(string(raw), 0):
		d.fail(item, "bad-script", "scripts: %s is not UTF-8 text", file)
	case strings.TrimSpace(string(raw)) == "":
		d.fail(item, "bad-script", "scripts: %s is empty", file)
	case other != nil && other.File == file: // two patterns match it: the first says when
	case other != nil:
		d.fail(item, "script-twice", "scripts: %s and %s have one name: nodes remember scripts by the name of the file, and would run only one", other.File, file)
	default:
		sum := sha256.Sum256(raw)
		s.Text, s.Digest = string(raw), hex.EncodeToString(sum[:])
		*l.into = append(*l.into, s)
	}
}

// checkScripts refuses scripts of two queues that one database would take for the same.
func (d *decoder) checkScripts() {
	type place struct{ database, script string }
	seen := map[place]string{}
	for _, q := range d.set.Queues {
		said := map[string]bool{}
		for _, s := range q.Scripts {
			for _, n := range q.Nodes {
				p := place{n.Name, s.Name}
				if other, twice := seen[p]; twice && !said[s.Name] {
					said[s.Name] = true
					d.problem(s.At, "script-twice", "queue %q: queue %q has a script %s, too, and %s would run only one: a database remembers scripts by the name of the file", q.Name, other, s.Name, n.Name)
				}
				seen[p] = q.Name
			}
		}
	}
}
