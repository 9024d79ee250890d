package datalog

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// rig is a directory of receipt logs and a follower. The test triggers each look and moves the
// clock.
type rig struct {
	t     *testing.T
	dir   string
	f     *Follower
	opt   Options
	clock time.Time
	last  Position // of the last record
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, dir: filepath.Join(t.TempDir(), "logs"), clock: time.Unix(1e9, 0)}
	r.opt = Options{Stream: Receipt, Dir: r.dir, noWatch: true, Interval: time.Hour,
		now: func() time.Time { return r.clock }}
	t.Cleanup(func() {
		if r.f != nil {
			r.f.Close()
		}
	})
	return r
}

// newRunningRig returns a rig with an empty log 1 and a follower at its beginning.
func newRunningRig(t *testing.T) *rig {
	r := newRig(t)
	r.mkdir()
	r.put("receipt-log1.txt", "")
	r.point(1)
	r.start(Position{})
	return r
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) mkdir() { r.t.Helper(); r.must(os.MkdirAll(r.dir, 0o755)) }

func (r *rig) put(name, text string) {
	r.t.Helper()
	r.must(os.WriteFile(r.path(name), []byte(text), 0o644))
}

func (r *rig) append(name, text string) {
	r.t.Helper()
	r.must(appendTo(r.path(name),
		[]byte(text)))
}

func (r *rig) rename(from, to string) { r.t.Helper(); r.must(os.Rename(r.path(from), r.path(to))) }

func (r *rig) remove(name string) { r.t.Helper(); r.must(os.Remove(r.path(name))) }

func (r *rig) truncate(name string, size int64) {
	r.t.Helper()
	r.must(os.Truncate(r.path(name), size))
}

func (r *rig) age(name string, d time.Duration) {
	r.t.Helper()
	at := time.Now().Add(-d)
	r.must(os.Chtimes(r.path(name), at, at))
}

func (r *rig) inode(name string) uint64 {
	r.t.Helper()
	fi, err := os.Stat(r.path(name))
	r.must(err)
	return idOf(fi).ino
}

func (r *rig) point(n int) {
	r.t.Helper()
	r.put("active-receipt-log.txt", fmt.Sprintf("receipt-log%d.txt", n))
}

func (r *rig) start(from Position) {
	r.t.Helper()
	if r.f != nil {
		r.f.Close()
	}
	r.opt.From = from
	f, err := NewFollower(r.opt)
	r.must(err)
	r.f = f
}

// restart stops the follower and starts one from its position.
func (r *rig) restart() { r.t.Helper(); r.start(r.f.Position()) }

// got looks until two looks in a row return nothing, and returns the records.
func (r *rig) got() (lines []string) {
	var b Batch
	for empty := 0; empty < 2; {
		r.f.look(&b)
		empty++
		for _, rec := range b.Records {
			empty = 0
			lines = append(lines, string(rec.Line))
			r.last = rec.Next
		}
	}
	return lines
}

// want checks the records of the next looks.
func (r *rig) want(lines ...string) {
	r.t.Helper()
	got := r.got()
	if fmt.Sprintf("%.200q", got) != fmt.Sprintf("%.200q", lines) {
		r.t.Fatalf("got %.200q, want %.200q", got, lines)
	}
}

// waitWant looks while the clock advances by more than incompleteWait, and checks all records of
// that time.
func (r *rig) waitWant(lines ...string) {
	r.t.Helper()
	var got []string
	for range 5 {
		got = append(got, r.got()...)
		r.clock = r.clock.Add(incompleteLingers * defaultLinger / 3)
	}
	if strings.Join(got, "\n") != strings.Join(lines, "\n") {
		r.t.Fatalf("got %.200q, want %.200q", got, lines)
	}
}

func (r *rig) wantGaps(n uint64, reason GapReason) {
	r.t.Helper()
	if s := r.f.Stats(); s.Gaps != n || s.LastGap.Reason != reason {
		r.t.Fatalf("%d gaps, last %+v; want %d, %q", s.Gaps, s.LastGap, n, reason)
	}
}
