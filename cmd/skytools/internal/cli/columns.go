package cli

import (
	"strings"
	"unicode"
)

// wide are the characters that take two columns: those of East Asia, and pictures.
var wide = []*unicode.RangeTable{unicode.Han, unicode.Hangul, unicode.Hiragana, unicode.Katakana, {
	R16: []unicode.Range16{{Lo: 0x3000, Hi: 0x303f, Stride: 1}, {Lo: 0xff01, Hi: 0xff60, Stride: 1}},
	R32: []unicode.Range32{{Lo: 0x1f300, Hi: 0x1faff, Stride: 1}},
}}

// columns is how many columns of a terminal a text takes.
func columns(text string) int {
	n := 0
	for _, r := range text {
		n += columnsOf(r)
	}
	return n
}

func columnsOf(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case unicode.In(r, wide...):
		return 2
	}
	return 1
}

// cut shortens text to so many columns, and shows that it did. 0: not at all.
func cut(text string, width int) string {
	if width <= 0 || len(text) <= width || columns(text) <= width {
		return text
	}
	const more = "..."
	used := len(more)
	for i, r := range text {
		if used += columnsOf(r); used > width {
			return text[:i] + more
		}
	}
	return text
}

// pad fills text up with blanks, on the left when width is below zero.
func pad(text string, width int) string {
	fill := strings.Repeat(" ", max(0, max(width, -width)-columns(text)))
	if width < 0 {
		return fill + text
	}
	return text + fill
}

// grid prints rows in columns as wide as their widest cell. Cells of right are aligned
// to the right; the last column is not filled up. style paints a whole row.
type grid struct {
	right map[int]bool
	rows  []gridRow
}

type gridRow struct {
	style string
	cells []string
}

func (g *grid) add(style string, cells ...string) {
	g.rows = append(g.rows, gridRow{style, cells})
}

// lines are the rows, cut to so many columns; 0: not at all.
func (g *grid) lines(paint func(what, text string) string, fit int) []string {
	var width []int
	for _, r := range g.rows {
		for i, c := range r.cells {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], columns(c))
		}
	}
	var lines []string
	for _, r := range g.rows {
		var cells []string
		for i, c := range r.cells {
			switch {
			case g.right[i]:
				c = pad(c, -width[i])
			case i < len(r.cells)-1:
				c = pad(c, width[i])
			}
			cells = append(cells, c)
		}
		line := cut(strings.TrimRight(strings.Join(cells, "  "), " "), fit)
		if r.style != "" {
			line = paint(r.style, line)
		}
		lines = append(lines, line)
	}
	return lines
}

// plain paints nothing.
func plain(_, text string) string { return text }
