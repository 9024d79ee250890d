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

// capturedTB is the testing.TB of one trial. It stores messages and failures instead of passing
// them to the test. So a soak reports a failure when its trial ends, and a mutant's trial may fail.
type capturedTB struct {
	testing.TB // the test's, for the methods that capturedTB does not have
	done       chan struct{}

	mu       sync.Mutex
	failed   bool
	lines    []string
	cleanups []func()
}

// capture runs f and its cleanups, and returns whether f failed and the messages that it logged.
func capture(t testing.TB, f func(testing.TB)) (failed bool, messages string) {
	c := &capturedTB{TB: t, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		defer c.cleanUp()
		f(c)
	}()
	<-c.done
	return c.failed, strings.Join(c.lines, "\n")
}

func (c *capturedTB) cleanUp() {
	for {
		c.mu.Lock()
		n := len(c.cleanups)
		if n == 0 {
			c.mu.Unlock()
			return
		}
		f := c.cleanups[n-1]
		c.cleanups = c.cleanups[:n-1]
		c.mu.Unlock()
		f()
	}
}

func (c *capturedTB) report(fail bool, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = c.failed || fail
	c.lines = append(c.lines, strings.TrimSuffix(text, "\n"))
}

func (c *capturedTB) Helper()                      {}
func (c *capturedTB) Log(args ...any)              { c.report(false, fmt.Sprintln(args...)) }
func (c *capturedTB) Logf(f string, args ...any)   { c.report(false, fmt.Sprintf(f, args...)) }
func (c *capturedTB) Error(args ...any)            { c.report(true, fmt.Sprintln(args...)) }
func (c *capturedTB) Errorf(f string, args ...any) { c.report(true, fmt.Sprintf(f, args...)) }
func (c *capturedTB) Fatal(args ...any)            { c.Error(args...); runtime.Goexit() }
func (c *capturedTB) Fatalf(f string, args ...any) { c.Errorf(f, args...); runtime.Goexit() }
func (c *capturedTB) FailNow()                     { c.Fatal("failed") }

// Failed reports whether f has failed so far.
func (c *capturedTB) Failed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

// Cleanup registers f to be called at the end, in reverse order.
func (c *capturedTB) Cleanup(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cleanups = slices.Concat(c.cleanups, []func(){f})
}

// TempDir returns a new directory, which is removed at the end.
func (c *capturedTB) TempDir() string {
	dir, err := os.MkdirTemp("", "trial-")
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
