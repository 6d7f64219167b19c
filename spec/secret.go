package spec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// A Secret knows where its value comes from and prints only that. The value is
// kept behind a function, so that not even reflection finds it; it is read anew
// at every use, because secrets rotate.
type Secret struct {
	ref   string // "env:HUB_DSN", "file:/run/secrets/x", or the plain text of one that is no secret
	value func(context.Context) (string, error)
}

// Format prints the reference under every verb.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, s.ref) }

// MarshalText writes the reference.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.ref), nil }

// Ref is where the value comes from.
func (s Secret) Ref() string { return s.ref }

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s.value == nil }

// Reveal returns the value. The error names the reference, never the value.
func (s Secret) Reveal(ctx context.Context) (string, error) {
	if s.value == nil {
		return "", errors.New("read a secret: none is declared")
	}
	v, err := s.value(ctx)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", s.ref, err)
	}
	return v, nil
}

func plain(text string) Secret {
	return Secret{text, func(context.Context) (string, error) { return text, nil }}
}

func fromEnv(name string) Secret {
	return Secret{"env:" + name, func(context.Context) (string, error) {
		v, ok := os.LookupEnv(name)
		if !ok {
			return "", errors.New("the environment variable is not set")
		}
		return v, nil
	}}
}

func fromFile(path string) Secret {
	return Secret{"file:" + path, func(context.Context) (string, error) {
		v, err := os.ReadFile(path)
		if err != nil {
			return "", errors.Unwrap(err) // the path is in the reference already
		}
		return strings.TrimRight(string(v), "\r\n"), nil
	}}
}

// commandTimeout bounds a command that fetches a secret.
const commandTimeout = 30 * time.Second

func fromCommand(argv []string) Secret {
	return Secret{"command:" + argv[0], func(ctx context.Context) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, commandTimeout)
		defer cancel()
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.WaitDelay = time.Second
		var out, talk bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &talk
		if err := cmd.Run(); err != nil {
			line, _, _ := strings.Cut(strings.TrimSpace(talk.String()), "\n")
			return "", fmt.Errorf("%w: %s", err, line)
		}
		return strings.TrimRight(out.String(), "\r\n"), nil
	}}
}
