package standby

import (
	_ "embed"
	"math"
	"strconv"
	"strings"

	"github.com/skytools-go/skytools/sql"
)

//go:embed setting.sql
var settingSQL string

// Settings reads the settings of a standby.
var Settings = sql.Catalog{Kind: "setting", Text: settingSQL}

// A Setting is a row of [Settings].
//
// Source: PostgreSQL documentation, pg_settings.
type Setting struct {
	Name    string  `json:"name"`
	Value   *string `json:"value"`
	Unit    *string `json:"unit"`
	Type    string  `json:"type"` // bool, enum, integer, real, string
	Context string  `json:"context"`
	Source  string  `json:"source"`
	Pending bool    `json:"pending"` // a restart will change it
	Open    *string `json:"open"`    // primary_conninfo whole, where it holds no password and is no URL
}

// Reloads reports whether a session that is there already sees a change of the server's
// files.
func (s Setting) Reloads() bool {
	return s.Context == "sighup" || s.Context == "superuser" || s.Context == "user"
}

// Overridden reports whether something stands over the server's files, for this session or
// for all.
func (s Setting) Overridden() bool {
	switch s.Source {
	case "database", "user", "database user", "client", "command line", "environment variable", "override":
		return true
	}
	return false
}

// Now is its value in the words of [Setting.Words].
func (s Setting) Now() string {
	if s.Value == nil {
		return ""
	}
	return s.Words(*s.Value)
}

// Words writes a value in one way, however it was written: in the largest unit that gives
// a whole number. What is no value of its type stays as it is.
// Source: PostgreSQL documentation, 20.1.1.
func (s Setting) Words(value string) string {
	switch trimmed := strings.TrimSpace(value); s.Type {
	case "bool":
		return boolean(trimmed)
	case "enum":
		return strings.ToLower(trimmed)
	case "integer", "real":
		return s.number(trimmed)
	}
	return value
}

// boolean takes any beginning of a word that no other word has.
func boolean(value string) string {
	v := strings.ToLower(value)
	switch {
	case v == "1" || v == "on" || v != "" && (strings.HasPrefix("true", v) || strings.HasPrefix("yes", v)):
		return "on"
	case v == "0" || v == "of" || v == "off" || v != "" && (strings.HasPrefix("false", v) || strings.HasPrefix("no", v)):
		return "off"
	}
	return value
}

// units are those of memory and of time, each in the smallest of its kind, largest first.
var units = [][]struct {
	name string
	size float64
}{
	{{"TB", 1 << 40}, {"GB", 1 << 30}, {"MB", 1 << 20}, {"kB", 1 << 10}, {"B", 1}},
	{{"d", 86400e6}, {"h", 3600e6}, {"min", 60e6}, {"s", 1e6}, {"ms", 1e3}, {"us", 1}},
}

// unitOf finds a unit, which may count several, as 8kB does: its size, and its family.
func unitOf(text string) (size float64, family int, ok bool) {
	name := strings.TrimLeft(text, "0123456789")
	times := 1.0
	if digits := strings.TrimSuffix(text, name); digits != "" {
		times, _ = strconv.ParseFloat(digits, 64)
	}
	for i, all := range units {
		for _, u := range all {
			if u.name == name {
				return times * u.size, i, true
			}
		}
	}
	return 0, 0, false
}

func (s Setting) number(value string) string {
	digits := strings.TrimRight(value, "TGMkBdhminsu ")
	n, err := strconv.ParseFloat(digits, 64)
	if whole, wrong := strconv.ParseInt(digits, 0, 64); wrong == nil { // also octal and hexadecimal
		n, err = float64(whole), nil
	}
	if err != nil {
		return value
	}
	suffix := strings.TrimSpace(strings.TrimPrefix(value, digits))
	base, family := 1.0, -1
	if s.Unit != nil && *s.Unit != "" {
		size, of, ok := unitOf(*s.Unit)
		if !ok {
			return value
		}
		base, family = size, of
	}
	if suffix != "" {
		size, of, ok := unitOf(suffix)
		if !ok || of != family {
			return value
		}
		n *= size / base
	}
	if s.Type == "integer" {
		n = math.RoundToEven(n)
	}
	if family >= 0 && n > 0 {
		for _, u := range units[family] {
			if q := n * base / u.size; q == math.Trunc(q) {
				return strconv.FormatFloat(q, 'f', -1, 64) + u.name
			}
		}
	}
	return strconv.FormatFloat(n, 'f', -1, 64)
}
