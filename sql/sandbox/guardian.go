package sandbox

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// guard waits until nobody holds the other end of its input any more, then stops
// the server ($1 is its folder, $2 its data) and removes what it left. When the folder is gone
// already there is nothing to do: that is how Stop ends it.
const guard = `
read line
[ -d "$1" ] || exit 0
for try in 1 2 3; do
	pid=$(head -n 1 "$2/postmaster.pid" 2>/dev/null) && [ -n "$pid" ] || break
	kill -QUIT "$pid" 2>/dev/null || break
	for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		kill -0 "$pid" 2>/dev/null || break 2
		sleep 0.1
	done
	kill -KILL "$pid" 2>/dev/null
done
rm -rf "$1"
`

// watch starts the guardian. It leaves our process group, so that an interrupt
// from the keyboard reaches only us.
func (s *Server) watch() error {
	cmd := exec.Command("/bin/sh", "-c", guard, "skytools-sandbox-guardian", s.Dir, s.data())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Dir = "/"
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the guardian: %w", err)
	}
	go cmd.Wait()
	s.guardian = pipe
	return nil
}

// Credential is the user to run a server as: nil for ourselves, unless we are root.
func Credential() *syscall.Credential {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			uid, _ := strconv.ParseUint(u.Uid, 10, 32)
			gid, _ := strconv.ParseUint(u.Gid, 10, 32)
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	return &syscall.Credential{Uid: 65534, Gid: 65534}
}

// workingIn lists the processes whose working directory is dir, from /proc. A zombie
// has none.
func workingIn(dir string) []int {
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	var found []int
	for _, link := range links {
		if target, err := os.Readlink(link); err != nil || target != dir {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link))); err == nil {
			found = append(found, pid)
		}
	}
	return found
}

// children lists the processes whose parent is pid, from /proc; elsewhere none,
// and the server's children notice by themselves that it has gone.
func children(pid int) []int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	var found []int
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		_, rest, ok := strings.Cut(string(text), ") ") // the program's name may hold anything
		fields := strings.Fields(rest)
		if !ok || len(fields) < 2 || fields[1] != strconv.Itoa(pid) {
			continue
		}
		if child, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
			found = append(found, child)
		}
	}
	return found
}

// Give makes the user that servers run as the owner of path and of all below it.
func Give(path string) error {
	c := Credential()
	if c == nil {
		return nil
	}
	return filepath.WalkDir(path, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(name, int(c.Uid), int(c.Gid))
	})
}
