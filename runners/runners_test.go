package runners_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/skytools-go/skytools/runners"
)

type key struct{}

func TestWorkOutlivesStopAndEndsWithHardStop(t *testing.T) {
	hard, cancelHard := context.WithCancel(t.Context())
	soft, cancelSoft := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
	work := runners.Work(runners.WithHardStop(soft, hard))
	cancelSoft()
	if work.Err() != nil || work.Value(key{}) != "value" {
		t.Fatalf("after the stop: %v, value %v", work.Err(), work.Value(key{}))
	}
	child, cancel := context.WithTimeout(work, time.Hour)
	defer cancel()
	cancelHard()
	<-child.Done()
	if !errors.Is(work.Err(), context.Canceled) {
		t.Errorf("after the hard stop: %v", work.Err())
	}
	if again := runners.Work(soft); again.Err() != nil {
		t.Errorf("without a hard stop work has ended: %v", again.Err())
	}
}

func TestSleep(t *testing.T) {
	if !runners.Sleep(t.Context(), time.Millisecond) {
		t.Error("a sleep that nobody ended says it was ended")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if runners.Sleep(ctx, time.Hour) {
		t.Error("a sleep that was ended says it was not")
	}
}
