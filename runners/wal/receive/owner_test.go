package receive_test

import (
	"io/fs"
	"os"
	"syscall"
)

// owned gives a file to the owner of another one.
func owned(file string, like fs.FileInfo) error {
	stat, ok := like.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return os.Chown(file, int(stat.Uid), int(stat.Gid))
}
