package render

import (
	"fmt"
	"io"
	"strings"

	"github.com/skytools-go/skytools/planner"
)

// Markdown writes a plan for a comment or a summary page: the summary and what
// needs approval first, then what drops or recreates, then the rest folded by
// database. With limit above zero it writes at most so many bytes, and says how
// much it left out.
func Markdown(w io.Writer, p *planner.Plan, limit int) {
	var head strings.Builder
	fmt.Fprintf(&head, "### skytools plan: %s\n\n**%s**\n\nDigest `%s`.", p.Cluster, Summary(p, ""), p.ShortDigest())
	if !p.Complete {
		head.WriteString(" The plan is incomplete: not everything that is declared was looked at.")
	}
	head.WriteString("\n")
	for _, d := range p.Diagnostics {
		fmt.Fprintf(&head, "\n- %s: %s", d.Severity, cell(strings.TrimPrefix(d.Address+": "+d.Message, ": ")))
	}
	if pending := p.Pending(); len(pending) > 0 {
		head.WriteString("\n\n#### Needs approval\n\n| hazard | object | why |\n|---|---|---|\n")
		for _, h := range pending {
			_, address, _ := strings.Cut(h.Allow, ":")
			fmt.Fprintf(&head, "| %s | %s | %s |\n", h.Code, cell(address), cell(h.Message))
		}
	}
	var sections []string
	for _, c := range p.Changes {
		if c.Action == planner.Drop || c.Action == planner.Recreate {
			sections = append(sections, "\n- "+cell(changeLine(c)))
		}
	}
	if len(sections) > 0 {
		sections[0] = "\n\n#### Drops and recreates\n" + sections[0]
	}
	for _, node := range nodes(p) {
		sections = append(sections, details(p, node))
	}
	fit(w, head.String(), sections, limit)
}

func details(p *planner.Plan, node string) string {
	var out strings.Builder
	n := 0
	for _, c := range p.Changes {
		if c.Node == node {
			change(&out, p, c, TextOptions{})
			n++
		}
	}
	fence := "```"
	for strings.Contains(out.String(), fence) {
		fence += "`"
	}
	return fmt.Sprintf("\n\n<details><summary>%s: %s</summary>\n\n%stext\n%s%s\n</details>", node, count(n, "change"), fence, out.String(), fence)
}

// fit writes as many whole sections as the limit allows.
func fit(w io.Writer, head string, sections []string, limit int) {
	const note = "\n\n_%d of %d sections left out to keep within %d bytes; the full plan is in the saved file._\n"
	if limit > 0 && len(head)+len(note) > limit {
		head = strings.ToValidUTF8(head[:max(0, limit-len(note)-8)], "") + "..."
	}
	text, left := head, 0
	for _, s := range sections {
		if limit > 0 && len(text)+len(s)+len(note)+16 > limit {
			left++
			continue
		}
		text += s
	}
	if left > 0 {
		text += fmt.Sprintf(note, left, len(sections), limit)
	} else {
		text += "\n"
	}
	io.WriteString(w, text)
}
