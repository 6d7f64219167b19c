// Skytools-wal is what PostgreSQL starts per WAL file:
//
//	archive_command = 'skytools-wal push ARCHIVE %p'
//	restore_command = 'skytools-wal get ARCHIVE %f %p'
//
// It asks "skytools wal serve" over a unix socket. Where nobody answers, it becomes
// "skytools wal" with the same arguments, which needs no other process. It is small,
// because starting it is most of the work: it imports the standard library only, and of
// that not net, which would have a dynamic loader run first.
//
// The socket is SKYTOOLS_WAL_DIR/ARCHIVE.sock, by default in /run/skytools. The program
// to become is SKYTOOLS, or skytools beside this one.
//
// Exit codes are those of "skytools wal": of push 0, or at most 125; of get 0, 1 when
// the archive does not have the file, and more than 125 when nobody can tell, so that
// PostgreSQL never takes an outage for the end of the archive. A standby asks again, so
// there it is 1 in both cases.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	failed  = 1
	unknown = 200
)

const help = `usage: skytools-wal push ARCHIVE PATH         for archive_command
       skytools-wal get ARCHIVE FILE PATH     for restore_command
Arguments after -- go to "skytools wal", which is used where no "skytools wal serve" answers.
`

func main() {
	command := os.Args[1:]
	bad := failed // how to end when something is not known
	if len(command) > 0 && command[0] == "get" && !standby() {
		bad = unknown
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-end
		os.Exit(bad) // a signal would end the archiver process, too
	}()
	r, archive, ok := parse(command)
	if !ok {
		fmt.Fprint(os.Stderr, help)
		os.Exit(bad)
	}
	reply, err := ask(filepath.Join(dir(), archive+".sock"), r, patience)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		fmt.Fprintf(os.Stderr, "skytools-wal: no answer within %s\n", patience)
		os.Exit(bad)
	case err != nil:
		os.Exit(become(command, bad))
	}
	if reply.Error != "" {
		fmt.Fprintf(os.Stderr, "skytools-wal: %s\n", reply.Error)
	}
	os.Exit(reply.Code)
}

func parse(args []string) (r request, archive string, ok bool) {
	base, err := os.Getwd()
	if err != nil {
		return request{}, "", false
	}
	for i, arg := range args {
		if arg == "--" {
			args = args[:i]
			break
		}
	}
	switch {
	case len(args) == 3 && args[0] == "push":
		r = request{Op: "push", Base: base, Path: args[2]}
	case len(args) == 4 && args[0] == "get":
		r = request{Op: "get", Base: base, File: args[2], Path: args[3]}
	default:
		return request{}, "", false
	}
	return r, args[1], !strings.ContainsAny(args[1], "/\x00")
}

// standby reports whether we were called by a server that follows another: it asks again
// by itself, and must not be stopped.
func standby() bool {
	_, err := os.Stat("standby.signal") // PostgreSQL calls in its data directory
	return err == nil
}

func dir() string {
	if d := os.Getenv("SKYTOOLS_WAL_DIR"); d != "" {
		return d
	}
	return "/run/skytools"
}

// become runs "skytools wal", and ends as it does, unless it ended in a way that
// PostgreSQL would misread.
func become(command []string, bad int) int {
	program := os.Getenv("SKYTOOLS")
	if program == "" {
		self, err := os.Executable()
		if err != nil {
			fmt.Fprintf(os.Stderr, "skytools-wal: %v\n", err)
			return bad
		}
		program = filepath.Join(filepath.Dir(self), "skytools")
	}
	cmd := exec.Command(program, append([]string{"wal"}, withoutDashes(command)...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = attributes()
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &exit):
		fmt.Fprintf(os.Stderr, "skytools-wal: %v\n", err)
		return bad
	case bad == failed && exit.ExitCode() == 2: // a split brain
		return 2
	case exit.ExitCode() == 1:
		return 1
	}
	return bad
}

func withoutDashes(command []string) (args []string) {
	dashes := false
	for _, arg := range command {
		if arg == "--" && !dashes {
			dashes = true
			continue
		}
		args = append(args, arg)
	}
	return args
}
