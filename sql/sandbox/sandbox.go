// Package sandbox runs throwaway PostgreSQL servers from installed binaries.
//
// A server has a private data directory and a private socket directory in one
// folder, trusts whoever can enter that folder, and needs only the programs
// postgres and initdb. It knows nothing of skytools.
//
// Life of a server:
//
//	Start -> running -> Stop            the folder is removed
//	            |  ^
//	       Kill |  | Resume             the folder stays; crash recovery runs
//	            v  |
//	           killed -> Stop           the folder is removed
//
// Unless it is Detached, a guardian (a small shell process that waits for the
// end of a pipe) stops the server and removes the folder when the process that
// started it ends in any way, kill -9 included.
//
// PostgreSQL refuses to run as root, so root's servers run as the user postgres,
// or nobody where there is none.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Options say how to start a server. The zero value is a good one.
type Options struct {
	Install  Install           // zero: Find decides
	Dir      string            // the server's folder; empty: a new one in the temporary directory
	Settings map[string]string // postgresql.conf settings, over the sandbox's own
	HBA      string            // pg_hba.conf; empty: trust everybody who can reach it
	TCP      bool              // also listen on a free port of 127.0.0.1
	Durable  bool              // fsync on; off is quicker and survives all but a crash of the machine
	Detached bool              // outlive this process; somebody must call Stop on Open(Dir)

	Data   string   // an existing data directory to run on, which Stop leaves alone; empty: a new one
	Initdb []string // more arguments of initdb for a new one, such as --data-checksums

	Arguments []string // more arguments of the server, such as -c autovacuum=off
}

// A Server is one PostgreSQL server. Its methods are not safe for concurrent use.
type Server struct {
	Dir     string // holds data/, the socket and server.log
	Install Install
	Port    int // of the socket and, with TCP, of 127.0.0.1

	existing  string // the data directory, where it is not ours
	arguments []string
	proc      *os.Process
	done      chan struct{} // closed when proc has ended
	guardian  io.WriteCloser
}

// User is the superuser of every sandbox server.
const User = "postgres"

// Start makes a data directory and starts a server on it. It returns when the
// server accepts connections. When it fails, it leaves nothing behind.
func Start(ctx context.Context, o Options) (_ *Server, err error) {
	if o.Install == (Install{}) {
		if o.Install, err = Find(); err != nil {
			return nil, err
		}
	}
	s := &Server{Dir: o.Dir, Install: o.Install, Port: 5432, existing: o.Data, arguments: o.Arguments}
	if err := s.makeDir(); err != nil {
		return nil, fmt.Errorf("make a folder for a PostgreSQL server: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("start PostgreSQL %s in %s: %w", s.Install.Version, s.Dir, errors.Join(err, s.Stop()))
		}
	}()
	if !o.Detached {
		if err := s.watch(); err != nil {
			return nil, err
		}
	}
	if s.existing == "" {
		if err := s.initdb(ctx, o.Initdb); err != nil {
			return nil, err
		}
	}
	if err := s.configure(o); err != nil {
		return nil, err
	}
	return s, s.Resume(ctx)
}

// Open returns the server that was started Detached in dir.
func Open(dir string) (*Server, error) {
	s := &Server{Dir: dir}
	if text, err := os.ReadFile(filepath.Join(dir, "bin")); err == nil {
		s.Install, _ = inspect(strings.TrimSpace(string(text)))
	}
	conf, err := os.ReadFile(filepath.Join(dir, "port"))
	if err != nil {
		return nil, fmt.Errorf("no sandbox server in %s: %w", dir, err)
	}
	s.Port, err = strconv.Atoi(strings.TrimSpace(string(conf)))
	if pid := s.pid(); pid > 0 && err == nil {
		s.proc, err = os.FindProcess(pid)
	}
	return s, err
}

// DSN is a conninfo string for one of the server's databases, through its socket.
func (s *Server) DSN(database string) string {
	return fmt.Sprintf("host=%s port=%d user=%s dbname=%s", conninfo(s.Dir), s.Port, User, conninfo(database))
}

// conninfo quotes a value for a conninfo string.
func conninfo(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}

// Running reports whether the server's process is alive.
func (s *Server) Running() bool {
	if s.done != nil {
		select {
		case <-s.done:
			return false
		default:
			return true
		}
	}
	return s.proc != nil && s.proc.Signal(syscall.Signal(0)) == nil
}

// Log is what the server has written so far.
func (s *Server) Log() string {
	text, _ := os.ReadFile(filepath.Join(s.Dir, "server.log"))
	return string(text)
}

