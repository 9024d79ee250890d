package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"
)

// Clients leave a millisecond apart, within the time that they get.
func TestStopSpreadsClients(t *testing.T) {
	for name, c := range map[string]struct {
		within time.Duration
		want   string
	}{
		"few":            {time.Minute, "within 60000 spread 5"},
		"more than fit":  {3 * time.Millisecond, "within 3 spread 3"},
		"no time at all": {0, "within 0 spread 0"},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, "tell-drain", 1, 1, 10)
			for i := range 5 {
				f.mustHand(fmt.Sprint(i))
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			f.Stop(ctx, 0, c.within)
			if !strings.Contains(f.log(), c.want) {
				t.Errorf("no %q in the log:\n%s", c.want, f.log())
			}
		})
	}
}

// A stop that takes its time can be hurried by another one.
func TestSecondStop(t *testing.T) {
	f := start(t, "stubborn", 1, 1, 1)
	f.mustHand("k")
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		f.stop(time.Hour)
	}()
	eventually(t, "it is stopping", func() bool { return f.Snapshot().Workers[0].State == draining })
	f.stop(100 * time.Millisecond)
	select {
	case <-stopped:
	case <-time.After(patience):
		t.Error("the first stop goes on")
	}
}

// A process that a worker leaves behind keeps its channel and its output open. That does not keep the
// worker from being reaped, nor Stop from ending soon after its context.
func TestChildOfAWorker(t *testing.T) {
	s, err := New(Options{
		Command: []string{"/bin/sh", "-c", "sleep 60 & exit 1"}, Env: os.Environ(),
		Log: slog.New(slog.DiscardHandler), Limits: Limits{Warm: 1, Max: 1, MaxClients: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan error, 1)
	go func() { started <- s.Start(context.Background()) }()
	select {
	case err := <-started:
		if !errors.Is(err, ErrNoWorker) {
			t.Errorf("started: %v", err)
		}
	case <-time.After(2 * time.Minute):
		t.Error("the worker's end is not noticed while its child lives")
	}
	stopped := make(chan struct{})
	over, cancel := context.WithCancel(context.Background())
	cancel()
	go func() { s.Stop(over, 0, 0); close(stopped) }()
	select {
	case <-stopped:
	case <-time.After(2 * time.Minute):
		t.Error("Stop does not return while a worker's child lives")
	}
}
