package enginetest

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// hearing is a testing.TB of its own for one trial: what would fail the test is
// the trial's outcome instead, at hand as soon as it is over. So a soak can
// tell of a failure hours before it ends, and a mutant must fail.
type hearing struct {
	testing.TB // of the test that asked; for what is not below
	done       chan struct{}

	mu       sync.Mutex
	failed   bool
	lines    []string
	cleanups []func()
}

// hear runs f to its end, cleanups included, and tells whether it failed and
// what was said.
func hear(t testing.TB, f func(testing.TB)) (failed bool, said string) {
	h := &hearing{TB: t, done: make(chan struct{})}
	go func() {
		defer close(h.done)
		defer h.cleanUp()
		f(h)
	}()
	<-h.done
	return h.failed, strings.Join(h.lines, "\n")
}

func (h *hearing) cleanUp() {
	for {
		h.mu.Lock()
		n := len(h.cleanups)
		if n == 0 {
			h.mu.Unlock()
			return
		}
		f := h.cleanups[n-1]
		h.cleanups = h.cleanups[:n-1]
		h.mu.Unlock()
		f()
	}
}

func (h *hearing) say(fail bool, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failed = h.failed || fail
	h.lines = append(h.lines, strings.TrimSuffix(text, "\n"))
}

func (h *hearing) Helper()                      {}
func (h *hearing) Log(args ...any)              { h.say(false, fmt.Sprintln(args...)) }
func (h *hearing) Logf(f string, args ...any)   { h.say(false, fmt.Sprintf(f, args...)) }
func (h *hearing) Error(args ...any)            { h.say(true, fmt.Sprintln(args...)) }
func (h *hearing) Errorf(f string, args ...any) { h.say(true, fmt.Sprintf(f, args...)) }
func (h *hearing) Fatal(args ...any)            { h.Error(args...); runtime.Goexit() }
func (h *hearing) Fatalf(f string, args ...any) { h.Errorf(f, args...); runtime.Goexit() }
func (h *hearing) FailNow()                     { h.Fatal("failed") }

// Failed tells whether anything has failed so far.
func (h *hearing) Failed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failed
}

// Cleanup has f called at the end, the last first.
func (h *hearing) Cleanup(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cleanups = slices.Concat(h.cleanups, []func(){f})
}

// TempDir is a directory that is gone at the end.
func (h *hearing) TempDir() string {
	dir, err := os.MkdirTemp("", "trial-")
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
