package pg

import (
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// Conceal takes the password out of dsn, for places where others can read it: a server's
// configuration, a command line. more are keywords that are added or replaced. password is
// what a connection to dsn would use, wherever it comes from; it is empty when there is none.
//
// Source: PostgreSQL documentation, 34.1.1 Connection Strings.
func Conceal(dsn string, more map[string]string) (open, password string, err error) {
	cfg, err := parse(dsn)
	if err != nil {
		return "", "", err
	}
	if strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://") {
		open, err = concealURL(dsn, more)
	} else {
		open, err = concealWords(dsn, more)
	}
	return open, cfg.Password, err
}

// User is the role that a connection to dsn would have; empty when dsn cannot be read.
func User(dsn string) string {
	cfg, err := parse(dsn)
	if err != nil {
		return ""
	}
	return cfg.User
}

var errConninfo = errors.New("read the conninfo: it is no list of keyword=value and no URL")

func concealURL(dsn string, more map[string]string) (string, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return "", errConninfo // the error would repeat the whole string
	}
	if u.User != nil {
		u.User = url.User(u.User.Username())
	}
	query := u.Query()
	query.Del("password")
	for keyword, value := range more {
		query.Set(keyword, value)
	}
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20") // libpq takes + as it is
	return u.String(), nil
}

func concealWords(dsn string, more map[string]string) (string, error) {
	var out []string
	add := func(keyword, value string) {
		if _, replaced := more[keyword]; keyword != "password" && !replaced {
			out = append(out, keyword+"="+conninfo(value))
		}
	}
	for rest := strings.TrimSpace(dsn); rest != ""; rest = strings.TrimSpace(rest) {
		keyword, after, found := strings.Cut(rest, "=")
		if !found {
			return "", errConninfo
		}
		value, left, ok := firstValue(strings.TrimLeft(after, " \t\r\n"))
		if !ok {
			return "", errConninfo
		}
		add(strings.TrimSpace(keyword), value)
		rest = left
	}
	for _, keyword := range slices.Sorted(maps.Keys(more)) {
		out = append(out, keyword+"="+conninfo(more[keyword]))
	}
	return strings.Join(out, " "), nil
}

// firstValue reads a value, quoted or not, in which a backslash keeps what follows it.
func firstValue(text string) (value, rest string, ok bool) {
	quoted := strings.HasPrefix(text, "'")
	if quoted {
		text = text[1:]
	}
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text):
			i++
			out.WriteByte(text[i])
		case quoted && c == '\'':
			return out.String(), text[i+1:], true
		case !quoted && strings.IndexByte(" \t\r\n", c) >= 0:
			return out.String(), text[i:], true
		default:
			out.WriteByte(c)
		}
	}
	return out.String(), "", !quoted
}
