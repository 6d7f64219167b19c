package spec

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestDuration(t *testing.T) {
	for _, c := range []struct {
		text string
		want time.Duration
	}{
		{"0", 0}, {"0s", 0}, {"500ms", 500 * time.Millisecond}, {"3s", 3 * time.Second}, {"1.5s", 1500 * time.Millisecond}, {"1h30m", 90 * time.Minute},
		{"14d", 14 * 24 * time.Hour}, {"2w", 14 * 24 * time.Hour}, {" 3s ", 3 * time.Second}, {"1us", time.Microsecond}, {"0.4us", 0}, {"0.1s", 100 * time.Millisecond},
		{"2.3s", 2300 * time.Millisecond}, {"36500d1us", 36500*24*time.Hour + time.Microsecond}, {"106751d23h47m16s854ms775us", math.MaxInt64 / 1000 * 1000},
	} {
		got, err := ParseDuration(c.text)
		if err != nil || time.Duration(got) != c.want {
			t.Errorf("%q: %v, %v; want %v", c.text, time.Duration(got), err, c.want)
		}
	}
	for text, want := range map[string]string{
		"":                     `expected a duration such as 3s, 2h or 14d, found ""`,
		"3":                    `"3" has no unit; write 3s for seconds, or use ms, m, h, d, w`,
		"1h30":                 `"1h30" has no unit; write 1h30s for seconds, or use ms, m, h, d, w`,
		"3S":                   `expected a duration such as 3s, 2h or 14d, found "3S"`,
		"3 s":                  `expected a duration such as 3s, 2h or 14d, found "3 s"`,
		"1m1h":                 `expected a duration such as 3s, 2h or 14d, found "1m1h"`,
		"1h1h":                 `expected a duration such as 3s, 2h or 14d, found "1h1h"`,
		"-1s":                  `expected a duration such as 3s, 2h or 14d, found "-1s"`,
		"1..5s":                `expected a duration such as 3s, 2h or 14d, found "1..5s"`,
		"106752d":              `expected a duration such as 3s, 2h or 14d, found "106752d"`,
		"106751d24h":           `expected a duration such as 3s, 2h or 14d, found "106751d24h"`,
		"9223372036854775807s": `expected a duration such as 3s, 2h or 14d, found "9223372036854775807s"`,
		"forever":              `expected a duration such as 3s, 2h or 14d, found "forever"`,
	} {
		if got, err := ParseDuration(text); err == nil || err.Error() != want {
			t.Errorf("%q: %v, %v; want %s", text, got, err, want)
		}
	}
	for d, want := range map[Duration]string{
		0: "0s", 499: "0s", 500: "1us", Duration(-90 * time.Second): "-1m30s", Duration(15 * 24 * time.Hour): "15d", Duration(14 * 24 * time.Hour): "2w",
		Duration(25 * time.Hour): "1d1h", math.MinInt64: "-106751d23h47m16s854ms775us",
	} {
		if got := d.String(); got != want {
			t.Errorf("%d: %s, want %s", int64(d), got, want)
		}
	}
}

// Catalogs hold seconds as float8: what is read from one and written as text must
// be what was there, to the microsecond.
func TestDurationOfSeconds(t *testing.T) {
	for ms := range 100_000 {
		seconds := float64(ms) / 1000
		back, err := ParseDuration(Duration(seconds * 1e9).String())
		if err != nil || back.Seconds() != seconds {
			t.Fatalf("%v s: written as %s, read as %v, %v", seconds, Duration(seconds*1e9), back.Seconds(), err)
		}
	}
}

func FuzzDuration(f *testing.F) {
	for _, text := range []string{"3s", "1h30m", "14d", "2w", "500ms", "1.5s", "0", "3", "", "9999999999999999999999w", "1us", "106751d23h47m16s854ms775us", "1e5s", "0x10s", "٣s", "1.s", ".5s"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDuration(text)
		if err != nil {
			return
		}
		if d < 0 {
			t.Fatalf("%q is %d", text, int64(d))
		}
		again, err := ParseDuration(d.String())
		if err != nil || again != d {
			t.Fatalf("%q: %d is written as %s, which is %d, %v", text, int64(d), d, int64(again), err)
		}
	})
}

