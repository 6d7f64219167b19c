package sql_test

import (
	"testing"

	"github.com/skytools-go/skytools/sql"
)

func TestLSN(t *testing.T) {
	for text, want := range map[string]sql.LSN{
		"0/0": 0, "0/1": 1, "16/B374D848": 0x16B374D848, "FFFFFFFF/FFFFFFFF": 1<<64 - 1, "1/ab": 0x1000000AB,
	} {
		got, err := sql.ParseLSN(text)
		if err != nil || got != want {
			t.Errorf("%s: got %d, %v", text, got, err)
		}
		if again, err := sql.ParseLSN(got.String()); err != nil || again != want {
			t.Errorf("%s printed as %s: got %d, %v", text, got, again, err)
		}
	}
	for _, text := range []string{"", "/", "1/", "/1", "1", "1/2/3", "g/0", "0/-1", "123456789/0", "0/123456789", " 0/1"} {
		if got, err := sql.ParseLSN(text); err == nil {
			t.Errorf("%q was read as %s", text, got)
		}
	}
}
