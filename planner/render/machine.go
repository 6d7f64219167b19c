package render

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/spec"
)

// JSON writes a value as indented JSON, with a newline.
func JSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// SQL writes the statements of a plan as pasteable SQL, for reading. What apply
// runs is the same text with its arguments as parameters, each step only after a
// look at its object.
func SQL(w io.Writer, p *planner.Plan) {
	say(w, "-- plan %s of %s: %s\n", p.ShortDigest(), p.Cluster, Summary(p, ""))
	node := ""
	for _, s := range p.Steps {
		if len(s.Do) == 0 {
			continue
		}
		if s.Node != node {
			node = s.Node
			say(w, "\n-- in %s\n", node)
		}
		say(w, "\n-- %s %s: %s\n", s.ID, s.Address, s.Title)
		for _, in := range s.Inputs {
			say(w, "-- %s comes from %s: %s\n", in.Name, in.Node, oneLine(in.Stmt.Pasteable()))
		}
		begin, commit := "begin;\n", "commit;\n"
		if s.Alone {
			begin, commit = "", ""
		}
		fmt.Fprint(w, begin)
		for _, stmt := range s.Do {
			fmt.Fprintln(w, stmt.Pasteable())
		}
		fmt.Fprint(w, commit)
	}
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// GithubProblems writes problems of the YAML as workflow commands, which show on
// the changed lines.
func GithubProblems(w io.Writer, problems spec.Problems) {
	for _, p := range problems {
		text := p.Message
		if p.Try != "" {
			text += "; " + p.Try
		}
		annotate(w, "error", p.Pos, p.Rule, text)
	}
}

// Github writes the changes of a plan as workflow commands.
func Github(w io.Writer, p *planner.Plan) {
	for _, c := range p.Changes {
		level := "notice"
		for _, h := range c.Hazards {
			if h.AllowedBy == nil {
				level = "warning"
			}
		}
		annotate(w, level, c.Source, string(c.Action), changeLine(c))
	}
	for _, d := range p.Diagnostics {
		annotate(w, map[string]string{"error": "error", "warning": "warning"}[d.Severity], d.Source, d.Code, strings.TrimPrefix(d.Address+": "+d.Message, ": "))
	}
	annotate(w, "notice", spec.Pos{}, "plan "+p.ShortDigest(), Summary(p, ""))
}

// changeLine is a change in one line.
func changeLine(c *planner.Change) string {
	return fmt.Sprintf("%s %s", c.Action, c.Address) + changeRest(c)
}

// changeRest is what a change says beside its action and address.
func changeRest(c *planner.Change) string {
	parts := []string{""}
	for _, f := range c.Fields {
		if c.Action != planner.Create && !hidden(f.Path) {
			parts = append(parts, f.Path+" "+change(f))
		}
	}
	for _, h := range c.Hazards {
		parts = append(parts, h.Code+": "+h.Message)
	}
	return strings.Join(parts, "; ")
}

// annotate writes one workflow command.
// Source: GitHub documentation, Workflow commands for GitHub Actions.
func annotate(w io.Writer, level string, at spec.Pos, title, text string) {
	if level == "" {
		level = "notice"
	}
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	data := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	place := ""
	if at.File != "" {
		place = fmt.Sprintf("file=%s,line=%d,col=%d,", property.Replace(Clean(at.File)), at.Line, at.Column)
	}
	fmt.Fprintf(w, "::%s %stitle=%s::%s\n", level, place, property.Replace(Clean(title)), data.Replace(Clean(text)))
}

type suite struct {
	XMLName  xml.Name   `xml:"testsuite"`
	Name     string     `xml:"name,attr"`
	Tests    int        `xml:"tests,attr"`
	Failures int        `xml:"failures,attr"`
	Errors   int        `xml:"errors,attr"`
	Cases    []testCase `xml:"testcase"`
}

type testCase struct {
	Class   string   `xml:"classname,attr"`
	Name    string   `xml:"name,attr"`
	Failure *verdict `xml:"failure,omitempty"`
	Error   *verdict `xml:"error,omitempty"`
}

type verdict struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

func (s *suite) write(w io.Writer) error {
	s.Tests = len(s.Cases)
	for _, c := range s.Cases {
		if c.Failure != nil {
			s.Failures++
		}
		if c.Error != nil {
			s.Errors++
		}
	}
	text, err := xml.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s%s\n", xml.Header, text)
	return err
}

// JUnitPlan writes a plan as a test suite: each change is a failure, each object
// that could not be looked at an error.
func JUnitPlan(w io.Writer, p *planner.Plan) error {
	s := suite{Name: "skytools plan " + p.Cluster}
	for _, c := range p.Changes {
		t := testCase{Class: c.Node, Name: c.Address.Short()}
		if c.Action == planner.Unobserved {
			t.Error = &verdict{"not observed", strings.Join(c.Notes, "\n")}
		} else {
			t.Failure = &verdict{string(c.Action), changeLine(c)}
		}
		s.Cases = append(s.Cases, t)
	}
	for _, d := range p.Diagnostics {
		if d.Severity == "error" {
			s.Cases = append(s.Cases, testCase{Class: "diagnostics", Name: d.Address, Error: &verdict{d.Code, d.Message}})
		}
	}
	for _, a := range p.Unchanged {
		s.Cases = append(s.Cases, testCase{Class: a.Database, Name: a.Short()})
	}
	return s.write(w)
}

// JUnitDrift writes a drift report as a test suite, one case for each object.
func JUnitDrift(w io.Writer, d *planner.Drift) error {
	s := suite{Name: "skytools drift " + d.Cluster}
	drifted := map[planner.Address]planner.Drifted{}
	for _, x := range d.Drifted {
		drifted[x.Address] = x
	}
	for _, a := range d.Checked {
		t := testCase{Class: a.Database, Name: a.Short()}
		if x, ok := drifted[a]; ok {
			t.Failure = &verdict{"drifted", driftLine(x)}
		}
		s.Cases = append(s.Cases, t)
	}
	for _, u := range d.Unchecked {
		s.Cases = append(s.Cases, testCase{Class: "unchecked", Name: u.Address, Error: &verdict{"not checked", u.Why}})
	}
	return s.write(w)
}
