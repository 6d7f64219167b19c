package replay

import (
	"encoding/hex"
	"io"
	"strings"
	"testing"

	"github.com/skytools-go/skytools/sql/londiste"
)

// The hashes are those of the original, which Python's hashlib.blake2s makes.
func TestHashes(t *testing.T) {
	key := []byte("secret key")
	for _, c := range [][4]string{
		{"", "-1815227969", "-6705327288676728290", "ce93cba7-7ae8-b74c-1f00-ed526dff67c1"},
		{"a", "1271748560", "6640756897781257736", "6e0cb7ad-8077-402b-3fff-c98fc47c32ac"},
		{"é漢", "511204619", "-4075458976243108261", "83e47f1e-5db3-c7a5-56ca-3385e4d976e3"},
		{strings.Repeat("x", 63), "577895213", "-6160105270189217358", "2d4a97ce-f780-93e0-2af0-b84bb042015f"},
		{strings.Repeat("x", 64), "-1043717841", "6073474513808802302", "595cd52b-ffb4-0fdd-13de-69d501643b9a"},
		{strings.Repeat("x", 65), "-946303247", "-647265426592398852", "8bd97b48-03f9-1dae-3206-cc49f1f2be23"},
		{strings.Repeat("y", 200), "-392100553", "-3148079469547996783", "e81ecd55-d6f4-f582-5df6-2cbcae132793"},
	} {
		for i, word := range []string{"hash32", "hash64", "hash"} {
			if got, err := (maskRule{Word: word}).apply(key, c[0]); err != nil || got != c[1+i] {
				t.Errorf("%s of %.10q: %s, %v, want %s", word, c[0], got, err, c[1+i])
			}
		}
	}
	// RFC 7693, appendix B, without a key.
	if got := hex.EncodeToString(blake2s(nil, []byte("abc"), 32)); got != "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982" {
		t.Errorf("abc: %s", got)
	}
}

func TestMaskRows(t *testing.T) {
	table := &Table{Name: "public.t"}
	table.Mask = londiste.Mask{"a": {Word: "keep"}, "b": {Word: "hash32"}, "c": {Word: "bool"}, "d": {Inside: londiste.Mask{
		"kept": {Word: "keep"}, "hashed": {Word: "hash32"}, "deep": {Inside: londiste.Mask{"x": {Word: "bool"}}}, "list": {Word: "hash"}, "gone": {Word: "skip"}}}}
	if err := table.UseKey(nil); err == nil {
		t.Error("hashes without a key")
	}
	if err := table.UseKey([]byte("secret key")); err != nil {
		t.Fatal(err)
	}
	in := "a\\tb\t\\N\tf\t{\"kept\": [1, 2.50], \"hashed\": \"a\", \"deep\": {\"x\": false, \"y\": 1}, \"list\": [1], \"gone\": 1, \"new\": 2}\n\\N\ta\tyes\t\\N\nx\t\t0\t[]\n"
	out, err := io.ReadAll(table.MaskRows(strings.NewReader(in), []string{"a", "b", "c", "d"}))
	hash := func(text string) string { h, _ := (maskRule{Word: "hash32"}).apply(table.key, text); return h }
	want := "a\\tb\t\\N\tf\t{\"deep\":{\"x\":\"f\"},\"hashed\":" + hash("a") + ",\"kept\":[1,2.50]}\n\\N\t" + hash("a") + "\tt\t\\N\nx\t" + hash("") + "\tf\t{}\n"
	if err != nil || string(out) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, out, want)
	}
	for _, bad := range []string{"a\n", "a\tb\tc\t{\n"} {
		if out, err := io.ReadAll(table.MaskRows(strings.NewReader(bad), []string{"a", "b", "c", "d"})); err == nil {
			t.Errorf("%q becomes %q", bad, out)
		}
	}
}
