package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/skytools-go/skytools/sql/pg"
	"github.com/skytools-go/skytools/sql/sandbox"
)

// walFigures say how fast WAL and backups go into a directory and come back, beside
// pgBackRest with two processes and the same kind of compression. A peer's figure is its
// better mode.
var walFigures = []figure{
	{name: "wal-push", unit: "/s", target: 1.2, more: true, run: onWAL(func(r *walRates) (float64, float64) { return r.push["zstd"].ours, r.push["zstd"].peer }, "pgBackRest archive-push, zst 1, async")},
	{name: "wal-push-stored", unit: "MB", target: 1, run: onWAL(func(r *walRates) (float64, float64) { return r.stored["zstd"].ours, r.stored["zstd"].peer }, "the same")},
	{name: "wal-push-fast", unit: "/s", target: 2, more: true, run: onWAL(func(r *walRates) (float64, float64) { return r.push["lz4"].ours, r.push["lz4"].peer }, "pgBackRest archive-push, lz4, async")},
	{name: "wal-get", unit: "/s", target: 1.5, more: true, run: onWAL(func(r *walRates) (float64, float64) { return r.get.ours, r.get.peer }, "pgBackRest archive-get, the better of both modes")},
	{name: "wal-client", unit: "/s", target: 1, more: true, run: onWAL(func(r *walRates) (float64, float64) { return r.client, 500 }, "budget: calls of skytools-wal for a file that is not there")},
}

func onWAL(pick func(*walRates) (ours, peer float64), what string) func(context.Context) (float64, float64, string, error) {
	return func(ctx context.Context) (float64, float64, string, error) {
		r, err := walRun(ctx)
		if err != nil {
			return 0, 0, what, err
		}
		ours, peer := pick(r)
		return ours, peer, what, nil
	}
}

// A both is a figure of ours and the peer's.
type both struct{ ours, peer float64 }

// walRates are medians, in segments a second, and megabytes stored.
type walRates struct {
	push, stored map[string]both // by compression
	get          both
	client       float64
}

// How many segments are archived, and the scale of pgbench's tables: 16 MB each.
var (
	walSegments = count("BENCH_SEGMENTS", 150)
	walScale    = count("BENCH_SCALE", 200)
)

// walRounds is less than rounds: each takes a minute.
const walRounds = 3

// A bed is a cluster with WAL that nobody has archived yet, and what archives it. All
// that runs is the server's user.
type bed struct {
	dir    string
	server *sandbox.Server
	as     *syscall.Credential
	names  []string // of segments, the oldest first
}

// onBed makes the cluster that all figures of archives share, the first time.
var onBed = shared(func(ctx context.Context) (*bed, error) {
	if _, err := exec.LookPath("pgbackrest"); err != nil {
		return nil, fmt.Errorf("%w (the peer is Debian's package pgbackrest)", err)
	}
	b := &bed{as: sandbox.Credential()}
	var err error
	if b.dir, err = os.MkdirTemp("", "skytools-bench-"); err != nil {
		return nil, err
	}
	atEnd(func() { os.RemoveAll(b.dir) })
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", b.path("bin")+"/", "./cmd/...").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build: %w: %s", err, out)
	}
	for _, dir := range []string{"run", "spool", "ours-zstd", "ours-lz4"} {
		if err := os.Mkdir(b.path(dir), 0o755); err != nil {
			return nil, err
		}
	}
	b.server, err = sandbox.Start(ctx, sandbox.Options{Durable: true, Initdb: []string{"--data-checksums"}, Settings: map[string]string{
		"shared_buffers": "1GB", "max_wal_size": "16GB", "checkpoint_timeout": "1h", "autovacuum": "off", "wal_level": "replica",
		"archive_mode": "on", "archive_command": "false", "max_wal_senders": "10",
	}})
	if err != nil {
		return nil, err
	}
	atEnd(func() { b.server.Stop() })
	if err := b.configure(); err != nil {
		return nil, err
	}
	if err := sandbox.Give(b.dir); err != nil {
		return nil, err
	}
	return b, b.prepare(ctx)
})

func (b *bed) path(name ...string) string { return filepath.Join(append([]string{b.dir}, name...)...) }
func (b *bed) pgWAL(name ...string) string {
	return filepath.Join(append([]string{b.server.Dir, "data", "pg_wal"}, name...)...)
}

