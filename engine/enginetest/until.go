package enginetest

import (
	"testing"
	"time"
)

// patience is how long tests wait for a condition before they fail. Half a minute was too short
// under the race detector, on a machine with eighty runnable threads for two cores.
var patience = 3 * time.Minute

// look is the pause between two checks of a condition.
const look = 5 * time.Millisecond

// Until waits for a condition. explain, which may be nil, describes the state for a failure.
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

// UntilAt waits until a figure is at least want. It fails when the figure has not grown for
// patience, and has no other time limit.
func UntilAt(t testing.TB, what string, want int64, figure func() int64, explain func() string) {
	t.Helper()
	for last := figure(); last < want; last = figure() {
		Until(t, what, func() bool { return figure() > last }, explain)
	}
}

// reached waits for a condition, and reports whether it became true within patience.
func reached(condition func() bool) bool {
	for end := time.Now().Add(patience); !condition(); time.Sleep(look) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// within waits for a value. After patience it calls giveUp and fails the test.
func within[T any](t testing.TB, c <-chan T, giveUp func()) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		giveUp()
		t.Fatalf("no value within %v", patience)
		panic("unreachable")
	}
}