// Resume starts the server again after Kill or Halt.
func (s *Server) Resume(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(s.Dir, "server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	os.Remove(filepath.Join(s.data(), "postmaster.pid")) // of a killed server: its status line would say "ready"
	arguments := []string{"-D", s.data()}
	if s.existing != "" { // whatever the settings there say
		arguments = append(arguments, "-c", "unix_socket_directories="+s.Dir, "-c", "port="+strconv.Itoa(s.Port))
	}
	cmd := exec.Command(filepath.Join(s.Install.Bin, "postgres"), append(arguments, s.arguments...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env, cmd.Dir = environment(), s.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: Credential()}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.proc, s.done = cmd.Process, make(chan struct{})
	go func(done chan struct{}) { cmd.Wait(); close(done) }(s.done)
	return s.waitReady(ctx)
}

// waitReady returns when the server's own status file says that it accepts
// connections, be it only for reading. Source: PostgreSQL documentation, postmaster.pid (line 8).
func (s *Server) waitReady(ctx context.Context) error {
	for {
		if status := s.status(); status == "ready" || status == "standby" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it did not come up: %w\n%s", ctx.Err(), tail(s.Log()))
		case <-s.done:
			return fmt.Errorf("it ended at once:\n%s", tail(s.Log()))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (s *Server) status() string {
	if lines := s.pidFile(); len(lines) >= 8 {
		return strings.TrimSpace(lines[7])
	}
	return ""
}

func (s *Server) pid() int {
	if lines := s.pidFile(); len(lines) > 0 {
		pid, _ := strconv.Atoi(strings.TrimSpace(lines[0]))
		return pid
	}
	return 0
}

func (s *Server) pidFile() []string {
	text, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	if err != nil {
		return nil
	}
	return strings.Split(string(text), "\n")
}

// Kill ends every process of the server with SIGKILL, as a crash would.
func (s *Server) Kill() {
	if !s.Running() {
		return
	}
	family := children(s.proc.Pid) // where there is no /proc, they notice by themselves that their parent has gone
	s.proc.Kill()
	for _, pid := range family {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	s.wait()
	// A session may have begun in between. All of them work in the data directory, and
	// hold the shared memory until they have gone.
	for range 500 {
		left := workingIn(s.data())
		if len(left) == 0 {
			return
		}
		for _, pid := range left {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(4 * time.Millisecond)
	}
}

// Halt stops the server in an orderly way and keeps its folder.
func (s *Server) Halt() {
	if s.Running() {
		s.proc.Signal(syscall.SIGINT) // fast shutdown: sessions are ended, then a checkpoint
		s.wait()
	}
}

// Stop ends the server and removes its folder. It may be called twice.
func (s *Server) Stop() error {
	if s.Running() {
		s.proc.Signal(syscall.SIGQUIT) // immediate: nothing here is worth a checkpoint
		s.wait()
	}
	err := os.RemoveAll(s.Dir)
	if s.guardian != nil {
		s.guardian.Close()
		s.guardian = nil
	}
	return err
}

// wait returns when the process has ended, whether it is our child or not.
func (s *Server) wait() {
	deadline := time.After(20 * time.Second)
	for s.Running() {
		select {
		case <-deadline:
			s.proc.Kill()
			deadline = nil
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func (s *Server) data() string {
	if s.existing != "" {
		return s.existing
	}
	return filepath.Join(s.Dir, "data")
}

// makeDir makes the server's folder, owned by the user that it will run as. The
// path of a socket is limited to about 100 bytes, so a long TMPDIR is not used.
func (s *Server) makeDir() (err error) {
	if s.Dir == "" {
		parent := os.TempDir()
		if len(parent) > 60 {
			parent = "/tmp"
		}
		if s.Dir, err = os.MkdirTemp(parent, "skytools-pg-"); err != nil {
			return err
		}
	} else if err = os.MkdirAll(s.Dir, 0o700); err != nil {
		return err
	}
	if len(s.Dir) > 90 {
		return fmt.Errorf("%s is too long for a socket (90 bytes at most)", s.Dir)
	}
	if c := Credential(); c != nil {
		return os.Chown(s.Dir, int(c.Uid), int(c.Gid))
	}
	return nil
}

func (s *Server) initdb(ctx context.Context, more []string) error {
	arguments := []string{"-D", s.data(), "-U", User, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"}
	cmd := exec.CommandContext(ctx, filepath.Join(s.Install.Bin, "initdb"), append(arguments, more...)...)
	cmd.Env, cmd.Dir = environment(), s.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: Credential()}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, tail(string(out)))
	}
	return nil
}

func (s *Server) configure(o Options) error {
	settings := map[string]string{
		"unix_socket_directories": s.Dir, "listen_addresses": "", "port": strconv.Itoa(s.Port),
		"fsync": "off", "full_page_writes": "off", "shared_buffers": "64MB", "max_wal_size": "512MB", "max_connections": "100",
		"log_line_prefix": "%m [%p] %a ", "timezone": "UTC",
	}
	if o.Durable {
		settings["fsync"], settings["full_page_writes"] = "on", "on"
	}
	if o.TCP {
		port, err := freePort()
		if err != nil {
			return err
		}
		s.Port = port
		settings["listen_addresses"], settings["port"] = "127.0.0.1", strconv.Itoa(port)
	}
	for name, value := range o.Settings {
		settings[name] = value
	}
	var conf strings.Builder
	for name, value := range settings {
		fmt.Fprintf(&conf, "%s = '%s'\n", name, strings.ReplaceAll(value, "'", "''"))
	}
	files := map[string]string{"port": strconv.Itoa(s.Port), "bin": s.Install.Bin}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(s.Dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	if o.HBA != "" {
		if err := os.WriteFile(filepath.Join(s.data(), "pg_hba.conf"), []byte(o.HBA), 0o600); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(filepath.Join(s.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(conf.String())
	return errors.Join(err, f.Close())
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// environment is ours without what would lead a server astray.
func environment() []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, "PG") || strings.HasPrefix(kv, "LC_") || strings.HasPrefix(kv, "LANG=")
	})
	return append(env, "LC_ALL=C")
}

func tail(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	return strings.Join(lines[max(0, len(lines)-12):], "\n")
}
