package spec

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
)

const canary = "c4nary-5e5ame"

// leaks reports whether text shows the canary, as it is or in hexadecimal.
func leaks(text string) bool {
	hex := fmt.Sprintf("%x", canary)
	return strings.Contains(text, canary) || strings.Contains(strings.ToLower(text), hex)
}

// secretSet declares a secret in every place that takes one, and in every way.
func secretSet(t *testing.T) *Set {
	t.Helper()
	t.Setenv("CANARY", canary)
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(canary+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	text.WriteString("skytools: 1\ncluster: shop\ndatabases:\n")
	for _, key := range []string{"dsn", "direct"} {
		for how, reference := range map[string]string{
			"env":     "{env: CANARY}",
			"file":    fmt.Sprintf("{file: %q}", file),
			"command": fmt.Sprintf("{command: [cat, %q]}", file),
		} {
			other := "dsn: service=x, "
			if key == "dsn" {
				other = ""
			}
			fmt.Fprintf(&text, "  %s_%s: {%s%s: %s}\n", key, how, other, key, reference)
		}
	}
	return mustParse(t, Source{"secrets.yaml", []byte(text.String())})
}

func secretsOf(t *testing.T, set *Set) []Secret {
	t.Helper()
	var all []Secret
	for _, d := range set.Databases {
		s := d.DSN
		if !d.Direct.IsZero() {
			s = d.Direct
		}
		v, err := s.Reveal(t.Context())
		if err != nil || v != canary {
			t.Fatalf("%s: got %q, %v: this test is looking for the wrong value", d.Name, v, err)
		}
		all = append(all, s)
	}
	if len(all) != 6 {
		t.Fatalf("%d secrets, want 6", len(all))
	}
	return all
}

func TestSecretsAreNotPrinted(t *testing.T) {
	set := secretSet(t)
	type exported struct{ S Secret }
	type unexported struct{ s Secret }
	type embedded struct{ Secret }
	check := func(what, text string) {
		t.Helper()
		if leaks(text) {
			t.Errorf("%s shows the secret: %s", what, text)
		}
	}
	for _, s := range secretsOf(t, set) {
		containers := map[string]any{
			"value": s, "pointer": &s, "slice": []Secret{s}, "array": [1]Secret{s}, "map": map[string]Secret{"k": s},
			"exported": exported{s}, "unexported": unexported{s}, "pointer to unexported": &unexported{s}, "embedded": embedded{s},
			"any": []any{s}, "nested": map[string][]unexported{"k": {{s}}}, "database": Database{DSN: s}, "databases": Named[Database]{{DSN: s}},
		}
		for name, c := range containers {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X", "%p", "%T", "%t", "%e", "%z", "%10.3v"} {
				check(name+" under "+verb, fmt.Sprintf(verb, c))
			}
			text, err := json.Marshal(c)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			check(name+" as JSON", string(text))
			check(name+" in an error", fmt.Errorf("connect to %v: %w", c, os.ErrNotExist).Error())
			var out bytes.Buffer
			slog.New(slog.NewTextHandler(&out, nil)).Info("connect", "to", c)
			slog.New(slog.NewJSONHandler(&out, nil)).Info("connect", "to", c)
			for _, asJSON := range []bool{false, true} {
				log := hclog.New(&hclog.LoggerOptions{Output: &out, JSONFormat: asJSON})
				log.Info("connect", "to", c)
				log.With("to", c).Error(fmt.Sprint(c), "err", fmt.Errorf("to %v", c))
			}
			if out.Len() == 0 {
				t.Fatal("nothing was logged")
			}
			check(name+" in a log", out.String())
		}
		if got := fmt.Sprint(s); got != s.Ref() {
			t.Errorf("printed %q, want the reference %q", got, s.Ref())
		}
		if text, err := s.MarshalText(); err != nil || string(text) != s.Ref() {
			t.Errorf("marshalled %q, %v", text, err)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		check("the set under "+verb, fmt.Sprintf(verb, *set))
	}
	text, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	check("the input of the digest", string(text))
	if !strings.Contains(string(text), "env:CANARY") {
		t.Error("the digest does not cover the reference")
	}
}

// A password that somebody writes into the YAML is refused, and neither the
// problem nor any problem beside it shows the line with it.
func TestPasswordsInTheYAMLAreNotRepeated(t *testing.T) {
	const head = "skytools: 1\ncluster: shop\n"
	for name, body := range map[string]string{
		"conninfo":              "databases:\n  hub: {dsn: 'host=h password=CANARY', oops: 1}\n",
		"quoted conninfo":       "databases:\n  hub: {dsn: \"host=h password = 'CANARY'\", oops: 1}\n",
		"upper case":            "databases:\n  hub: {dsn: host=h PassWord=CANARY}\n",
		"URL":                   "databases:\n  hub:\n    dsn: postgres://u:CANARY@h/db\n    oops: 1\n",
		"URL parameter":         "databases:\n  hub:\n    dsn: postgres://h/db?password=CANARY\n",
		"URL with a slash":      "databases:\n  hub:\n    dsn: postgres://u:a/CANARY@h/db\n",
		"URL with an at sign":   "databases:\n  hub:\n    dsn: postgres://u:a@CANARY@h/db\n",
		"key file phrase":       "databases:\n  hub: {dsn: host=h sslpassword=CANARY}\n",
		"direct":                "databases:\n  hub: {dsn: service=h, direct: host=h password=CANARY}\n",
		"location":              "databases:\n  hub: {dsn: service=h, location: host=h password=CANARY}\n",
		"location by alias":     "databases:\n  hub: {dsn: service=h, location: *x}\n  z: {x: &x 'host=h password=CANARY'}\n",
		"alias":                 "databases:\n  a: {dsn: &x 'host=h\n      password=CANARY', b: c}\n  hub: {dsn: *x}\n",
		"block scalar":          "databases:\n  hub:\n    dsn: |\n      host=h\n      password=\n      CANARY\n    oops: 1\n",
		"folded over lines":     "databases:\n  hub: {dsn: \"host=h password=\n     CANARY\", oops: 1}\n",
		"broken in the middle":  "databases:\n  hub: {dsn: \"host=h password=x\\\n     CANARY\", oops: 1}\n",
		"its own key":           "databases:\n  hub: {dsn: service=h, password: CANARY}\n",
		"its own key, block":    "databases:\n  hub:\n    dsn: service=h\n    password:\n      CANARY\n    oops: 1\n",
		"its own key, mistyped": "databases:\n  hub: {dsn: service=h, pwd: CANARY}\n",
		"another reference":     "databases:\n  hub: {dsn: {value: CANARY}}\n",
		"another reference 2":   "databases:\n  hub:\n    dsn:\n      value:\n        CANARY\n      more: 1\n",
		"in env":                "databases:\n  hub: {dsn: {env: 'CANARY'}}\n",
		"URL in env":            "databases:\n  hub: {dsn: {env: 'postgres://u:CANARY@h/db'}}\n",
		"URL in file":           "databases:\n  hub: {dsn: {file: 'postgres://u:CANARY@h/db'}}\n",
		"URL in command":        "databases:\n  hub: {dsn: {command: [echo, 'postgres://u:CANARY@h/db']}}\n",
		"instead of an object":  "databases:\n  hub: postgres://u:CANARY@h/db\n",
		"instead of a list":     "databases: postgres://u:CANARY@h/db\n",
		"in a list":             "databases:\n  hub: {dsn: [\"postgres://u:CANARY@h/db\"]}\n",
		"as a name":             "databases:\n  'postgres://u:CANARY@h/db': {}\n",
		"as a queue's place":    "queues:\n  orders: {on: 'postgres://u:CANARY@h/db'}\n",
		"as a state":            "databases:\n  hub: {dsn: service=h, state: 'password=CANARY'}\n",
		"as the version":        "skytools: 'password=CANARY'\n",
		"in broken YAML":        "databases:\n  hub: {dsn: 'host=h password=\n   CANARY'\n   , [\n",
		"with lone CR":          "databases:\r  hub: {dsn: 'host=h password=CANARY', oops: 1}\r",
		"with a line separator": "databases:\u2028  hub: {dsn: 'host=h\u2028 password=CANARY', oops: 1}\n",
	} {
		t.Run(name, func(t *testing.T) {
			text := head + body
			if name == "as the version" {
				text = body
			}
			set, problems := Parse(Source{"a.yaml", []byte(strings.ReplaceAll(text, "CANARY", canary))})
			if len(problems) == 0 && name != "in env" {
				t.Fatal("it was not refused")
			}
			asJSON, err := json.Marshal(problems)
			if err != nil {
				t.Fatal(err)
			}
			for what, shown := range map[string]string{
				"text": problems.Error(), "JSON": string(asJSON), "%+v": fmt.Sprintf("%+v", problems), "the set": fmt.Sprintf("%+v", set.Databases),
			} {
				if leaks(shown) {
					t.Errorf("%s shows the password:\n%s", what, shown)
				}
			}
		})
	}
}

// What has no password is not taken for one.
func TestConninfoWithoutPassword(t *testing.T) {
	for _, dsn := range []string{
		"service=hub", "host=h dbname=shop user=app", "postgres://h:5432/db", "postgres://app@h:5432/db", "postgres://a:5432,b:5432/db",
		"postgres://h:5432/db?application_name=a@b", "postgresql:///db?host=/run/postgresql", "host=h passfile=/run/pgpass", "host=password",
	} {
		set, problems := Parse(Source{"a.yaml", fmt.Appendf(nil, "skytools: 1\ncluster: shop\ndatabases:\n  hub: {dsn: %q, location: %q}\n", dsn, dsn)})
		if len(problems) > 0 {
			t.Errorf("%s: %v", dsn, problems)
			continue
		}
		d := set.Database("hub")
		if v, err := d.DSN.Reveal(t.Context()); v != dsn || err != nil || d.Location != dsn {
			t.Errorf("%s: read as %q, %v and %q", dsn, v, err, d.Location)
		}
	}
}

func TestReveal(t *testing.T) {
	t.Setenv("EMPTY", "")
	failing := []string{"sh", "-c", "echo first line >&2; echo second >&2; exit 3"}
	for _, c := range []struct {
		name   string
		secret Secret
		want   string // of the error
	}{
		{"nothing declared", Secret{}, "read a secret: none is declared"},
		{"variable not set", fromEnv("SKYTOOLS_NO_SUCH_VARIABLE"), "read env:SKYTOOLS_NO_SUCH_VARIABLE: the environment variable is not set"},
		{"no file", fromFile("/no/such/file"), "read file:/no/such/file: no such file or directory"},
		{"failing command", fromCommand(failing), "read command:sh: exit status 3: first line"},
	} {
		_, err := c.secret.Reveal(t.Context())
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
	if v, err := fromEnv("EMPTY").Reveal(t.Context()); v != "" || err != nil {
		t.Errorf("an empty variable: %q, %v", v, err)
	}
	repeated := fromCommand([]string{"printf", "%s,%s,%s", "a", "a", ""})
	if v, err := repeated.Reveal(t.Context()); v != "a,a," || err != nil {
		t.Errorf("repeated and empty arguments: %q, %v", v, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := fromCommand([]string{"sleep", "60"}).Reveal(ctx); err == nil {
		t.Error("a cancelled command gave a value")
	}
}

// Arguments of a command are a list and no set: they may repeat, and be empty.
func TestCommandArguments(t *testing.T) {
	set := mustParse(t, Source{"a.yaml", []byte("skytools: 1\ncluster: shop\ndatabases:\n  hub: {dsn: {command: [printf, '%s-%s-%s', x, x, '']}}\n")})
	if v, err := set.Database("hub").DSN.Reveal(t.Context()); v != "x-x-" || err != nil {
		t.Errorf("got %q, %v", v, err)
	}
}
