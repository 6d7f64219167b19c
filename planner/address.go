package planner

import (
	"fmt"
	"path"
	"strings"
)

// An Address names one object everywhere: in plans, flags, logs and status. It
// is written kind/name@database, such as consumer/orders/mailer@hub. The name may
// hold slashes and at signs of its own: the kind ends at the first slash, and the
// database, whose name has no at sign, begins after the last.
type Address struct{ Kind, Name, Database string }

func (a Address) String() string { return a.Kind + "/" + a.Name + "@" + a.Database }

// MarshalText writes the address as [Address.String] does.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText is [ParseAddress].
func (a *Address) UnmarshalText(text []byte) (err error) {
	*a, err = ParseAddress(string(text))
	return err
}

// ParseAddress reads what [Address.String] writes.
func ParseAddress(text string) (Address, error) {
	kind, rest, ok := strings.Cut(text, "/")
	at := strings.LastIndex(rest, "@")
	if !ok || at < 1 || kind == "" || at == len(rest)-1 {
		return Address{}, fmt.Errorf("%q is not an address; write kind/name@database, such as queue/orders@hub", text)
	}
	return Address{kind, rest[:at], rest[at+1:]}, nil
}

// Short is the address without its database, for output that is grouped by it.
func (a Address) Short() string { return a.Kind + "/" + a.Name }

// Match reports whether the address matches a glob: * stands for any text, slashes
// included, and ? for one character. Without @ the glob matches in every database.
func (a Address) Match(glob string) bool {
	subject := a.String()
	if !strings.Contains(glob, "@") {
		subject = a.Short()
	}
	// path.Match stops * at slashes, so slashes become a character that no name holds.
	const stand = "\x00"
	escaped := strings.NewReplacer("/", stand, "[", `\[`, `\`, `\\`).Replace(glob)
	ok, err := path.Match(escaped, strings.ReplaceAll(subject, "/", stand))
	return ok && err == nil
}

func matchAny(a Address, globs []string) bool {
	for _, g := range globs {
		if a.Match(g) {
			return true
		}
	}
	return false
}
