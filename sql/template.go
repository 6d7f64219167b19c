package sql

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A Template is SQL with places for texts: %(name)s. A percent sign is written twice.
type Template string

var (
	place     = regexp.MustCompile(`%(?:%|\(([^()%]*)\)s)?`)
	plainText = regexp.MustCompile(`^[A-Za-z0-9_., :-]*$`)
)

// Plain reports a text that means the same outside and inside of quotes, whichever.
func Plain(text string) bool { return plainText.MatchString(text) }

// Check fails where a place has none of these names, and where a statement would begin or
// end the transaction that the template runs in.
func (t Template) Check(names []string) error {
	if strings.ContainsRune(string(t), 0) {
		return errors.New("a zero byte cannot be in SQL")
	}
	for _, found := range place.FindAllStringSubmatch(string(t), -1) {
		switch {
		case found[0] == "%%":
		case found[0] == "%":
			return errors.New("a percent sign is written twice: %%")
		case !slices.Contains(names, found[1]):
			return fmt.Errorf("%s is none of %s", found[0], strings.Join(names, ", "))
		}
	}
	for _, one := range Statements(string(t)) {
		if one.Ends() {
			return fmt.Errorf("%.60q: it runs in the transaction of a batch, which it cannot begin or end", one.Text)
		}
	}
	return nil
}

// Fill puts texts in their places. A text is put as it is where the template has no quotes,
// and with doubled quotes inside of a literal. Elsewhere, as in a quoted name or a function's
// body, nobody knows what quotes would do to it: it must be plain there, or it is an error.
// So is a place without a text.
func (t Template) Fill(texts map[string]string) (string, error) {
	text := string(t)
	quotes := enclosed(text)
	var out strings.Builder
	at := 0
	for _, m := range place.FindAllStringSubmatchIndex(text, -1) {
		out.WriteString(text[at:m[0]])
		at = m[1]
		if m[2] < 0 {
			out.WriteByte('%')
			continue
		}
		value, known := texts[text[m[2]:m[3]]]
		within := byte(0)
		for _, q := range quotes {
			if q.start <= m[0] && m[0] < q.end {
				within = q.kind
			}
		}
		switch {
		case !known:
			return "", fmt.Errorf("%s has no text here that needs no quotes", text[m[0]:m[1]])
		case within == 0 || Plain(value):
		case within == '\'' && !strings.Contains(value, `\`):
			value = strings.ReplaceAll(value, "'", "''")
		default:
			return "", fmt.Errorf("%s stands within quotes that %q cannot be written in", text[m[0]:m[1]], value)
		}
		out.WriteString(value)
	}
	out.WriteString(text[at:])
	return out.String(), nil
}

// A span is a part of SQL within quotes: a literal ('), or something else (").
type span struct {
	start, end int
	kind       byte
}

// enclosed are the parts of SQL that are quoted, and its comments.
func enclosed(text string) (all []span) {
	l := lexer{text: text}
	end := 0
	for more := true; more; {
		more = l.next()
		if gap := text[end:l.start]; strings.TrimSpace(gap) != "" {
			all = append(all, span{end, l.start, '"'})
		}
		end = l.at
		switch token := text[l.start:l.at]; {
		case !more:
		case token[0] == '\'' || len(token) > 1 && token[1] == '\'':
			all = append(all, span{l.start, l.at, '\''})
		case token[0] == '"' || token[0] == '$' && len(token) > 1:
			all = append(all, span{l.start, l.at, '"'})
		}
	}
	return all
}
