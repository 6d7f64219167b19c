package wal

import (
	"errors"
	"strconv"
	"syscall"
)

// alive reports whether there is a process with this id.
func alive(id string) bool {
	pid, err := strconv.Atoi(id)
	if err != nil || pid <= 0 {
		return true // a file that cannot be read says nothing
	}
	err = syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}
