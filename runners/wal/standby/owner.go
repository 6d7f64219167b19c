package standby

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/skytools-go/skytools/runners/wal"
)

// owner is the user that a server runs as and that its files belong to. We may be root.
type owner struct{ uid, gid int }

// owned finds out whose the server is.
func (s *Standby) owned() (owner, error) {
	if os.Geteuid() != 0 {
		return owner{os.Geteuid(), os.Getegid()}, nil
	}
	if s.Owner != "" {
		u, err := user.Lookup(s.Owner)
		if err != nil {
			return owner{}, err
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		return owner{uid, gid}, nil
	}
	for dir := s.Data; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return owner{}, err
		}
		stat := info.Sys().(*syscall.Stat_t)
		if stat.Uid == 0 {
			return owner{}, &Error{"no server runs as root, who owns " + dir, "say whose it is with --owner, or make the directory for that user first"}
		}
		return owner{int(stat.Uid), int(stat.Gid)}, nil
	}
}

// credential is what a program needs to run as the owner; nil: we are the owner.
func (o owner) credential() *syscall.Credential {
	if os.Geteuid() != 0 {
		return nil
	}
	return &syscall.Credential{Uid: uint32(o.uid), Gid: uint32(o.gid)}
}

func (o owner) own(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return os.Lchown(path, o.uid, o.gid)
}

// write replaces a file that only the owner reads, durably.
func (o owner) write(name string, content []byte) error {
	temp := name + ".new"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Chmod(0o600), f.Sync(), f.Close(), o.own(temp)); err != nil {
		return err
	}
	if err := os.Rename(temp, name); err != nil {
		return err
	}
	return wal.SyncDir(filepath.Dir(name))
}

// mkdir makes a directory and what is missing above it.
func (o owner) mkdir(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	if err := o.mkdir(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return errors.Join(o.own(dir), wal.SyncDir(filepath.Dir(dir)))
}