// configure writes the YAML and the peer's configuration, for each compression.
func (b *bed) configure() error {
	for codec, peer := range map[string]string{"zstd": "zst", "lz4": "lz4"} {
		yaml := fmt.Sprintf(`skytools: 1
cluster: bench
databases: {hub: {dsn: "%s"}}
archives:
  wal:
    of: hub
    stores: [{url: "file://%s"}]
    wal: {compression: %s}
`, b.server.DSN("postgres"), b.path("ours-"+codec), codec)
		conf := fmt.Sprintf(`[global]
repo1-path=%s
spool-path=%s
lock-path=%s
archive-async=y
archive-get-queue-max=1GiB
process-max=2
compress-type=%s
compress-level=1
start-fast=y
log-level-file=off
log-level-console=error
[bench]
pg1-path=%s
pg1-socket-path=%s
pg1-port=%d
pg1-user=%s
pg1-database=postgres
`, b.path("peer-"+codec), b.path("peer-spool"), b.path("peer-lock"), peer, filepath.Join(b.server.Dir, "data"), b.server.Dir, b.server.Port, sandbox.User)
		for name, text := range map[string]string{codec + ".yaml": yaml, codec + ".conf": conf} {
			if err := os.WriteFile(b.path(name), []byte(text), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// prepare makes data and WAL, and the stores ready for both.
func (b *bed) prepare(ctx context.Context) error {
	for _, args := range [][]string{
		{"-i", "-q", "-s", fmt.Sprint(walScale)}, {"-n", "-N", "-c", "4", "-j", "2", "-T", "20"},
	} {
		args = append(args, "-h", b.server.Dir, "-p", fmt.Sprint(b.server.Port), "-U", sandbox.User, "postgres")
		if _, err := b.run(ctx, filepath.Join(b.server.Install.Bin, "pgbench"), args...); err != nil {
			return err
		}
	}
	for _, codec := range []string{"zstd", "lz4"} {
		if _, err := b.ours(ctx, codec, "wal", "init", "wal"); err != nil {
			return err
		}
		if _, err := b.peer(ctx, codec, "stanza-create"); err != nil {
			return err
		}
	}
	if err := b.do(ctx, "select pg_switch_wal()"); err != nil {
		return err
	}
	entries, err := os.ReadDir(b.pgWAL("archive_status"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".ready"); ok && len(name) == 24 {
			b.names = append(b.names, name)
		}
	}
	slices.Sort(b.names)
	if len(b.names) < walSegments {
		return fmt.Errorf("there are %d segments, fewer than %d: raise BENCH_SCALE", len(b.names), walSegments)
	}
	b.names = b.names[len(b.names)-walSegments:]
	return nil
}

func (b *bed) do(ctx context.Context, text string) error {
	conn, err := pg.Dial(ctx, b.server.DSN("postgres"), pg.Options{App: "bench"})
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Script(ctx, text)
}

// run runs a program as the server's user, in its data directory.
func (b *bed) run(ctx context.Context, program string, args ...string) (string, error) {
	cmd := b.command(ctx, program, args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", filepath.Base(program), strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

func (b *bed) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env = filepath.Join(b.server.Dir, "data"), append(os.Environ(), "SKYTOOLS_WAL_DIR="+b.path("run"), "HOME="+b.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: b.as}
	return cmd
}

func (b *bed) ours(ctx context.Context, codec string, args ...string) (string, error) {
	return b.run(ctx, b.path("bin", "skytools"), append(args, "-s", b.path(codec+".yaml"))...)
}

func (b *bed) peer(ctx context.Context, codec string, args ...string) (string, error) {
	return b.run(ctx, "pgbackrest", append([]string{"--config=" + b.path(codec+".conf"), "--stanza=bench"}, args...)...)
}

// serve runs the daemon until stop.
func (b *bed) serve(ctx context.Context, codec string) (stop func(), err error) {
	os.RemoveAll(b.path("spool"))
	if err := os.Mkdir(b.path("spool"), 0o755); err != nil {
		return nil, err
	}
	if err := sandbox.Give(b.path("spool")); err != nil {
		return nil, err
	}
	cmd := b.command(ctx, b.path("bin", "skytools"), "wal", "serve", "wal", "--wal-dir", b.path("run"), "--spool", b.path("spool"), "-s", b.path(codec+".yaml"), "--log-level", "error")
	var text strings.Builder
	cmd.Stdout, cmd.Stderr = &text, &text
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	}
	for range 500 {
		if fileExists(b.path("run", "wal.sock")) {
			return stop, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	return nil, fmt.Errorf("skytools wal serve does not answer: %s", &text)
}

// archive calls what PostgreSQL would, segment after segment, and returns segments a
// second.
func (b *bed) archive(ctx context.Context, push func(path string) error) (float64, error) {
	defer func() { // as it was
		for _, name := range b.names {
			os.Rename(b.pgWAL("archive_status", name+".done"), b.pgWAL("archive_status", name+".ready"))
		}
	}()
	began := time.Now()
	for _, name := range b.names {
		if err := push("pg_wal/" + name); err != nil {
			return 0, err
		}
		if err := os.Rename(b.pgWAL("archive_status", name+".ready"), b.pgWAL("archive_status", name+".done")); err != nil {
			return 0, err
		}
	}
	return float64(len(b.names)) / time.Since(began).Seconds(), nil
}

func (b *bed) archiveOurs(ctx context.Context, codec string) (float64, error) {
	for _, dir := range glob(b.path("ours-"+codec, "e", "*", "wal")) {
		if err := os.RemoveAll(dir); err != nil {
			return 0, err
		}
	}
	stop, err := b.serve(ctx, codec)
	if err != nil {
		return 0, err
	}
	defer stop()
	return b.archive(ctx, func(path string) error {
		_, err := b.run(ctx, b.path("bin", "skytools-wal"), "push", "wal", path)
		return err
	})
}

func (b *bed) archivePeer(ctx context.Context, codec string) (float64, error) {
	for _, dir := range append(glob(b.path("peer-"+codec, "archive", "bench", "15-1", "*")), b.path("peer-spool")) {
		if err := os.RemoveAll(dir); err != nil {
			return 0, err
		}
	}
	return b.archive(ctx, func(path string) error {
		_, err := b.peer(ctx, codec, "archive-push", path)
		return err
	})
}

func glob(pattern string) []string {
	found, _ := filepath.Glob(pattern)
	return found
}

// megabytes is what a folder holds.
func megabytes(dir string) float64 {
	total := int64(0)
	filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			if info, err := e.Info(); err == nil {
				total += info.Size()
			}
		}
		return nil
	})
	return float64(total) / 1e6
}

// recover calls what a recovering server would.
func (b *bed) recover(get func(name, path string) error) (float64, error) {
	began := time.Now()
	const path = "pg_wal/RECOVERYXLOG"
	for _, name := range b.names {
		if err := get(name, path); err != nil {
			return 0, err
		}
		if err := os.Remove(b.pgWAL("RECOVERYXLOG")); err != nil {
			return 0, err
		}
	}
	return float64(len(b.names)) / time.Since(began).Seconds(), nil
}

func (b *bed) recoverOurs(ctx context.Context) (float64, error) {
	stop, err := b.serve(ctx, "zstd")
	if err != nil {
		return 0, err
	}
	defer stop()
	return b.recover(func(name, path string) error {
		_, err := b.run(ctx, b.path("bin", "skytools-wal"), "get", "wal", name, path)
		return err
	})
}

func (b *bed) recoverPeer(ctx context.Context, async string) (float64, error) {
	os.RemoveAll(b.path("peer-spool"))
	return b.recover(func(name, path string) error {
		_, err := b.peer(ctx, "zstd", async, "archive-get", name, path)
		return err
	})
}

// clientRate is how many files that are not there skytools-wal asks for in a second.
func (b *bed) clientRate(ctx context.Context) (float64, error) {
	stop, err := b.serve(ctx, "zstd")
	if err != nil {
		return 0, err
	}
	defer stop()
	const calls = 500
	began := time.Now()
	for range calls {
		cmd := b.command(ctx, b.path("bin", "skytools-wal"), "get", "wal", "000000FF.history", "pg_wal/RECOVERYHISTORY")
		if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 1 {
			return 0, fmt.Errorf("get of an absent file: %v", err)
		}
	}
	return calls / time.Since(began).Seconds(), nil
}

// walRun measures all of it, the server stopped: PostgreSQL is not what is measured.
var walRun = shared(func(ctx context.Context) (*walRates, error) {
	b, err := onBed(ctx)
	if err != nil {
		return nil, err
	}
	b.server.Halt()
	defer b.server.Resume(ctx)
	r := &walRates{push: map[string]both{}, stored: map[string]both{}}
	for _, codec := range []string{"zstd", "lz4"} {
		ours, peer, err := alternate(walRounds,
			func() (float64, error) { return b.archiveOurs(ctx, codec) },
			func() (float64, error) { return b.archivePeer(ctx, codec) })
		if err != nil {
			return nil, err
		}
		r.push[codec] = both{ours, peer}
		r.stored[codec] = both{megabytes(b.path("ours-" + codec)), megabytes(b.path("peer-"+codec, "archive"))}
	}
	var better []float64
	for _, async := range []string{"--archive-async", "--no-archive-async"} {
		ours, peer, err := alternate(walRounds,
			func() (float64, error) { return b.recoverOurs(ctx) },
			func() (float64, error) { return b.recoverPeer(ctx, async) })
		if err != nil {
			return nil, err
		}
		r.get.ours, better = ours, append(better, peer)
	}
	r.get.peer = slices.Max(better)
	r.client, err = b.clientRate(ctx)
	return r, err
})

// alternate measures ours and the peer in turn, and returns the medians.
func alternate(rounds int, ours, peer func() (float64, error)) (float64, float64, error) {
	var all [2][]float64
	for range rounds {
		for i, f := range []func() (float64, error){ours, peer} {
			v, err := f()
			if err != nil {
				return 0, 0, err
			}
			all[i] = append(all[i], v)
		}
	}
	return median(all[0]), median(all[1]), nil
}
