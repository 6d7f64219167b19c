package replay

import (
	"regexp"
	"strings"
	"time"
)

// canon writes the text of a key so that two texts are equal exactly when the
// server finds the values equal. It reports false when it cannot tell: then the
// changes of the table are applied in the order of events.
//
// The text of one value can differ between two events: other settings of the
// session that wrote it, another kind of trigger, 1.0 and 1.00.
func canon(typ, text string) (string, bool) {
	switch typ {
	case "int2", "int4", "int8", "oid", "text", "varchar", "name", "char", "time",
		"inet", "cidr", "macaddr", "macaddr8", "bit", "varbit", "enum":
		return text, true
	case "uuid":
		return strings.ToLower(text), len(text) == 36
	case "bool":
		switch text {
		case "t", "true":
			return "t", true
		case "f", "false":
			return "f", true
		}
	case "bpchar":
		return strings.TrimRight(text, " "), true
	case "bytea":
		return text, strings.HasPrefix(text, `\x`)
	case "numeric":
		return canonNumeric(text)
	case "date":
		return text, isDate.MatchString(text)
	case "timestamp":
		if isTimestamp.MatchString(text) {
			return text[:10] + " " + text[11:], true
		}
	case "timestamptz":
		return canonTimestamptz(text)
	}
	return "", false
}

var (
	isNumeric   = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`)
	isDate      = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}$`)
	isTimestamp = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9:]{8}(\.[0-9]+)?$`)
)

func canonNumeric(text string) (string, bool) {
	if !isNumeric.MatchString(text) {
		return text, text == "NaN" || text == "Infinity" || text == "-Infinity"
	}
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	if text == "-0" {
		text = "0"
	}
	return text, true
}

func canonTimestamptz(text string) (string, bool) {
	if len(text) < 20 || len(text) > 42 {
		return "", false
	}
	text = text[:10] + "T" + text[11:]
	for _, layout := range []string{"2006-01-02T15:04:05.999999999Z07:00", "2006-01-02T15:04:05.999999999Z07", "2006-01-02T15:04:05.999999999Z07:00:00"} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC().Format("2006-01-02 15:04:05.999999"), true
		}
	}
	return "", false
}
