package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// How long the daemon's answer may take, which gives up a little earlier on its own, and
// how long it may take to hear us.
const (
	patience = 58 * time.Second
	hearing  = time.Second
)

// A request is that of package serve.
type request struct {
	Op   string `json:"op"`
	Base string `json:"base"`
	Path string `json:"path"`
	File string `json:"file,omitempty"`
}

type reply struct {
	Code  int    `json:"code"`
	Error string `json:"error"`
}

// ask returns an error when nobody is there to answer, or the answer did not come:
// os.ErrDeadlineExceeded when it did not come in time.
func ask(socket string, r request, patience time.Duration) (answer reply, err error) {
	c, err := dial(socket, patience)
	if err != nil {
		return reply{}, err
	}
	defer c.Close()
	if err := json.NewEncoder(c).Encode(r); err != nil {
		return reply{}, err
	}
	line, err := bufio.NewReader(c).ReadBytes('\n')
	if errors.Is(err, syscall.EAGAIN) {
		err = os.ErrDeadlineExceeded
	}
	if err != nil {
		return reply{}, err
	}
	return answer, json.Unmarshal(line, &answer)
}

// dial connects to a unix socket on which nothing is waited for longer than patience.
func dial(socket string, patience time.Duration) (*os.File, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket: %w", err)
	}
	syscall.CloseOnExec(fd)
	c := os.NewFile(uintptr(fd), socket)
	err = errors.Join(limit(fd, syscall.SO_SNDTIMEO, hearing), limit(fd, syscall.SO_RCVTIMEO, patience))
	if err == nil {
		err = syscall.Connect(fd, &syscall.SockaddrUnix{Name: socket})
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("connect to %s: %w", socket, err)
	}
	return c, nil
}

// limit has what waits longer end with EAGAIN. Connecting counts as sending. Source: socket(7).
func limit(fd, way int, d time.Duration) error {
	t := syscall.NsecToTimeval(int64(d))
	return syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, way, &t)
}
