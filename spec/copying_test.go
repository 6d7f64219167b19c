package spec

import "testing"

func TestParseRate(t *testing.T) {
	for text, want := range map[string]Rate{"1kB": 1 << 10, "20MB": 20 << 20, "3GB": 3 << 30, "1500kB": 1500 << 10} {
		got, err := ParseRate(text)
		if err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
		if got.String() != text {
			t.Errorf("%s is written %s", text, got)
		}
	}
	for _, text := range []string{"", "20", "20mb", "0MB", "-1MB", "+1MB", "1.5MB", "MB", "9999999999GB", "020MB"} {
		if got, err := ParseRate(text); err == nil {
			t.Errorf("%q is read as %d", text, got)
		}
	}
}
