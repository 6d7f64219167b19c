package retain

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/skytools-go/skytools/runners/wal/backup"
)

// A Veto is asked before a complete backup expires, and may first copy it away. With an
// error the backup stays, and is asked about again the next time.
type Veto func(ctx context.Context, id backup.ID) error

// A Vetoed is a backup that was not let go.
type Vetoed struct {
	ID  backup.ID `json:"id"`
	Why string    `json:"why"`
}

// Command is a veto that runs a shell command, which lets a backup go with exit code 0.
// It finds SKYTOOLS_ARCHIVE and SKYTOOLS_BACKUP in its environment. What it says last is
// the reason.
func Command(command, archive string) Veto {
	return func(ctx context.Context, id backup.ID) error {
		cmd := exec.CommandContext(ctx, "sh", "-c", command)
		cmd.Env = append(os.Environ(), "SKYTOOLS_ARCHIVE="+archive, "SKYTOOLS_BACKUP="+string(id))
		cmd.WaitDelay = 5 * time.Second
		var said ending
		cmd.Stdout, cmd.Stderr = &said, &said
		err := cmd.Run()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		lines := strings.Split(strings.TrimSpace(string(said)), "\n")
		return fmt.Errorf("%w %.200s", err, lines[len(lines)-1])
	}
}

// enough is how much of what a command says is kept: a line of any use is shorter.
const enough = 4 << 10

// ending keeps the end of what is written to it.
type ending []byte

func (e *ending) Write(p []byte) (int, error) {
	*e = append(*e, p[max(0, len(p)-enough):]...)
	if extra := len(*e) - enough; extra > 0 {
		*e = append((*e)[:0], (*e)[extra:]...)
	}
	return len(p), nil
}
