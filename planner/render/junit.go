package render

import "io"

// A Case is a test case of a JUnit file that is about no plan. Failure and Error say what
// is wrong; at most one of them is set.
type Case struct {
	Class, Name    string
	Failure, Error string
	Type           string // of the failure or error, such as "differs"
}

// JUnitCases writes a test suite.
func JUnitCases(w io.Writer, name string, cases []Case) error {
	s := suite{Name: name}
	for _, c := range cases {
		t := testCase{Class: c.Class, Name: c.Name}
		switch {
		case c.Failure != "":
			t.Failure = &verdict{c.Type, c.Failure}
		case c.Error != "":
			t.Error = &verdict{c.Type, c.Error}
		}
		s.Cases = append(s.Cases, t)
	}
	return s.write(w)
}
