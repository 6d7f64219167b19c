package spec

import (
	"slices"
	"unicode/utf8"
)

// The bounds of [Nearest], which takes time in proportion to all three factors.
const (
	maxWord  = 130 // bytes: schema.name, 63 each
	maxWords = 5000
)

// Nearest is the candidate that word was probably meant to be, or empty when none
// is close: at most a third of the word mistyped, rounded up. Long words and long
// lists, which nobody types, get no suggestion.
func Nearest(word string, candidates []string) string {
	if len(word) > maxWord || len(candidates) > maxWords {
		return ""
	}
	n := utf8.RuneCountInString(word)
	best, distance := "", (n+2)/3+1
	for _, c := range slices.Sorted(slices.Values(candidates)) {
		if m := utf8.RuneCountInString(c); len(c) > maxWord || max(n-m, m-n) >= distance {
			continue
		}
		if d := editDistance(word, c); d < distance {
			best, distance = c, d
		}
	}
	return best
}

// editDistance counts the letters to insert, delete, replace or swap with their
// neighbour to turn a into b.
func editDistance(a, b string) int {
	x, y := []rune(a), []rune(b)
	rows := make([][]int, len(x)+1)
	for i := range rows {
		rows[i] = make([]int, len(y)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(x); i++ {
		for j := 1; j <= len(y); j++ {
			same := 1
			if x[i-1] == y[j-1] {
				same = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+same)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(x)][len(y)]
}
