// Command skytools plans, applies, runs and watches PgQ queues and Londiste table
// replication from a description in YAML.
package main

import (
	"os"

	"github.com/skytools-go/skytools/cmd/skytools/internal/cli"
	"github.com/skytools-go/skytools/cmd/skytools/internal/term"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], term.System()))
}
