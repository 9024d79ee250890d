package enginetest

import (
	"testing"
	"time"
)

// patience is how long a condition is waited for before it counts as never coming true. Only a test
// that fails waits so long: on a machine with eighty runnable threads for two cores, and under the
// race detector, half a minute was too short.
var patience = 3 * time.Minute

// look is how often a condition is looked at.
const look = 5 * time.Millisecond

// Until waits for a condition. explain, which may be nil, tells what is there
// instead.
func Until(t testing.TB, what string, condition func() bool, explain func() string) {
	t.Helper()
	if reached(condition) {
		return
	}
	now := ""
	if explain != nil {
		now = ": " + explain()
	}
	t.Fatalf("not within %v: %s%s", patience, what, now)
}

// UntilAt waits until a figure is at least want, however long that takes a busy machine. It gives
// up when the figure has not grown for patience.
func UntilAt(t testing.TB, what string, want int64, figure func() int64, explain func() string) {
	t.Helper()
	for last := figure(); last < want; last = figure() {
		Until(t, what, func() bool { return figure() > last }, explain)
	}
}

func reached(condition func() bool) bool {
	for end := time.Now().Add(patience); !condition(); time.Sleep(look) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// within waits for a value, and gives up loudly.
func within[T any](t testing.TB, c <-chan T, giveUp func()) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		giveUp()
		t.Fatalf("not over within %v", patience)
		panic("unreachable")
	}
}
