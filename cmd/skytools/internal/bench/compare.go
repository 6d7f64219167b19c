package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skytools-go/skytools/runners/compare"
)

// compareFigures say how many kilobytes go over the wire, both ways and from both sides,
// to find that two tables are equal: BENCH_ROWS, or 2 million. 10 million may take 1 MB.
var compareFigures = []figure{
	{name: "compare-equal-bytes", unit: "kB", target: 1, run: compared},
}

func compared(ctx context.Context) (ours, peer float64, what string, err error) {
	rows := count("BENCH_ROWS", 2_000_000)
	f, err := newFollowed(ctx, "compared", fmt.Sprintf(`
		create table public.t (id int8 primary key, name text, amount numeric(12, 2), at timestamptz, ok bool);
		insert into t select n, 'name ' || md5(n::text), n / 7.0, '2020-01-01'::timestamptz + n * interval '1 s', n %% 2 = 0 from generate_series(1, %d) n;
		analyze t`, rows))
	if err != nil {
		return 0, 0, "", err
	}
	ctx, stop := context.WithCancel(ctx)
	var loops sync.WaitGroup
	defer func() { stop(); loops.Wait() }()
	loops.Go(func() { f.tick(ctx) })
	loops.Go(func() { f.replay(ctx) })
	w, err := newWire(filepath.Join(f.server.Dir, ".s.PGSQL."+strconv.Itoa(f.server.Port)))
	if err != nil {
		return 0, 0, "", err
	}
	defer w.Close()
	r, err := compare.Table(ctx, compare.Config{
		Queue: "shop", Table: "public.t", Patience: time.Minute,
		Provider: compare.Place{Name: "root", DSN: w.dsn(f.name)}, Subscriber: compare.Place{Name: "leaf", DSN: w.dsn(f.leafName())},
	})
	if err != nil {
		return 0, 0, "", err
	}
	if r.Rows != int64(rows) || len(r.Differences) > 0 {
		return 0, 0, "", fmt.Errorf("%d of %d rows were compared and %d differ, of equal tables", r.Rows, rows, len(r.Differences))
	}
	return float64(w.bytes.Load()) / 1000, float64(rows) / 10_000, fmt.Sprintf("budget for %d rows, found equal in %.1f s", rows, r.Seconds), nil
}

// A wire leads to a server's socket and counts what goes over it.
type wire struct {
	net.Listener
	bytes atomic.Int64
}

func newWire(socket string) (*wire, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &wire{Listener: l}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("unix", socket)
			if err != nil {
				client.Close()
				continue
			}
			for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
				go func() {
					io.Copy(counting{way[0], &w.bytes}, way[1])
					way[0].Close()
				}()
			}
		}
	}()
	return w, nil
}

func (w *wire) dsn(database string) func(context.Context) (string, error) {
	host, port, err := net.SplitHostPort(w.Addr().String())
	return func(context.Context) (string, error) {
		return fmt.Sprintf("host=%s port=%s user=postgres dbname=%s sslmode=disable", host, port, database), err
	}
}

// counting counts what is written.
type counting struct {
	to    io.Writer
	bytes *atomic.Int64
}

func (c counting) Write(b []byte) (int, error) {
	c.bytes.Add(int64(len(b)))
	return c.to.Write(b)
}
