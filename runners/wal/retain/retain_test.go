package retain_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skytools-go/skytools/runners/wal/backup"
	"github.com/skytools-go/skytools/runners/wal/restore"
	"github.com/skytools-go/skytools/runners/wal/retain"
	"github.com/skytools-go/skytools/sql"
)

const day = 24 * time.Hour

var start = time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC) // a Monday

// made is a backup of day n, which started at position 100n on a timeline.
func made(n int, timeline uint32, full bool) retain.Backup {
	return retain.Backup{ID: backup.ID(fmt.Sprintf("%03d", n)), Timeline: timeline, Start: sql.LSN(100 * n), Stop: sql.LSN(100*n + 10), Ended: start.Add(time.Duration(n) * day), Full: full}
}

func TestDecide(t *testing.T) {
	daily := func(n int, every int) (all []retain.Backup) {
		for i := range n {
			all = append(all, made(i, 1, i%every == 0))
		}
		return all
	}
	for _, c := range []struct {
		name    string
		backups []retain.Backup
		lines   restore.Timelines
		policy  retain.Policy
		now     int // day
		kept    string
		needs   []string // segments of WAL: timeline/position
		not     []string
	}{
		{name: "nothing is there, and all WAL stays", now: 1, needs: []string{"1/0", "2/5"}},
		{name: "the last one stays without any policy", backups: daily(3, 9), now: 90, kept: "000 002", needs: []string{"1/0", "1/200", "1/999"}, not: []string{"1/50", "1/190"}},
		{name: "the window begins with the backup before it", backups: daily(10, 1), policy: retain.Policy{Window: 3 * day}, now: 10, kept: "007 008 009", needs: []string{"1/700", "1/5000"}, not: []string{"1/690"}},
		{name: "in between it is the one before", backups: daily(10, 1)[:9:9], policy: retain.Policy{Window: 5*day + time.Hour}, now: 10, kept: "004 005 006 007 008"},
		{name: "a number of full ones", backups: daily(10, 3), policy: retain.Policy{MinFull: 3}, now: 10, kept: "003 006 009", needs: []string{"1/300", "1/900"}, not: []string{"1/320", "1/890"}},
		{name: "weeks and months", backups: daily(40, 1), policy: retain.Policy{Weekly: 3, Monthly: 2}, now: 40, kept: "026 027 034 039", needs: []string{"1/2600", "1/2609"}, not: []string{"1/2620", "1/2500"}},
		{name: "one that is held, and its WAL", backups: func() []retain.Backup { b := daily(5, 1); b[1].Held = true; return b }(), now: 90, kept: "001 004", needs: []string{"1/100"}, not: []string{"1/0", "1/200"}},
		{name: "the last without bad pages", backups: func() []retain.Backup { b := daily(6, 9); b[2].Bad, b[4].Bad, b[5].Bad = true, true, true; return b }(), now: 90, kept: "000 003 005", needs: []string{"1/300", "1/500"}},
		{name: "the last that was proven", backups: func() []retain.Backup { b := daily(5, 1); b[0].Proven, b[2].Proven = true, true; return b }(), now: 90, kept: "002 004"},
		{
			name:    "a timeline's WAL since a backup on the one before",
			backups: []retain.Backup{made(1, 1, true), made(3, 1, true)}, lines: restore.Timelines{2: {{Timeline: 1, At: 200}}, 3: {{Timeline: 1, At: 350}}, 4: {{Timeline: 1, At: 350}, {Timeline: 3, At: 400}}},
			policy: retain.Policy{}, now: 9, kept: "003",
			needs: []string{"1/300", "1/340", "3/350", "3/390", "4/400"}, not: []string{"1/200", "2/200", "1/100", "1/360", "3/400"},
		},
		{
			name:    "a timeline whose history is not known",
			backups: []retain.Backup{made(1, 1, true)}, now: 9, kept: "001", needs: []string{"7/0"}, not: []string{"1/0"},
		},
		{
			name:    "an older timeline whose end no later backup needs",
			backups: []retain.Backup{made(1, 1, true), made(3, 2, true)}, lines: restore.Timelines{2: {{Timeline: 1, At: 250}}},
			policy: retain.Policy{Window: day}, now: 9, kept: "003", needs: []string{"2/300"}, not: []string{"1/100", "1/250", "2/250"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := start.Add(time.Duration(c.now) * day)
			d := retain.Decide(c.backups, c.lines, c.policy, now)
			var kept []string
			for _, v := range d.Verdicts {
				if len(v.Keep) > 0 {
					kept = append(kept, string(v.Backup.ID))
				}
			}
			if got := strings.Join(kept, " "); got != c.kept {
				t.Errorf("kept %s; want %s\n%+v", got, c.kept, d.Verdicts)
			}
			for _, want := range []bool{true, false} {
				for _, s := range map[bool][]string{true: c.needs, false: c.not}[want] {
					var timeline uint32
					var at sql.LSN
					fmt.Sscanf(s, "%d/%d", &timeline, &at)
					if d.Needs(timeline, at, at+10) != want {
						t.Errorf("needs %s: %v\n%+v", s, !want, d.WAL)
					}
				}
			}
			if again := retain.Decide(c.backups, c.lines, c.policy, now); !cmp.Equal(again.Verdicts, d.Verdicts) {
				t.Error("it decides otherwise the second time")
			}
		})
	}
}
