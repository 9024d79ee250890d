package worker

import (
	"testing"
	"time"
)

func TestSlowness(t *testing.T) {
	const start = 1 << 40 // cursors are large after a while
	rule := slowRule{lag: 1000, rate: 10, window: time.Minute}
	type at struct {
		second       int
		cursor, head uint64 // from start
		ready        bool   // the socket is not full
	}
	for _, c := range []struct {
		name string
		rule slowRule
		seen []at
		want string // of the last; all before are ""
	}{
		{"takes nothing", rule, []at{{0, 0, 5000, false}, {30, 0, 5000, false}, {60, 0, 5000, false}}, "took 0 bytes in 1m0s, with 5000 to go"},
		{"takes a little less than the rate", rule, []at{{0, 0, 5000, false}, {60, 599, 9000, false}},
			"took 599 bytes in 1m0s, with 8401 to go"},
		{"takes just the rate", rule, []at{{0, 0, 5000, false}, {60, 600, 9000, false}}, ""},
		{"judged over the time that passed, not the window", rule,
			[]at{{0, 0, 5000, false}, {90, 899, 5000, false}}, "took 899 bytes in 1m30s, with 4101 to go"},
		{"not before the window is over", rule, []at{{0, 0, 5000, false}, {59, 0, 5000, false}}, ""},
		{"the window begins with being far behind", rule, []at{{0, 0, 1000, false}, {59, 0, 1001, false}, {118, 0, 2000, false}}, ""},
		{"and ends with it", rule, []at{{0, 0, 1000, false}, {59, 0, 1001, false}, {119, 0, 2000, false}}, "took 0 bytes in 1m0s, with 2000 to go"},
		{"far behind is more than the lag", rule, []at{{0, 0, 1000, false}, {60, 0, 1000, false}, {120, 0, 1000, false}}, ""},
		{"once nearer than that, it begins anew", rule, []at{{0, 0, 5000, false}, {50, 4000, 5000, false}, {51, 4000, 9000, false}, {110, 4000, 9000, false}}, ""},
		{"idle and caught up", rule, []at{{0, 7, 7, true}, {60, 7, 7, true}, {600, 7, 7, true}}, ""},
		{"caught up with a full socket", rule, []at{{0, 7, 7, false}, {600, 7, 7, false}}, ""},
		{"ahead of the head of a moment ago", rule, []at{{0, 8, 7, false}, {60, 9, 8, false}, {120, 9, 8, false}}, ""},
		{"keeps pace far behind", rule, []at{{0, 0, 5000, false}, {60, 6000, 11000, false}, {120, 12000, 17000, false}, {180, 18000, 23000, false}}, ""},
		{"replays", rule, []at{{0, 0, 90000, false}, {60, 700, 90000, false}, {120, 1400, 90000, false}, {180, 2100, 90000, false}}, ""},
		{"a good window does not make up for a bad one", rule, []at{{0, 0, 90000, false}, {60, 50000, 90000, false}, {120, 50001, 90000, false}}, "took 1 bytes in 1m0s, with 39999 to go"},
		{"pauses, and takes a lot between them", rule, []at{{0, 0, 90000, false}, {50, 0, 90000, false}, {55, 700, 90000, false}, {60, 700, 90000, false}, {119, 700, 90000, false}, {120, 1400, 90000, false}}, ""},
		{"waits for us: its socket has room", rule, []at{{0, 0, 5000, true}, {60, 0, 5000, true}}, ""},
		{"waited for us meanwhile", rule, []at{{0, 0, 5000, false}, {30, 0, 5000, true}, {31, 0, 5000, false}, {60, 0, 5000, false}}, ""},
		{"nobody is too slow", slowRule{rate: 10, window: time.Minute}, []at{{0, 0, 5000, false}, {60, 0, 5000, false}, {120, 0, 5000, false}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s slowness
			for i, a := range c.seen {
				want := ""
				if i == len(c.seen)-1 {
					want = c.want
				}
				now := time.Unix(1_700_000_000+int64(a.second), 0)
				if got := s.check(c.rule, now, max(a.head, a.cursor)-a.cursor, start+a.cursor,
					!a.ready); got != want {
					t.Fatalf("after %d s: %q, want %q", a.second, got, want)
				}
			}
		})
	}
}
