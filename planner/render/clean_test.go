package render

import "testing"

func TestClean(t *testing.T) {
	for text, want := range map[string]string{
		"plain é 日本": "plain é 日本", "a\nb\tc\r": `a\nb\tc\r`, "\x1b[2J\x07": `\x1b[2J\x07`, "a\u202eb": `a\u202eb`, "\u0085": `\x85`, "": "",
	} {
		if got := Clean(text); got != want {
			t.Errorf("Clean(%q) = %q, want %q", text, got, want)
		}
	}
}
