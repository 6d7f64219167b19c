package retain_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners/wal/backup"
	"github.com/skytools-go/skytools/runners/wal/restore"
	"github.com/skytools-go/skytools/runners/wal/retain"
)

// TestVeto: a backup that the command does not let go stays, is asked about again, and
// expires when it does.
func TestVeto(t *testing.T) {
	w := &world{t: t, random: rand.New(rand.NewPCG(1, 1)), now: start, timeline: 1, lines: restore.Timelines{}, wal: map[retain.Segment]time.Time{}, missed: map[retain.Segment]bool{}}
	w.store = &memory{objects: map[string]object{}, now: func() time.Time { return w.now }}
	w.shelf = &backup.Shelf{System: "1", Stores: []backup.Store{{Store: w.store, Required: true}}}
	dir := t.TempDir()
	allowed := filepath.Join(dir, "allowed")
	p := retain.Policy{Veto: retain.Command(fmt.Sprintf(`echo "$SKYTOOLS_ARCHIVE $SKYTOOLS_BACKUP" >>%[1]s/asked; test -e %[1]s/allowed || { echo some noise; echo "no tape" >&2; exit 3; }`, dir), "wal")}
	for range 3 {
		w.begin()
		w.now = w.now.Add(4 * day)
		w.end()
	}
	run := func(dry bool) retain.Report {
		t.Helper()
		r, err := retain.Run(t.Context(), w.shelf, w, p, w.now, dry)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	candidates := len(run(true).Expired)
	if _, err := os.Stat(filepath.Join(dir, "asked")); err == nil || candidates == 0 {
		t.Fatalf("a dry run asks, or %d backups expire", candidates)
	}
	for range 2 {
		r := run(false)
		if len(r.Expired) != 0 || len(r.Vetoed) != candidates || r.Vetoed[0].Why != "exit status 3 no tape" {
			t.Fatalf("got %+v", r)
		}
		w.now = w.now.Add(20 * day)
	}
	asked, _ := os.ReadFile(filepath.Join(dir, "asked"))
	if n := strings.Count(string(asked), "wal "); n != 2*candidates {
		t.Errorf("asked %d times: %s", n, asked)
	}
	if err := os.WriteFile(allowed, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := run(false); len(r.Expired) != candidates || len(r.Vetoed) != 0 || len(r.Swept) != 0 {
		t.Errorf("allowed: %+v", r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Veto(ctx, "x"); err != context.Canceled {
		t.Errorf("a command that was ended: %v", err)
	}
}

// TestVetoSaysMuch: of what a command says its last line is kept, and not all in memory.
func TestVetoSaysMuch(t *testing.T) {
	veto := retain.Command(`head -c 50000000 /dev/zero | tr '\0' 'x'; echo; printf '%3000s\n' much; echo no tape; exit 3`, "wal")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := veto(t.Context(), "x")
	runtime.ReadMemStats(&after)
	if err == nil || err.Error() != "exit status 3 no tape" {
		t.Errorf("it says %v", err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 4<<20 {
		t.Errorf("that took %d bytes", took)
	}
}
