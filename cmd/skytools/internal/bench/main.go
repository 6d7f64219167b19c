// Command bench measures skytools beside its peers, on throwaway servers, and
// prints one line for each figure: name, ratio, target, ok or short, ours, peer.
//
// A ratio is how much better we are: 2.0 means twice as fast, or half as large. What
// has no peer is measured against its budget. BENCH selects figures by a regular
// expression, BENCH_OUT names a file for all of them as JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"slices"
)

// figures are all that is measured, in this order.
var figures = slices.Concat(planFigures, insertFigures, captureFigures(), consumeFigures, latencyFigures, idleFigures, copyFigures, replayFigures, lagFigures, compareFigures, walFigures, backupFigures)

// A figure is one thing that is measured.
type figure struct {
	name   string
	unit   string
	target float64 // smallest ratio that is good enough
	more   bool    // more is better; otherwise less
	run    func(context.Context) (ours, peer float64, what string, err error)
}

// result is what was measured of a figure.
type result struct {
	Name   string  `json:"name"`
	Ratio  float64 `json:"ratio"`
	Target float64 `json:"target"`
	OK     bool    `json:"ok"`
	Ours   float64 `json:"ours"`
	Peer   float64 `json:"peer"`
	Unit   string  `json:"unit"`
	What   string  `json:"peer_is"`
	Error  string  `json:"error,omitempty"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := measure(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context) error {
	selected, err := regexp.Compile(os.Getenv("BENCH"))
	if err != nil {
		return fmt.Errorf("BENCH: %w", err)
	}
	defer end()
	all := []result{}
	fmt.Printf("%-28s %7s %7s  %-5s  %12s  %12s\n", "figure", "ratio", "target", "", "ours", "peer")
	for _, f := range figures {
		if !selected.MatchString(f.name) {
			continue
		}
		r := result{Name: f.name, Target: f.target, Unit: f.unit}
		if r.Ours, r.Peer, r.What, err = f.run(ctx); err != nil {
			r.Error = err.Error()
			fmt.Printf("%-28s %s\n", f.name, err)
		} else {
			r.Ratio = r.Peer / r.Ours
			if f.more {
				r.Ratio = r.Ours / r.Peer
			}
			r.OK = r.Ratio >= f.target
			word := map[bool]string{true: "ok", false: "short"}[r.OK]
			fmt.Printf("%-28s %7.2f %7.2f  %-5s  %8.1f %-4s %8.1f %-4s %s\n", r.Name, r.Ratio, r.Target, word, r.Ours, r.Unit, r.Peer, r.Unit, r.What)
		}
		all = append(all, r)
	}
	if file := os.Getenv("BENCH_OUT"); file != "" {
		text, err := json.MarshalIndent(all, "", "  ")
		if err != nil {
			return err
		}
		return os.WriteFile(file, append(text, '\n'), 0o644)
	}
	return nil
}
