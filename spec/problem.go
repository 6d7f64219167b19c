package spec

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Problem is one thing wrong with the YAML.
type Problem struct {
	Pos
	Rule    string `json:"rule"`    // stable, such as "unknown-field"
	Message string `json:"message"` // which object, and what is wrong with it
	Try     string `json:"try"`     // what to write instead, or empty

	Source string `json:"source"` // the line, or empty
	Width  int    `json:"-"`      // how many characters of it are wrong; 0: the word there
	whole  bool   // about the file and not about the line
}

func (p Problem) Error() string {
	return fmt.Sprintf("%s: %s [%s]", p.Pos, p.Message, p.Rule)
}

// Text is the problem with the line it is about, a caret, and what to try.
func (p Problem) Text() string {
	if p.Source == "" {
		if p.Try != "" {
			return p.Error() + "\n     " + p.Try + "\n"
		}
		return p.Error() + "\n"
	}
	if p.Source == concealed || p.Column > utf8.RuneCountInString(p.Source)+1 { // nothing to point at
		return strings.TrimRight(fmt.Sprintf("%s\n%4d | %s\n     | %s", p.Error(), p.Line, p.Source, p.Try), " |\n") + "\n"
	}
	indent := strings.Builder{}
	for i, r := range []rune(p.Source) { // tabs stay tabs, so that the caret lines up
		if i >= p.Column-1 {
			break
		}
		if r != '\t' {
			r = ' '
		}
		indent.WriteRune(r)
	}
	mark := "^" + strings.Repeat("~", max(0, p.Width-1))
	return strings.TrimRight(fmt.Sprintf("%s\n%4d | %s\n     | %s%s %s", p.Error(), p.Line, p.Source, indent.String(), mark, p.Try), " ") + "\n"
}

// Problems are sorted by place. They are an error when there are any.
type Problems []Problem

// Shown is how many problems [Problems.Error] prints before it only counts.
const Shown = 20

func (all Problems) Error() string {
	var out strings.Builder
	files := map[string]bool{}
	for i, p := range all {
		files[p.File] = true
		if i < Shown {
			out.WriteString(p.Text())
		}
	}
	if len(all) > Shown {
		fmt.Fprintf(&out, "... and %d more\n", len(all)-Shown)
	}
	fmt.Fprintf(&out, "%s in %s.", count(len(all), "problem"), count(len(files), "file"))
	return out.String()
}

// ExitCode is that of wrong YAML. Source: design/plan-apply.md section 5.11.
func (all Problems) ExitCode() int { return 3 }

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// finish sorts the problems, drops repetitions and adds the source lines.
func (all *Problems) finish(lines map[string][]string) {
	for i := range *all {
		p := &(*all)[i]
		if p.Message, p.Try = printable(p.Message), printable(p.Try); holdsPassword(p.Message) {
			p.Message = concealed
		}
	}
	slices.SortStableFunc(*all, func(a, b Problem) int {
		return cmp.Or(a.Pos.compare(b.Pos), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Message, b.Message))
	})
	*all = slices.CompactFunc(*all, func(a, b Problem) bool { return a.Pos == b.Pos && a.Rule == b.Rule && a.Message == b.Message })
	shown := map[Pos]string{} // by file and line: many problems may stand on one long line
	for i := range *all {
		p := &(*all)[i]
		if text := lines[p.File]; !p.whole && p.Line >= 1 && p.Line <= len(text) {
			line := Pos{p.File, p.Line, 0}
			if _, ok := shown[line]; !ok {
				if shown[line] = printable(text[p.Line-1]); looksSecret(text[p.Line-1]) {
					shown[line] = concealed
				}
			}
			p.Source = shown[line]
		}
		if p.Width == 0 {
			p.Width = wordWidth(p.Source, p.Column)
		}
		p.Width = min(p.Width, max(1, utf8.RuneCountInString(p.Source)-p.Column+1))
	}
}

// wordWidth is the length of the key or value that begins at the column.
func wordWidth(line string, column int) int {
	r := []rune(line)
	if column < 1 || column > len(r) {
		return 1
	}
	r = r[column-1:]
	if r[0] == '"' || r[0] == '\'' {
		if end := slices.Index(r[1:], r[0]); end >= 0 {
			return end + 2
		}
	}
	end := slices.IndexFunc(r, func(c rune) bool { return strings.ContainsRune(" \t:,{}[]", c) })
	if end < 0 {
		end = len(r)
	}
	return max(1, end)
}

// printable keeps control characters, and marks that turn the direction of writing,
// off the terminal, and long lines short.
func printable(line string) string {
	line = strings.Map(func(r rune) rune {
		if r != '\t' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\ufeff' || r == utf8.RuneError {
			return '?'
		}
		return r
	}, line)
	if r := []rune(line); len(r) > 200 {
		return string(r[:200])
	}
	return line
}
