package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/skytools-go/skytools/sql/sandbox"
)

// backupFigures say how fast a cluster is backed up and restored, in megabytes of it a
// second; of incremental backups, the time, after one page of a hundred has changed.
var backupFigures = []figure{
	{name: "backup-full", unit: "MB/s", target: 1.5, more: true, run: onBackups(func(r *backupRates) both { return r.full }, "pgBackRest, zst 1, two processes")},
	{name: "backup-full-stored", unit: "MB", target: 1, run: onBackups(func(r *backupRates) both { return r.stored }, "the same")},
	{name: "restore", unit: "MB/s", target: 1, more: true, run: onBackups(func(r *backupRates) both { return r.restore }, "the same")},
	{name: "backup-incremental", unit: "s", target: 1.5, run: onBackups(func(r *backupRates) both { return r.incremental }, "pgBackRest --type=incr")},
	{name: "backup-incremental-stored", unit: "MB", target: 5, run: onBackups(func(r *backupRates) both { return r.added }, "the same")},
	{name: "restore-delta", unit: "s", target: 1.5, run: onBackups(func(r *backupRates) both { return r.delta }, "pgBackRest restore --delta")},
}

func onBackups(pick func(*backupRates) both, what string) func(context.Context) (float64, float64, string, error) {
	return func(ctx context.Context) (float64, float64, string, error) {
		r, err := backupRun(ctx)
		if err != nil {
			return 0, 0, what, err
		}
		f := pick(r)
		return f.ours, f.peer, what, nil
	}
}

// backupRates are medians.
type backupRates struct {
	full, restore      both // MB/s
	stored, added      both // MB
	incremental, delta both // seconds
}

// backups measures with the server running, which archives to both.
type backups struct {
	*bed
	size float64 // MB of the cluster
}

var backupRun = shared(func(ctx context.Context) (*backupRates, error) {
	bed, err := onBed(ctx)
	if err != nil {
		return nil, err
	}
	b := &backups{bed: bed}
	// The first reader after a load writes to most pages, for their rows' hint bits. The WAL of that
	// is archived before anything is timed.
	if err := b.do(ctx, "vacuum"); err != nil {
		return nil, err
	}
	if err := b.archiveForBoth(ctx); err != nil {
		return nil, err
	}
	r := &backupRates{}
	if r.full, err = b.timed(func() error { return b.backupOurs(ctx, true) }, func() error { return b.backupPeer(ctx, "full") }); err != nil {
		return nil, err
	}
	r.full = both{b.size / r.full.ours, b.size / r.full.peer}
	r.stored = both{b.held().ours / walRounds, b.held().peer / walRounds}
	if r.restore, err = b.timed(func() error { return b.restoreOurs(ctx, false) }, func() error { return b.restorePeer(ctx, false) }); err != nil {
		return nil, err
	}
	r.restore = both{b.size / r.restore.ours, b.size / r.restore.peer}
	before, changed := b.held(), 0
	var spent []both
	for range walRounds {
		changed++
		if err := b.do(ctx, fmt.Sprintf("update pgbench_accounts set abalance = %d where aid %% 6100 = %d; checkpoint", changed, changed)); err != nil {
			return nil, err
		}
		one, err := b.once(func() error { return b.backupOurs(ctx, false) }, func() error { return b.backupPeer(ctx, "incr") })
		if err != nil {
			return nil, err
		}
		spent = append(spent, one)
	}
	r.incremental = medians(spent)
	after := b.held()
	r.added = both{(after.ours - before.ours) / walRounds, (after.peer - before.peer) / walRounds}
	r.delta, err = b.timed(func() error { return b.restoreOurs(ctx, true) }, func() error { return b.restorePeer(ctx, true) })
	return r, err
})

// archiveForBoth has the server archive to ours and the peer's, and waits until all that
// was left is there.
func (b *backups) archiveForBoth(ctx context.Context) error {
	stop, err := b.serve(ctx, "zstd")
	if err != nil {
		return err
	}
	atEnd(stop)
	ours := fmt.Sprintf("SKYTOOLS_WAL_DIR=%s %s push wal %%p", b.path("run"), b.path("bin", "skytools-wal"))
	peer := fmt.Sprintf("pgbackrest --config=%s --stanza=bench archive-push %%p", b.path("zstd.conf"))
	if err := b.do(ctx, fmt.Sprintf("alter system set archive_command = '%s && %s'", ours, peer)); err != nil {
		return err
	}
	if err := b.do(ctx, "select pg_reload_conf()"); err != nil {
		return err
	}
	b.size = megabytes(b.server.Dir+"/data/base") + megabytes(b.server.Dir+"/data/global")
	for began := time.Now(); time.Since(began) < 5*time.Minute; time.Sleep(time.Second) {
		if len(glob(b.pgWAL("archive_status", "*.ready"))) == 0 {
			return nil
		}
	}
	return fmt.Errorf("WAL waits to be archived: %s", b.server.Log())
}

// once times ours and the peer, in seconds.
func (b *backups) once(ours, peer func() error) (t both, err error) {
	began := time.Now()
	if err := ours(); err != nil {
		return t, err
	}
	t.ours, began = time.Since(began).Seconds(), time.Now()
	err = peer()
	t.peer = time.Since(began).Seconds()
	return t, err
}

// timed is the medians of some rounds, in seconds.
func (b *backups) timed(ours, peer func() error) (both, error) {
	var all []both
	for range walRounds {
		t, err := b.once(ours, peer)
		if err != nil {
			return t, err
		}
		all = append(all, t)
	}
	return medians(all), nil
}

func medians(all []both) both {
	var ours, peer []float64
	for _, t := range all {
		ours, peer = append(ours, t.ours), append(peer, t.peer)
	}
	return both{median(ours), median(peer)}
}

// held is what backups take in the stores.
func (b *backups) held() both {
	ours := 0.0
	for _, kind := range []string{"pack", "backup"} {
		for _, dir := range glob(b.path("ours-zstd", "e", "*", kind)) {
			ours += megabytes(dir)
		}
	}
	return both{ours, megabytes(b.path("peer-zstd", "backup"))}
}

func (b *backups) backupOurs(ctx context.Context, full bool) error {
	args := []string{"backup", "wal"}
	if full {
		args = append(args, "--full")
	}
	_, err := b.ours(ctx, "zstd", args...)
	return err
}

func (b *backups) backupPeer(ctx context.Context, kind string) error {
	_, err := b.peer(ctx, "zstd", "backup", "--type="+kind)
	return err
}

// Restores leave what they wrote: a delta is against the full one before.
func (b *backups) restoreOurs(ctx context.Context, delta bool) error {
	args := []string{"restore", "wal", "--to", b.path("restored-ours"), "--immediate"}
	if delta {
		args = append(args, "--delta")
	} else if err := b.empty("restored-ours"); err != nil {
		return err
	}
	_, err := b.ours(ctx, "zstd", args...)
	return err
}

func (b *backups) restorePeer(ctx context.Context, delta bool) error {
	args := []string{"restore", "--pg1-path=" + b.path("restored-peer"), "--type=immediate"}
	if delta {
		args = append(args, "--delta")
	} else if err := b.empty("restored-peer"); err != nil {
		return err
	}
	_, err := b.peer(ctx, "zstd", args...)
	return err
}

func (b *backups) empty(name string) error {
	if err := os.RemoveAll(b.path(name)); err != nil {
		return err
	}
	if err := os.Mkdir(b.path(name), 0o700); err != nil {
		return err
	}
	return sandbox.Give(b.path(name))
}
