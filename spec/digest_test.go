package spec

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

func completeText(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testdata, "spec", "complete.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func mustParse(t *testing.T, sources ...Source) *Set {
	t.Helper()
	set, problems := ParseIn(func(string) fs.FS { return os.DirFS(filepath.Join(testdata, "spec")) }, sources...)
	if len(problems) > 0 {
		t.Fatalf("%v\nin:\n%s", problems, sources[0].Text)
	}
	return set
}

// How the YAML is laid out does not change what it asks for: the order of keys,
// block or flow style, quotes, indentation, comments, and which file holds what.
func TestDigestIgnoresLayout(t *testing.T) {
	text := completeText(t)
	want := mustParse(t, Source{"complete.yaml", text}).Digest()
	for seed := range uint64(60) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			var doc yaml.Node
			if err := yaml.Unmarshal(text, &doc); err != nil {
				t.Fatal(err)
			}
			shuffle(rnd, &doc)
			sources := split(t, rnd, doc.Content[0])
			if got := mustParse(t, sources...).Digest(); got != want {
				for _, s := range sources {
					t.Logf("%s:\n%s", s.Name, s.Text)
				}
				t.Errorf("digest %s, want %s", got, want)
			}
		})
	}
	crlf := bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))
	if got := mustParse(t, Source{"crlf.yaml", crlf}).Digest(); got != want {
		t.Error("CRLF changes the digest")
	}
	if got := mustParse(t, Source{"bom.yaml", append([]byte("\ufeff"), text...)}).Digest(); got != want {
		t.Error("a byte order mark changes the digest")
	}
}

// shuffle changes everything about a node but its meaning.
func shuffle(rnd *rand.Rand, n *yaml.Node) {
	n.HeadComment, n.LineComment, n.FootComment = "", "", ""
	if rnd.IntN(4) == 0 {
		n.HeadComment = "# a comment"
	}
	switch n.Kind {
	case yaml.MappingNode:
		rnd.Shuffle(len(n.Content)/2, func(i, j int) {
			n.Content[2*i], n.Content[2*j] = n.Content[2*j], n.Content[2*i]
			n.Content[2*i+1], n.Content[2*j+1] = n.Content[2*j+1], n.Content[2*i+1]
		})
		n.Style ^= yaml.Style(rnd.IntN(2)) * yaml.FlowStyle
	case yaml.SequenceNode:
		n.Style ^= yaml.Style(rnd.IntN(2)) * yaml.FlowStyle
	case yaml.ScalarNode:
		if n.Tag == "!!null" { // in flow style the encoder would write ''
			n.Value = []string{"~", "null"}[rnd.IntN(2)]
		}
		quotes := yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle
		if n.Tag == "!!str" && n.Value != "" && (n.Style&quotes == 0 || rnd.IntN(2) == 0) {
			n.Style = []yaml.Style{n.Style, yaml.DoubleQuotedStyle, yaml.SingleQuotedStyle}[rnd.IntN(3)]
		}
	}
	for _, inner := range n.Content {
		shuffle(rnd, inner)
	}
}

// split deals the objects of a set out to several files.
func split(t *testing.T, rnd *rand.Rand, root *yaml.Node) []Source {
	t.Helper()
	files := make([]*yaml.Node, 1+rnd.IntN(4))
	for i := range files {
		files[i] = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	}
	section := func(file *yaml.Node, key *yaml.Node, like *yaml.Node) *yaml.Node {
		for i := 0; i < len(file.Content); i += 2 {
			if file.Content[i].Value == key.Value {
				return file.Content[i+1]
			}
		}
		empty := &yaml.Node{Kind: like.Kind, Tag: like.Tag, Style: like.Style}
		file.Content = append(file.Content, key, empty)
		return empty
	}
	for i := 0; i < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if value.Kind != yaml.MappingNode {
			file := files[rnd.IntN(len(files))]
			file.Content = append(file.Content, key, value)
			continue
		}
		for j := 0; j < len(value.Content); j += 2 {
			into := section(files[rnd.IntN(len(files))], key, value)
			into.Content = append(into.Content, value.Content[j], value.Content[j+1])
		}
	}
	var sources []Source
	for i, file := range files {
		if len(file.Content) == 0 {
			continue
		}
		var out bytes.Buffer
		enc := yaml.NewEncoder(&out)
		enc.SetIndent(2 + rnd.IntN(4))
		if err := enc.Encode(file); err != nil {
			t.Fatal(err)
		}
		sources = append(sources, Source{fmt.Sprintf("%d.yaml", i), out.Bytes()})
	}
	rnd.Shuffle(len(sources), func(i, j int) { sources[i], sources[j] = sources[j], sources[i] })
	return sources
}

// What the YAML asks for changes the digest.
func TestDigestSeesEveryChange(t *testing.T) {
	text := string(completeText(t))
	seen := map[string]string{mustParse(t, Source{"a", []byte(text)}).Digest(): "the original"}
	for _, change := range [][2]string{
		{"cluster: shop", "cluster: store"},
		{"{env: HUB_DSN}", "{env: HUB_DSN2}"},
		{"service=edge1", "service=edge2"},
		{"host=10.0.0.2", "host=10.0.0.3"},
		{"ticker_max_lag: 1s", "ticker_max_lag: 2s"},
		{"per_tx_limit: 100000", "per_tx_limit: 100001"},
		{"members: [w1, w2]", "members: [w1, w3]"},
		{"old_report: {state: absent}", "old_report: {state: present}"},
		{"status <> 'draft'", "status <> 'sent'"},
		{"provider: edge1", "provider: hub"},
		{"copy: no", "copy: yes"},
		{"create: full", "create: table"},
		{"as: eu.order_items", "as: eu.items"},
		{"paused: false", "paused: true"},
	} {
		changed := strings.Replace(text, change[0], change[1], 1)
		if changed == text {
			t.Fatalf("%q is not in the example", change[0])
		}
		digest := mustParse(t, Source{"a", []byte(changed)}).Digest()
		if before, twice := seen[digest]; twice {
			t.Errorf("%s has the digest of %s", change[1], before)
		}
		seen[digest] = change[1]
	}
}

// Spelling a default out, or a duration otherwise, asks for the same.
func TestDigestComparesMeaning(t *testing.T) {
	const head = "skytools: 1\ncluster: shop\ndatabases: {hub: {dsn: service=hub}}\nqueues:\n  orders:\n    on: hub\n"
	want := mustParse(t, Source{"a", []byte(head)}).Digest()
	for _, line := range []string{
		"rotation_period: 2h", "rotation_period: 120m", "rotation_period: 7200s", "ticker_max_lag: 3000ms", "ticker_max_lag: 3.0s",
		"state: present", "per_tx_limit:", "per_tx_limit: ~", "consumers:", "consumers: {}", "ticker_paused: false",
	} {
		if got := mustParse(t, Source{"a", []byte(head + "    " + line + "\n")}).Digest(); got != want {
			t.Errorf("%q changes the digest", line)
		}
	}
}
