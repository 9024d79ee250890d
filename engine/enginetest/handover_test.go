package enginetest

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"distributor/engine/simulator"
	"distributor/wsproto"
)

// caller sends one HTTP request after the other, each on a connection of its own. All must be
// answered.
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
		t.Error("no request was answered")
	}
}

// TestHandover does three handovers under load. No connection may be refused, collectors without a
// position must miss nothing, and no old process may remain.
func TestHandover(t *testing.T) {
	size := 40
	if RaceEnabled || testing.Short() {
		size = 12
	}
	d := newHealthy(t, Settings{"FRAME_LOG_SEGMENT_BYTES": 1 << 20, "NUMBER_OF_WORKERS": 2,
		"MAX_CLIENTS_PER_CHILD": size/2 + 1, "ADMIN_ADDR": "127.0.0.1:0"})
	linked(t, d)
	book := NewBook()
	archiver := NewArchiver(t, ArchiverOptions{
		Dir: d.Logs, Book: book, Seed: *seed, Sizes: []int{80, 150, 400, 6000}, Noise: 0.02,
		Log: simulator.LogOptions{Generation: simulator.BytesBlank, MaxBytes: 50 << 10, MaxFiles: 1000,
			BatchLines: 4, Torn: 0.2, TornPause: time.Millisecond / 2},
	})
	d.Start()
	first := settled(t, d, d.admin())
	fleet := NewFleet(t, FleetOptions{URL: d.URL, Size: size, Book: book, Forgetful: true})
	calls := newCaller(d)
	s := newStorm(archiver)
	const rounds = 3
	for round := range rounds {
		s.until(t, 300*(round+1))
		before := d.Workers()
		d.HandOver()
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
		t.Errorf("%d collectors moved to the new process, want %d", fleet.Cut(), size)
	}
	usual := []string{"a line of a data log is no record, skipped"}
	for _, l := range d.Log(func(l Line) bool {
		return l.Level != "INFO" && !slices.Contains(usual, l.Msg)
	}) {
		t.Errorf("unexpected line in the log: %s", l.Text)
	}
	t.Logf("%d records, %d rotations, %d answers, %d messages came twice to %d collectors; connections ended: %v",
		book.Total(), archiver.Rotations(), calls.answers.Load(), fleet.Repeats(), size, ends)
	Until(t, fmt.Sprintf("the last holds what the first did, %v", first), func() bool {
		return census(t, d, lastAdmin(d)).within(first)
	},
		func() string { return fmt.Sprint(census(t, d, lastAdmin(d))) })
	d.Stop()
}

// lastAdmin returns the URL of the newest process's admin listener.
func lastAdmin(d *Distributor) string {
	lines := d.Log(func(l Line) bool { return l.Msg == "admin listener" })
	address, _ := lines[len(lines)-1].Attrs["address"].(string)
	return "http://" + address
}

// TestFailedHandover checks that the old process continues unchanged if the new process fails at
// any step of a handover.
func TestFailedHandover(t *testing.T) {
	for _, mode := range []string{"exits", "talks", "ready", "released", "opens", "no binary",
		"bad configuration", "other state"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			d := New(t, nil)
			d.Env = []string{badSuccessor + "=" + mode}
			linked(t, d)
			book := NewBook()
			archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Seed: *seed,
				Sizes: []int{100}, Log: simulator.LogOptions{Generation: simulator.Entries, MaxEntries: 50,
					MaxFiles: 1000}})
			d.Start()
			fleet := NewFleet(t, FleetOptions{URL: d.URL, Size: 3, Book: book, Forgetful: true})
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
			l := d.WaitLogAfter(mark, "handover failed", func(l Line) bool {
				return l.Msg == "handover failed; this process continues"
			})
			t.Log(l.Attrs["error"])
			if l.Level != "ERROR" {
				t.Errorf("got level %s, want ERROR", l.Level)
			}
			s.until(t, book.Total()+100)
			s.end(t)
			calls.end(t)
			fleet.WaitTotal(book.Total())
			if fleet.Cut() != 0 || fleet.Repeats() != 0 {
				t.Errorf("collectors were cut or got repeats: %v", fleet)
			}
			fleet.CheckSame()
			if n := len(children(d.Pid(), "worker")); n != 1 {
				t.Errorf("got %d workers, want 1", n)
			}

			// The next handover can still be started.
			d.Configure(Settings{"STATE_DIR": d.Dir + "/state"})
			if mode == "no binary" || l.Attrs["error"] != nil {
				_ = os.Remove(d.Binary)
				replaceBinary(t, d, built)
			}
			d.HandOver()
			d.Alone()
			late := NewFleet(t, FleetOptions{URL: d.URL, Size: 1, Book: book})
			late.WaitTotal(book.Total())
			late.CheckSame()
			d.Stop()
		})
	}
}

// TestStopDuringHandover checks that during a handover a second one is refused, a reload works, and
// SIGTERM stops both processes.
func TestStopDuringHandover(t *testing.T) {
	t.Parallel()
	d := New(t, nil)
	d.Env = []string{badSuccessor + "=hangs"}
	linked(t, d)
	d.Start()
	replaceByBad(t, d)
	p := MustConnect(t, d.URL, PeerOptions{Key: newKey(t)})
	d.Signal(syscall.SIGUSR2)
	d.WaitLog("the new process has all it needs", func(l Line) bool {
		return l.Msg == "the new process hangs"
	})
	mark := d.Mark()
	d.Signal(syscall.SIGUSR2)
	d.WaitLogAfter(mark, "a refusal", func(l Line) bool {
		return l.Msg == "handover refused: another handover is under way"
	})
	d.Reload(syscall.SIGHUP)
	d.Stop()
	p.WaitClosed(t, wsproto.ServerShutdown.Code)
}

