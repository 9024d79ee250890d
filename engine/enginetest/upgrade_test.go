package enginetest

import (
	"fmt"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"distributor/engine/simulator"
	"distributor/wsproto"
)

// caller makes one HTTP request after the other, each on a connection of its
// own, and wants an answer to all of them.
type caller struct {
	answers atomic.Int64
	fault   atomic.Pointer[error]
	stop    chan struct{}
	done    chan struct{}
}

func newCaller(d *Distributor) *caller {
	c := &caller{stop: make(chan struct{}), done: make(chan struct{})}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	go func() {
		defer close(c.done)
		for {
			select {
			case <-c.stop:
				return
			default:
			}
			r, err := client.Get(d.URL + "/is-alive")
			if err == nil {
				_ = r.Body.Close()
				if r.StatusCode != http.StatusOK {
					err = fmt.Errorf("status %d", r.StatusCode)
				}
			}
			if err != nil {
				c.fault.Store(&err)
				return
			}
			c.answers.Add(1)
		}
	}()
	return c
}

func (c *caller) end(t *testing.T) {
	t.Helper()
	close(c.stop)
	<-c.done
	if err := c.fault.Load(); err != nil {
		t.Errorf("after %d answers: %v", c.answers.Load(), *err)
	}
	if c.answers.Load() == 0 {
		t.Error("nobody was answered")
	}
}

// Under load, one process takes over from the other, three times. No connection
// is refused, collectors that know nothing of positions miss nothing, and nothing
// is left of the old ones.
func TestUpgrade(t *testing.T) {
	size := 40
	if RaceEnabled || testing.Short() {
		size = 12
	}
	d := New(t, Settings{"FRAME_LOG_SEGMENT_BYTES": 1 << 20, "NUMBER_OF_WORKERS": 2, "MAX_CLIENTS_PER_CHILD": size/2 + 1, "ADMIN_ADDR": "127.0.0.1:0"})
	linked(t, d)
	book := NewBook()
	archiver := NewArchiver(t, ArchiverOptions{
		Dir: d.Logs, Book: book, Seed: *seed, Sizes: []int{80, 150, 400, 6000}, Noise: 0.02,
		Log: simulator.LogOptions{Generation: simulator.BytesBlank, MaxBytes: 50 << 10, MaxFiles: 1000, BatchLines: 4, Torn: 0.2, TornPause: time.Millisecond / 2},
	})
	d.Start()
	first := settled(t, d, d.admin())
	fleet := NewFleet(t, FleetOptions{URL: d.URL, Size: size, Book: book, Unmodified: true})
	calls := newCaller(d)
	s := newStorm(archiver)
	const rounds = 3
	for round := range rounds {
		s.until(t, 300*(round+1))
		before := d.Workers()
		d.Upgrade()
		d.Alone()
		for _, w := range before {
			if !w.Gone(patience) {
				t.Errorf("worker process %d of the old primary is left", w.Pid)
			}
		}
	}
	s.until(t, 300*(rounds+1))
	s.end(t)
	calls.end(t)
	fleet.WaitTotal(book.Total())
	ends := fleet.Ends()
	fleet.CheckSame()
	if fleet.Cut() != size {
		t.Errorf("only %d of %d collectors were sent over", fleet.Cut(), size)
	}
	for _, bad := range []string{"ERROR", "WARN"} {
		for _, l := range d.Log(func(l Line) bool { return l.Level == bad && l.Msg != "a line of a data log is no record, skipped" }) {
			t.Errorf("in the log: %s", l.Text)
		}
	}
	t.Logf("%d records, %d rotations, %d answers, %d messages came twice to %d collectors; connections ended: %v",
		book.Total(), archiver.Rotations(), calls.answers.Load(), fleet.Repeats(), size, ends)
	Until(t, fmt.Sprintf("the last holds what the first did, %v", first), func() bool { return census(t, d, lastAdmin(d)).within(first) },
		func() string { return fmt.Sprint(census(t, d, lastAdmin(d))) })
	d.Stop()
}

// lastAdmin is the admin listener of the newest process.
func lastAdmin(d *Distributor) string {
	lines := d.Log(func(l Line) bool { return l.Msg == "admin listener" })
	address, _ := lines[len(lines)-1].Attrs["address"].(string)
	return "http://" + address
}

