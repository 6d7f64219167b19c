package standby

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/skytools-go/skytools/sql/sandbox"
)

// startLog is what a server says that was started by pg_ctl, below its data directory.
const startLog = "startup.log"

// program is a program of the server's version.
func (s *Standby) program(name string) (string, error) {
	bin := s.Bin
	if bin == "" {
		text, err := os.ReadFile(filepath.Join(s.Data, "PG_VERSION"))
		if err != nil {
			return "", err
		}
		major, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			return "", fmt.Errorf("read %s: %w", filepath.Join(s.Data, "PG_VERSION"), err)
		}
		found, err := sandbox.FindMajor(major)
		if err != nil {
			return "", err
		}
		bin = found.Bin
	}
	path := filepath.Join(bin, name)
	if _, err := os.Stat(path); err != nil {
		return "", err
	}
	return path, nil
}

// start starts the server. It does not wait for it.
func (s *Standby) start(ctx context.Context, o owner) error {
	argv, who := []string{"/bin/sh", "-c", s.Start}, whoever
	if s.Start == "" {
		if _, err := os.Stat(filepath.Join(s.Data, "postgresql.conf")); err != nil {
			return &Error{s.Data + " has no postgresql.conf, so pg_ctl cannot start it", "say how it is started: start_command, such as pg_ctlcluster 15 main start"}
		}
		ctl, err := s.program("pg_ctl")
		if err != nil {
			return err
		}
		argv = []string{ctl, "-D", s.Data, "-W", "-s", "-l", filepath.Join(s.Data, startLog), "start"}
		who = o.credential()
	}
	_, err := run(ctx, who, argv)
	if err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	return nil
}

// stop stops the server and waits until it has ended.
func (s *Standby) stop(ctx context.Context, o owner) error {
	argv, who := []string{"/bin/sh", "-c", s.Stop}, whoever
	if s.Stop == "" {
		ctl, err := s.program("pg_ctl")
		if err != nil {
			return err
		}
		argv = []string{ctl, "-D", s.Data, "-W", "-s", "-m", "fast", "stop"}
		who = o.credential()
	}
	if _, err := run(ctx, who, argv); err != nil {
		return fmt.Errorf("stop the server: %w", err)
	}
	return s.until(ctx, "stop the server", func(context.Context) (bool, error) {
		running, err := s.dir().Running()
		return !running, err
	})
}

// stopped makes sure that no server runs in the data directory. told: it may be stopped.
func (s *Standby) stopped(ctx context.Context, o owner, told bool) error {
	running, err := s.dir().Running()
	switch {
	case err != nil || !running:
		return err
	case !told:
		return &Error{"a server runs in " + s.Data, "stop it first, or let --stop do it; if no server is there, remove its postmaster.pid"}
	}
	return s.stop(ctx, o)
}

// whoever runs a declared command: we do, for it may be one of root's, such as systemctl.
var whoever *syscall.Credential

// run runs a program as somebody, or as we are with nil, and returns what it says. Its output is a file and no
// pipe, which a server that it starts would hold open.
func run(ctx context.Context, who *syscall.Credential, argv []string) (string, error) {
	return runSeen(ctx, who, argv, nil)
}

// runSeen does so for a program that leaves no process behind, whose output also goes to
// seen as it comes.
func runSeen(ctx context.Context, who *syscall.Credential, argv []string, seen io.Writer) (string, error) {
	out, err := os.CreateTemp("", "skytools-standby-")
	if err != nil {
		return "", err
	}
	defer out.Close()
	defer os.Remove(out.Name())
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	if seen != nil {
		both := io.MultiWriter(out, seen) // the same for both: one writes at a time
		cmd.Stdout, cmd.Stderr, cmd.WaitDelay = both, both, 5*time.Second
	}
	cmd.Env, cmd.Dir = environment(), "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who}
	err = cmd.Run()
	text, _ := os.ReadFile(out.Name())
	if err != nil && ctx.Err() != nil {
		return string(text), ctx.Err()
	}
	if err != nil {
		return string(text), fmt.Errorf("%s: %w\n%s", filepath.Base(argv[0]), err, last(string(text)))
	}
	return string(text), nil
}

// environment is ours without what would lead a server or its programs astray.
func environment() []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, "PG") || strings.HasPrefix(kv, "LC_") || strings.HasPrefix(kv, "LANG=") || strings.HasPrefix(kv, "LANGUAGE=")
	})
	return append(env, "LC_ALL=C")
}

// last is the end of a long text.
func last(text string) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-8):], "\n")
}

// said is the end of what the server has said since it was started by pg_ctl.
func (s *Standby) said() error {
	text, err := os.ReadFile(filepath.Join(s.Data, startLog))
	if s.Start != "" || err != nil {
		return errors.New("the server has ended: its log says why")
	}
	return fmt.Errorf("the server has ended:\n%s", last(string(text)))
}