// TestOneConnectionOverHandover checks that a key has one connection during a handover, at the old
// or the new primary: the newest one. The new primary must know at once what the key confirms to
// the old one, except after the key has connected to the new primary.
func TestOneConnectionOverHandover(t *testing.T) {
	t.Parallel()
	// These peers answer no pings, and the test takes more than a minute on a busy machine.
	d := New(t, Settings{"HANDOVER_DRAIN_MS": 3_600_000, "PING_TIMEOUT_MS": 3_600_000})
	d.Start()
	keeper := stall(t, d) // is behind, so the old primary keeps running
	_, head := Bounds(t, d.URL)
	key := newKey(t)
	deaf := MustConnect(t, d.URL, PeerOptions{Key: key, From: "earliest", Deaf: true}) // as well
	leaver := newKey(t)
	p := MustConnect(t, d.URL, PeerOptions{Key: leaver, From: "earliest", Late: true})
	Until(t, "one has all, and has not said so", func() bool { return len(p.Texts()) == 160 }, nil)
	d.HandOver()
	p.WaitClosed(t, wsproto.ServerShutdown.Code) // the old primary sends the collector to the new one
	Until(t, "its place is known to the new one", func() bool {
		return remembered(d, leaver.Public()) == head.Offset
	},
		func() string { return fmt.Sprint(remembered(d, leaver.Public()), " of ", head.Offset) })

	mark := d.Mark()
	newer := MustConnect(t, d.URL, PeerOptions{Key: key, From: head.String()})
	Until(t, "the old connection is closed", func() bool {
		return connections(d.cmd.Process.Pid, d.Port) == 0 && oldConnections(d) == 1
	},
		func() string { return fmt.Sprint(oldConnections(d)) })
	again := MustConnect(t, d.URL, PeerOptions{Key: key})
	newer.WaitClosed(t, wsproto.DuplicateConnection.Code)
	if ended, _ := again.Ended(); ended {
		t.Error("the newest connection was closed")
	}
	if at := remembered(d, key.Public()); at != head.Offset {
		Until(t, "the place of its new connection is known", func() bool {
			return remembered(d, key.Public()) == head.Offset
		},
			func() string { return fmt.Sprint(remembered(d, key.Public())) })
	}
	deaf.Terminate()

	d.Signal(syscall.SIGUSR2) // a third process, while there are two
	d.WaitLogAfter(mark, "a refusal", func(l Line) bool {
		return l.Msg == "handover refused: the old process of the last handover has not ended yet"
	})
	keeper.Terminate()
	d.Alone()
	d.Stop()
}

// oldConnections returns how many connections the workers of the first primary have.
func oldConnections(d *Distributor) (n int) {
	for _, pid := range children(d.cmd.Process.Pid, "") {
		n += connections(pid, d.Port)
	}
	return n
}

// While the old primary still has collectors, a stop is one of both; and the
// death of the new one does not keep the old one from its end.
func TestEndWhileRetiring(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *Distributor){
		"stopped": func(_ *testing.T, d *Distributor) { d.Stop() },
		"new one killed": func(t *testing.T, d *Distributor) {
			d.Signal(syscall.SIGKILL)
			d.WaitLog("its end is noticed", func(l Line) bool {
				return l.Msg == "the new process, which has taken over, is gone"
			})
			if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			within(t, d.ended, d.killAll)
			if code := d.cmd.ProcessState.ExitCode(); code != 0 {
				t.Errorf("the old primary ended with %v", d.cmd.ProcessState)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := New(t, Settings{
				"HANDOVER_DRAIN_MS": 3_600_000, "DRAIN_MS": 500, "PING_TIMEOUT_MS": 3_600_000,
			})
			d.Start()
			keeper := stall(t, d)
			d.HandOver()
			old := children(d.cmd.Process.Pid, "")
			end(t, d)
			for _, pid := range old {
				if pid != d.Pid() && syscall.Kill(pid, 0) == nil {
					t.Errorf("process %d is left", pid)
				}
			}
			keeper.Terminate()
		})
	}
}

// Whoever started us is told which process is the main one.
func TestNotify(t *testing.T) {
	t.Parallel()
	d := New(t, nil)
	path := filepath.Join(d.Dir, "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	told := func(want string) {
		t.Helper()
		if err := socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 1000)
		n, err := socket.Read(buf)
		if err != nil || string(buf[:n]) != want {
			t.Errorf("told %q (%v), want %q", buf[:n], err, want)
		}
	}
	d.Env = []string{"NOTIFY_SOCKET=" + path}
	d.Start()
	told(fmt.Sprintf("READY=1\nMAINPID=%d", d.Pid()))
	d.HandOver()
	told(fmt.Sprintf("READY=1\nMAINPID=%d", d.Pid()))
	d.Alone()
	d.Stop()
	told("STOPPING=1")
}

// TestWorkerOfReplacedBinary checks that workers run the primary's binary even after its file was
// replaced, because the new version may use other messages.
func TestWorkerOfReplacedBinary(t *testing.T) {
	t.Parallel()
	d := New(t, nil)
	copied(t, d)
	d.Start()
	replaceBinary(t, d, "/bin/false")
	mark := d.Mark()
	d.Workers()[0].Kill(t)
	d.WaitLogAfter(mark, "another worker", func(l Line) bool { return l.Msg == "worker ready" })
	d.Stop()
}