// A new process that does not come to serve, whatever keeps it from that, leaves
// the old one as it was.
func TestFailedUpgrade(t *testing.T) {
	for _, mode := range []string{"exits", "talks", "ready", "yours", "opens", "no binary", "bad configuration", "other state"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			d := New(t, nil)
			d.Env = []string{badHeir + "=" + mode}
			linked(t, d)
			book := NewBook()
			archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Seed: *seed, Sizes: []int{100}, Log: simulator.LogOptions{Generation: simulator.Entries, MaxEntries: 50, MaxFiles: 1000}})
			d.Start()
			fleet := NewFleet(t, FleetOptions{URL: d.URL, Size: 3, Book: book, Unmodified: true})
			calls := newCaller(d)
			s := newStorm(archiver)
			s.until(t, 60)
			switch mode {
			case "no binary":
				if err := os.Remove(d.Binary); err != nil {
					t.Fatal(err)
				}
			case "bad configuration":
				d.WriteConfig(`{"DISTRIBUTOR_PORT": "many"}`)
			case "other state":
				d.Configure(Settings{"STATE_DIR": t.TempDir()})
			default:
				replaceByBad(t, d)
			}
			mark := d.Mark()
			d.Signal(syscall.SIGUSR2)
			l := d.WaitLogAfter(mark, "upgrade failed", func(l Line) bool { return l.Msg == "upgrade failed, this distributor goes on" })
			t.Log(l.Attrs["error"])
			if l.Level != "ERROR" {
				t.Errorf("level %s", l.Level)
			}
			s.until(t, book.Total()+100)
			s.end(t)
			calls.end(t)
			fleet.WaitTotal(book.Total())
			if fleet.Cut() != 0 || fleet.Repeats() != 0 {
				t.Errorf("collectors have noticed: %v", fleet)
			}
			fleet.CheckSame()
			if n := len(children(d.Pid())); n != 1 {
				t.Errorf("%d processes are left, besides the primary", n)
			}

			// It can be tried again.
			d.Configure(Settings{"STATE_DIR": d.Dir + "/state"})
			if mode == "no binary" || l.Attrs["error"] != nil {
				_ = os.Remove(d.Binary)
				replaceBinary(t, d, built)
			}
			d.Upgrade()
			d.Alone()
			late := NewFleet(t, FleetOptions{URL: d.URL, Size: 1, Book: book})
			late.WaitTotal(book.Total())
			late.CheckSame()
			d.Stop()
		})
	}
}

// While an upgrade is under way there is no second one, a reload works, and
// SIGTERM stops everything.
func TestStopDuringUpgrade(t *testing.T) {
	t.Parallel()
	d := New(t, nil)
	d.Env = []string{badHeir + "=hangs"}
	linked(t, d)
	d.Start()
	replaceByBad(t, d)
	p := MustConnect(t, d.URL, PeerOptions{Key: newKey(t)})
	d.Signal(syscall.SIGUSR2)
	d.WaitLog("the heir has all it needs", func(l Line) bool { return l.Msg == "heir hangs" })
	mark := d.Mark()
	d.Signal(syscall.SIGUSR2)
	d.WaitLogAfter(mark, "a refusal", func(l Line) bool { return l.Msg == "upgrade refused: another one is under way" })
	d.Reload(syscall.SIGHUP)
	d.Stop()
	p.WaitClosed(t, wsproto.ServerShutdown.Code)
}

// A key has one connection, at the old primary or at the new one; the newest
// stays.
func TestOneConnectionOverUpgrade(t *testing.T) {
	t.Parallel()
	d := New(t, Settings{"UPGRADE_DRAIN_MS": 3_600_000})
	d.Start()
	stalled := stall(t, d) // keeps the old primary
	key := newKey(t)
	_, head := Bounds(t, d.URL)
	old := MustConnect(t, d.URL, PeerOptions{Key: key, From: head.String(), Deaf: true})
	d.Upgrade()
	_ = old
	newer := MustConnect(t, d.URL, PeerOptions{Key: key})
	d.WaitLog("x", func(l Line) bool { return true })
	newer.Terminate()
	stalled.Terminate()
	d.Alone()
	d.Stop()
}
