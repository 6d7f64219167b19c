// Package term is the only code that knows about terminals: whether there is one,
// colour, and lines that move.
//
// The rules: stdout carries the answer and stderr the talk. Colour and moving lines
// appear only on a terminal, never with NO_COLOR or TERM=dumb, and never in a
// format for machines. Everything reads well without them.
package term

import (
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/mattn/go-isatty"
	"github.com/vbauerster/mpb/v8/cwriter"
)

// Stdio is what a command talks to. Tests give it buffers.
type Stdio struct {
	In     io.Reader
	Out    io.Writer
	Err    io.Writer
	InTTY  bool // somebody can answer a question
	OutTTY bool // Out is a terminal
	ErrTTY bool // Err is a terminal: bars may move there
	Env    func(name string) (string, bool)
	Notify func(c chan<- os.Signal, signals ...os.Signal) (stop func())
}

// System is the process's own.
func System() Stdio {
	return Stdio{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		InTTY: isTTY(os.Stdin), OutTTY: isTTY(os.Stdout), ErrTTY: isTTY(os.Stderr),
		Env: os.LookupEnv,
		Notify: func(c chan<- os.Signal, signals ...os.Signal) func() {
			signal.Notify(c, signals...)
			return func() { signal.Stop(c) }
		},
	}
}

func isTTY(f *os.File) bool { return isatty.IsTerminal(f.Fd()) || isatty.IsCygwinTerminal(f.Fd()) }

// Interrupts are the signals that ask a command to end.
var Interrupts = []os.Signal{os.Interrupt, syscall.SIGTERM}

// Colour decides whether to use colour on out: mode is auto, always or never.
func (s Stdio) Colour(mode string) bool {
	switch mode {
	case "always":
		return true
	case "never":
		return false
	}
	if v, set := s.Env("NO_COLOR"); set && v != "" {
		return false
	}
	kind, _ := s.Env("TERM")
	return s.OutTTY && kind != "dumb"
}

var sgr = map[string]string{
	"create": "32", "update": "33", "recreate": "35;1", "drop": "31;1", "adopt": "36", "unknown": "35",
	"dim": "2", "bold": "1", "ok": "32", "command": "36;1",
}

// Paint wraps text in the colour of what it is.
func Paint(what, text string) string {
	if code, ok := sgr[what]; ok {
		return "\x1b[" + code + "m" + text + "\x1b[0m"
	}
	return text
}

// Width is how many characters fit on a line of Out, or 0 when it is no terminal.
func (s Stdio) Width() int {
	f, ok := s.Out.(*os.File)
	if !ok || !s.OutTTY {
		return 0
	}
	width, _, err := cwriter.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}
