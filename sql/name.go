package sql

import "strings"

// Ident quotes each part as an identifier and joins them with dots. It is the
// only place where names become part of a statement's text. Quoting always, and
// not only when needed, keeps keywords and upper case safe; zero bytes cannot
// occur in a PostgreSQL identifier and are dropped.
//
// Source: PostgreSQL documentation, 4.1.1 Identifiers and Key Words.
func Ident(parts ...string) string {
	quoted := make([]string, len(parts))
	for i, part := range parts {
		part = strings.ReplaceAll(part, "\x00", "")
		quoted[i] = `"` + strings.ReplaceAll(part, `"`, `""`) + `"`
	}
	return strings.Join(quoted, ".")
}

// Literal quotes a string constant, whatever standard_conforming_strings says.
// It is for text that people read and for the few commands that take no
// parameters; everything else passes values as parameters.
//
// Source: PostgreSQL documentation, 4.1.2.1 String Constants.
func Literal(s string) string {
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\x00", ""), "'", "''")
	if strings.Contains(s, `\`) {
		return "E'" + strings.ReplaceAll(s, `\`, `\\`) + "'"
	}
	return "'" + s + "'"
}

// A Name is a relation's schema and name, both unquoted.
type Name struct{ Schema, Rel string }

// ParseName splits a name the way PgQ and Londiste store it: unquoted, the first
// dot ends the schema, and without a dot the schema is public.
//
// Source: contract/londiste.md section 0.2.
func ParseName(fq string) Name {
	if schema, rel, ok := strings.Cut(fq, "."); ok {
		return Name{schema, rel}
	}
	return Name{"public", fq}
}

// String is the stored form: schema.rel, unquoted.
func (n Name) String() string { return n.Schema + "." + n.Rel }

// Ident is the quoted form, for use in a statement.
func (n Name) Ident() string { return Ident(n.Schema, n.Rel) }