func FuzzScalar(f *testing.F) {
	for _, text := range []string{"plain", "", "null", "no", "0123", "a: b", "# c", "public.Orders", "tab\t", "line\nbreak", "\u2028", "'", `"`, " lead", "trail ", "[x]", "<<", "=", "2026-01-01", "~", "ä\u0301", "a,b"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.ContainsRune(text, 0) || text == "" || strings.ToValidUTF8(text, "") != text {
			return
		}
		list := FlowList([]string{text, text + "2"})
		doc := fmt.Sprintf("skytools: 1\ncluster: %s\ndatabases: {hub: {dsn: service=hub}}\nqueues:\n  q: {on: hub, consumers: {c: {members: %s}}}\n", Scalar(text), list)
		set, problems := Parse(Source{"a.yaml", []byte(doc)})
		if len(problems) > 0 {
			t.Fatalf("%q is written as %s, which is refused: %v", text, Scalar(text), problems)
		}
		members := set.Queues.Get("q").Consumers.Get("c").Members
		if set.Cluster != text || len(members) != 2 || members[0] != text || members[1] != text+"2" {
			t.Fatalf("%q is written as %s and read as %q, in a list as %q", text, Scalar(text), set.Cluster, members)
		}
	})
}

// hostile is YAML that tries to use much memory or time, or to confuse.
func hostile() map[string]string {
	const head = "skytools: 1\ncluster: shop\ndatabases: {hub: {dsn: service=hub}}\n"
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
	for i := 1; i < 12; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s*a%d]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d,", i-1), 8), i-1)
	}
	chain := head[:len(head)-1] + "\nqueues:\n  q:\n    nodes:\n"
	places := "skytools: 1\ncluster: shop\ndatabases:\n"
	many := head + "queues:\n"
	for i := range 3000 {
		chain += fmt.Sprintf("      n%d: {type: branch, provider: n%d}\n", i, i+1)
		places += fmt.Sprintf("  n%d: {dsn: x}\n", i)
		many += fmt.Sprintf("  q%d: {on: hub%d}\n", i, i)
	}
	chain += "      n3000: {type: root}\n"
	return map[string]string{
		"nothing":           "",
		"spaces":            "   \n\n  ",
		"deep flow":         strings.Repeat("[", 20_000),
		"deep flow, closed": strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000),
		"deep mappings":     strings.Repeat("{a: ", 9_000) + "b" + strings.Repeat("}", 9_000),
		"deep block":        strings.Repeat("- ", 20_000) + "x",
		"deep keys":         strings.Repeat("? ", 20_000),
		"deep below a key":  head + "queues: {q: {on: " + strings.Repeat("[", 5_000) + strings.Repeat("]", 5_000) + "}}\n",
		"alias bomb":        bomb + "queues: *a11\n",
		"alias to itself":   "queues: &q\n  q: *q\n",
		"alias of nothing":  "queues: *q\n",
		"merge":             head + "queues:\n  a: &a {on: hub}\n  b: {<<: *a}\n  c: {<<: [*a, *a]}\n",
		"huge number":       head + "queues: {q: {on: hub, ticker_max_count: " + strings.Repeat("9", 10_000) + "}}\n",
		"huge duration":     head + "queues: {q: {on: hub, ticker_max_lag: " + strings.Repeat("9", 10_000) + "s}}\n",
		"long duration":     head + "queues: {q: {on: hub, ticker_max_lag: " + strings.Repeat("1s", 10_000) + "}}\n",
		"floats":            head + "queues: {q: {on: hub, ticker_max_count: .inf, per_tx_limit: -.nan}}\n",
		"control":           "skytools: 1\ncluster: \"\x01\"\n",
		"escaped control":   "skytools: 1\ncluster: \"\\0\\a\\b\\e\\x7f\\x9b\\u202e\"\n",
		"not UTF-8":         "skytools: 1\ncluster: \xff\xfe\n",
		"surrogate":         "cluster: \"\\ud800\"\n",
		"UTF-16":            "\xff\xfes\x00k\x00",
		"byte order mark":   "\ufeff" + head,
		"CRLF":              strings.ReplaceAll(head, "\n", "\r\n"),
		"CR":                strings.ReplaceAll(head, "\n", "\r"),
		"line separators":   strings.ReplaceAll(head, "\n", "\u2028"),
		"tabs":              "skytools:\t1\ncluster:\tshop\n\tqueues: {}\n",
		"tags":              "skytools: !!int 1\ncluster: !!binary c2hvcA==\nqueues: !!set {a, b}\nallow: !foo []\n",
		"tagged numbers":    head + "queues: {q: {on: hub, ticker_max_count: !!int x, ticker_paused: !!bool maybe}}\n",
		"directives":        "%YAML 1.1\n%TAG ! tag:x,2000:\n---\nskytools: 1\n",
		"documents":         "---\n---\n---\n" + head,
		"document end":      head + "...\n" + head,
		"complex key":       "? {a: b}\n: c\n? [d]\n: e\n",
		"null keys":         "~: 1\n: 2\nnull: 3\n",
		"many problems":     many,
		"many keys":         head + "queues:\n" + strings.Repeat("  same: {on: hub}\n", 5_000),
		"long line":         head + "queues: {" + strings.Repeat("q: {onn: x}, ", 5_000) + "}\n",
		"long name":         head + "queues: {" + strings.Repeat("q", 100_000) + ": {onn: x}}\n",
		"long chain":        strings.Replace(chain, "databases: {hub: {dsn: service=hub}}\n", strings.TrimPrefix(places, "skytools: 1\ncluster: shop\n")+"  n3000: {dsn: x}\n", 1),
		"long circle":       strings.Replace(strings.Replace(chain, "n3000: {type: root}", "n3000: {type: branch, provider: n0}", 1), "databases: {hub: {dsn: service=hub}}\n", strings.TrimPrefix(places, "skytools: 1\ncluster: shop\n")+"  n3000: {dsn: x}\n", 1),
	}
}

