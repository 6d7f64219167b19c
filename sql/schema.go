package sql

import (
	"crypto/md5"
	"encoding/hex"
	"io/fs"
	"regexp"
	"slices"
	"strings"
)

// A Schema is SQL that apply installs into a managed database.
//
// Its files follow one convention, which [Schema.Functions] relies on and a test
// keeps: every function is written
//
//	create or replace function SCHEMA.NAME(...)
//	returns ...
//	language ... [security definer]
//	[set NAME = VALUE], one a line, names as the server spells them
//	as $$
//	...
//	$$;
//
// and every file can be run again on a database that has it already.
type Schema struct {
	Name     string
	Version  string   // as the schema's own version() answers
	Requires []string // schemas to install first
	Roles    []Role   // that its grants name; they must exist first
	files    []file
}

type file struct{ name, text string }

// NewSchema reads the schema's files from dir, in the order given.
// It panics when one is missing: that is a mistake in the program.
func NewSchema(s Schema, dir fs.FS, names ...string) Schema {
	for _, name := range names {
		text, err := fs.ReadFile(dir, name)
		if err != nil {
			panic("sql: schema " + s.Name + ": " + err.Error())
		}
		s.files = append(s.files, file{name, string(text)})
	}
	return s
}

// Script installs or upgrades the schema. It holds no transaction commands, can
// be run again, and expects the roles and the required schemas to exist. Its last
// statement marks the schema as ours, by [Mark].
func (s Schema) Script() string {
	var out strings.Builder
	for _, f := range s.files {
		out.WriteString("-- " + s.Name + "/" + f.name + "\n\n" + strings.TrimSpace(f.text) + "\n\n")
	}
	out.WriteString("comment on schema " + Ident(s.Name) + " is " + Literal(Mark+s.Version) + ";\n")
	return out.String()
}

// Mark begins the comment on every schema that skytools has installed; the
// version follows. A schema without it is the original, and is used as it is.
const Mark = "installed by skytools, version "

var functionText = regexp.MustCompile(`(?ms)^create or replace function (\w+)\.(\w+)\((.*?)^as \$\$(.*?)^\$\$;$`)
var setting = regexp.MustCompile(`\bset (\w+) = '?([^\n']+?)'?\s*$`)

// Functions maps each function name of the schema to a digest of its bodies,
// overloads together. The query in sql/meta computes the same digest from
// pg_proc, so the two tell which functions somebody changed, and which an
// upgrade would.
func (s Schema) Functions() map[string]string {
	bodies := map[string][]string{}
	for _, m := range functionText.FindAllStringSubmatch(s.Script(), -1) {
		schema, name, head, body := m[1], m[2], m[3], m[4]
		if schema != s.Name {
			continue
		}
		if strings.Contains(head, "security definer") {
			body += "|definer"
		}
		for line := range strings.Lines(head) {
			if p := setting.FindStringSubmatch(line); p != nil {
				body += "|" + p[1] + "=" + p[2]
			}
		}
		bodies[name] = append(bodies[name], digest(body))
	}
	all := map[string]string{}
	for name, digests := range bodies {
		slices.Sort(digests)
		all[name] = digest(strings.Join(digests, ","))
	}
	return all
}

func digest(s string) string {
	sum := md5.Sum([]byte(s)) // the strongest digest that every PostgreSQL has without an extension
	return hex.EncodeToString(sum[:])
}
