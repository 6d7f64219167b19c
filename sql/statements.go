package sql

import "strings"

// A Statement is one of the statements of a script.
type Statement struct {
	Text string // without what stands between it and the one before
	Line int    // on which it begins, from 1
}

// Ends reports whether the statement begins or ends a transaction, or a part of one.
func (s Statement) Ends() bool {
	words := strings.FieldsFunc(strings.ToLower(s.Text), func(r rune) bool { return !isWord(r) })
	if len(words) == 0 {
		return false
	}
	switch words[0] {
	case "begin", "commit", "rollback", "abort", "end", "savepoint", "release":
		return true
	case "start", "prepare":
		return len(words) > 1 && words[1] == "transaction"
	}
	return false
}

// Statements takes a script apart at its semicolons, as the server does: not at those
// in texts, quoted names, dollar quotes, comments, parentheses and the bodies of SQL
// functions. A text that does not end belongs to the last statement.
//
// Source: PostgreSQL documentation, Lexical Structure; CREATE FUNCTION for BEGIN ATOMIC.
func Statements(script string) (all []Statement) {
	l := lexer{text: script}
	begin, depth, atomic := -1, 0, 0
	last, line, counted := "", 1, 0
	add := func(end int) {
		line, counted = line+strings.Count(script[counted:begin], "\n"), begin
		all = append(all, Statement{strings.TrimSpace(script[begin:end]), line})
	}
	for l.next() {
		word := strings.ToLower(l.token)
		if l.token == ";" && depth == 0 && atomic == 0 {
			if begin >= 0 {
				add(l.start)
			}
			begin, last = -1, ""
			continue
		}
		if begin < 0 {
			begin = l.start
		}
		switch {
		case word == "(":
			depth++
		case word == ")":
			depth = max(depth-1, 0)
		case word == "atomic" && last == "begin":
			atomic = 1
		case word == "case" && atomic > 0:
			atomic++
		case word == "end" && atomic > 0:
			atomic--
		}
		last = word
	}
	if begin >= 0 {
		add(len(script))
	}
	return all
}

// A lexer walks the tokens of SQL, as far as is needed to find the end of a statement:
// words, single characters, and quoted texts whole.
type lexer struct {
	text  string
	start int // of the token
	at    int // its end
	token string
}

func (l *lexer) next() bool {
	for l.skip() {
	}
	if l.start = l.at; l.at >= len(l.text) {
		return false
	}
	rest := l.text[l.at:]
	switch c := rest[0]; {
	case c == '\'':
		l.at += quoted(rest, '\'', false)
	case c == '"':
		l.at += quoted(rest, '"', false)
	case (c == 'e' || c == 'E') && len(rest) > 1 && rest[1] == '\'':
		l.at += 1 + quoted(rest[1:], '\'', true)
	case c == '$' && dollarTag(rest) != "":
		tag := dollarTag(rest)
		l.at = len(l.text)
		if end := strings.Index(rest[len(tag):], tag); end >= 0 {
			l.at = l.start + end + 2*len(tag)
		}
	case isWord(rune(c)):
		for l.at < len(l.text) && (isWord(rune(l.text[l.at])) || l.text[l.at] == '$') {
			l.at++
		}
	default:
		l.at++
	}
	l.token = l.text[l.start:l.at]
	return true
}

// skip goes over one space or comment.
func (l *lexer) skip() bool {
	rest := l.text[l.at:]
	switch {
	case rest == "":
		return false
	case strings.IndexByte(" \t\n\r\f\v", rest[0]) >= 0:
		l.at++
	case strings.HasPrefix(rest, "--"):
		if end := strings.IndexAny(rest, "\n\r"); end >= 0 {
			l.at += end
		} else {
			l.at = len(l.text)
		}
	case strings.HasPrefix(rest, "/*"):
		depth := 0
		for l.at < len(l.text) {
			switch rest := l.text[l.at:]; {
			case strings.HasPrefix(rest, "/*"):
				depth++
				l.at += 2
			case strings.HasPrefix(rest, "*/"):
				depth--
				l.at += 2
			default:
				l.at++
			}
			if depth == 0 {
				break
			}
		}
	default:
		return false
	}
	return true
}

// quoted is the length of a text in quotes, with which it begins.
func quoted(text string, quote byte, escapes bool) int {
	for i := 1; i < len(text); i++ {
		switch {
		case escapes && text[i] == '\\':
			i++
		case text[i] == quote && i+1 < len(text) && text[i+1] == quote:
			i++
		case text[i] == quote:
			return i + 1
		}
	}
	return len(text)
}

// dollarTag is the opening of a dollar quote, such as $$ or $body$; empty: it is none.
func dollarTag(text string) string {
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '$':
			return text[:i+1]
		case !isWord(rune(c)) || i == 1 && c >= '0' && c <= '9':
			return ""
		}
	}
	return ""
}

// isWord reports whether a byte may be in a name. Bytes of other alphabets may.
func isWord(r rune) bool {
	return r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r >= 0x80
}