// within2 parses the sources twice and reports anything but the same answer in
// good time.
func within2(t *testing.T, limit time.Duration, sources ...Source) {
	t.Helper()
	var texts [2]string
	for i := range texts {
		start := time.Now()
		set, problems := Parse(sources...)
		if took := time.Since(start); took > limit {
			t.Fatalf("it took %v", took)
		}
		asJSON, err := json.Marshal(problems)
		if err != nil {
			t.Fatal(err)
		}
		texts[i] = set.Digest() + problems.Error() + string(asJSON) + strings.Join(set.Files, " ")
		for j, p := range problems {
			if p.Line < 1 || p.Column < 1 || p.Rule == "" || p.Message == "" || p.Width < 1 {
				t.Fatalf("a problem without a place, rule or message: %#v", p)
			}
			if j > 0 && problems[j-1].Pos.compare(p.Pos) > 0 {
				t.Fatal("the problems are not sorted by place")
			}
		}
		for _, r := range problems.Error() {
			if r != '\n' && r != '\t' && (r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e) {
				t.Fatalf("the problems hold a control character: %q", problems.Error())
			}
		}
	}
	if texts[0] != texts[1] {
		t.Fatalf("two readings differ:\n%s\n%s", texts[0], texts[1])
	}
}

func TestHostileYAML(t *testing.T) {
	for name, text := range hostile() {
		t.Run(name, func(t *testing.T) { within2(t, 10*time.Second, Source{"a.yaml", []byte(text)}) })
	}
	_, problems := Parse(Source{"a.yaml", []byte(hostile()["long chain"])})
	if len(problems) > 0 {
		t.Errorf("a long cascade is none: %v", problems)
	}
	_, problems = Parse(Source{"a.yaml", []byte(hostile()["long circle"])})
	if len(problems) < 1000 {
		t.Errorf("a long circle: %d problems", len(problems))
	}
}

func TestManyObjects(t *testing.T) {
	var text strings.Builder
	text.WriteString("skytools: 1\ncluster: shop\ndatabases: {hub: {dsn: x}, edge1: {dsn: y}}\nqueues:\n  shop:\n    nodes: {hub: {type: root}, edge1: {type: leaf, provider: hub}}\n    tables:\n")
	for i := range 50_000 {
		fmt.Fprintf(&text, "      public.t%d: {on: [edge1]}\n", i)
	}
	start := time.Now()
	set := mustParse(t, Source{"a.yaml", []byte(text.String())})
	if n := len(set.Queues.Get("shop").Tables); n != 50_000 {
		t.Errorf("%d tables", n)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("50000 tables took %v", took)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range hostile() {
		if len(text) < 4_000 {
			f.Add(text)
		}
	}
	for _, pattern := range []string{"bad/*.yaml", "spec/*.yaml"} {
		files, err := filepath.Glob(filepath.Join(testdata, pattern))
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(text))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		within2(t, 20*time.Second, Source{"a.yaml", []byte(text)})
		half := len(text) / 2
		within2(t, 20*time.Second, Source{"b.yaml", []byte(text[half:])}, Source{"a.yaml", []byte(text[:half])})
	})
}
