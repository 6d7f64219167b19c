package render

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/skytools-go/skytools/planner"
)

// Markdown writes a plan for a comment or a summary page: the summary and what
// needs approval first, then what drops or recreates, then the rest folded by
// database. With limit above zero it writes at most so many bytes, and says how
// much it left out.
func Markdown(w io.Writer, p *planner.Plan, limit int) {
	var head strings.Builder
	say(&head, "### skytools plan: %s\n\n**%s**\n\nDigest %s.", ink(prose(p.Cluster)), ink(prose(Summary(p, ""))), ink(code(p.ShortDigest())))
	if note := incomplete(p); note != "" {
		say(&head, " %s", note)
	}
	if p.Scope.LeftOut > 0 || len(p.Scope.Added) > 0 {
		say(&head, " %s", ink(prose(scope(p))))
	}
	head.WriteString("\n")
	for _, d := range p.Diagnostics {
		subject := ""
		if d.Address != "" {
			subject = code(d.Address) + ": "
		}
		say(&head, "\n- %s: %s%s", d.Severity, ink(subject), ink(prose(d.Message)))
	}
	if pending := p.Pending(); len(pending) > 0 {
		head.WriteString("\n\n#### Needs approval\n\n| hazard | object | why |\n|---|---|---|\n")
		for _, h := range pending {
			say(&head, "| %s | %s | %s |\n", h.Code, ink(cell(code(address(h)))), ink(cell(prose(h.Message))))
		}
	}
	var sections []string
	for _, c := range p.Changes {
		if c.Action == planner.Drop || c.Action == planner.Recreate {
			sections = append(sections, "\n- "+string(c.Action)+" "+code(c.Address.String())+prose(changeRest(c)))
		}
	}
	if len(sections) > 0 {
		sections[0] = "\n\n#### Drops and recreates\n" + sections[0]
	}
	for _, node := range nodes(p) {
		sections = append(sections, details(p, node))
	}
	io.WriteString(w, fit(head.String(), sections, limit))
}

func details(p *planner.Plan, node string) string {
	var out strings.Builder
	changes := changesIn(p, node)
	writeChanges(&out, p, changes, TextOptions{})
	fence := "```"
	for strings.Contains(out.String(), fence) {
		fence += "`"
	}
	return fmt.Sprintf("\n\n<details><summary>%s: %s</summary>\n\n%stext\n%s%s\n</details>", node, count(len(changes), "change"), fence, out.String(), fence)
}

var special = regexp.MustCompile("[\\\\`*_\\[\\]<>&|~#]")

// prose writes a text so that Markdown shows it as it is.
func prose(text string) string {
	text = special.ReplaceAllStringFunc(Clean(text), func(c string) string {
		switch c {
		case "<":
			return "&lt;"
		case ">":
			return "&gt;"
		case "&":
			return "&amp;"
		}
		return `\` + c
	})
	return strings.ReplaceAll(text, " @", " @\u200b") // or it would call somebody
}

// code writes a text in the font of code, where nothing in it means anything.
func code(text string) string {
	text = Clean(text)
	fence := "`"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	if len(fence) > 1 || strings.TrimSpace(text) != text {
		text = " " + text + " "
	}
	return fence + text + fence
}

// cell makes Markdown safe inside a table, where even code must not hold a bar.
func cell(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, `\|`, "|"), "|", `\|`)
}

// fit writes as many whole sections as the limit allows, and never more bytes.
func fit(head string, sections []string, limit int) string {
	full := head + strings.Join(sections, "") + "\n"
	if limit <= 0 || len(full) <= limit {
		return full
	}
	note := func(left int) string {
		return fmt.Sprintf("\n\n_%d of %d sections left out to keep within %d bytes; the full plan is in the saved file._\n", left, len(sections), limit)
	}
	room := limit - len(note(len(sections)))
	text := cut(head, room)
	left := 0
	for _, s := range sections {
		if len(text)+len(s) > room {
			left++
			continue
		}
		text += s
	}
	return cut(text+note(left), limit)
}

// cut is as much of a text as fits, in whole lines if it can be.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	limit = max(0, limit)
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	if end := strings.LastIndexByte(text[:limit], '\n'); end > 0 {
		limit = end + 1
	}
	return text[:limit]
}
