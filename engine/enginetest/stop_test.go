package enginetest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"distributor/wsproto"
)

// stopMargin is how long a stop may take beyond DRAIN_MS: two seconds for closing handshakes, the
// end of the processes, and a margin for a busy machine.
const stopMargin = 15 * time.Second

// stall connects a collector that never reads, and writes more records than the sockets' buffers
// can hold.
func stall(t *testing.T, d *Distributor) *Peer {
	t.Helper()
	p := MustConnect(t, d.URL, PeerOptions{Key: newKey(t), From: "earliest", Deaf: true})
	archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: NewBook(), Sizes: []int{100_000}})
	if err := archiver.Write(160); err != nil {
		t.Fatal(err)
	}
	UntilAt(t, "16 MB are in the frame log", 16_000_000, func() int64 {
		_, head := Bounds(t, d.URL)
		return int64(head.Offset)
	}, nil)
	return p
}

// TestStop checks that after SIGTERM collectors get all committed messages and a close frame, that
// a collector that does not read delays the end only for DRAIN_MS, and that the next start works.
func TestStop(t *testing.T) {
	t.Parallel()
	d := New(t, Settings{"DRAIN_MS": 120_000, "NUMBER_OF_WORKERS": 2, "MAX_CLIENTS_PER_CHILD": 3})
	d.Start()
	stalled := stall(t, d)
	_, head := Bounds(t, d.URL)
	var peers []*Peer
	for range 6 {
		peers = append(peers, MustConnect(t, d.URL, PeerOptions{Key: newKey(t)}))
	}
	replaying := MustConnect(t, d.URL, PeerOptions{Key: newKey(t), From: "earliest"}) // 16 MB behind
	// a terminal or systemd signals all processes
	for _, w := range d.Workers() {
		w.Signal(t, syscall.SIGINT)
		w.Signal(t, syscall.SIGTERM)
	}
	go func() { // the collector that does not read would delay the end for DRAIN_MS
		<-replaying.done
		stalled.Terminate()
	}()
	d.Stop()
	for _, p := range append(peers, replaying) {
		if end := p.WaitClosed(t,
			wsproto.ServerShutdown.Code); end.Reason != wsproto.ServerShutdown.Reason {
			t.Errorf("closed with %v, want reason %q", end, wsproto.ServerShutdown.Reason)
		}
	}
	bytes := 0
	for _, text := range replaying.Texts() {
		bytes += len(wsproto.AppendTextFrame(nil, []byte(text)))
	}
	if uint64(bytes) != head.Offset {
		t.Errorf("the collector that was behind got %d bytes before it was closed, want %d",
			bytes, head.Offset)
	}

	const drain = 2 * time.Second
	d.Configure(Settings{"DRAIN_MS": drain.Milliseconds()})
	d.Start()
	stalled = MustConnect(t, d.URL, PeerOptions{Key: newKey(t), From: "earliest", Deaf: true})
	took := d.Stop()
	if took > drain+stopMargin {
		t.Errorf("stopped only after %v, DRAIN_MS is %v", took, drain)
	}
	stalled.Terminate()
	t.Logf("stopped in %v with a collector that does not read", took)

	d.Start()
	if _, again := Bounds(t, d.URL); again != head {
		t.Errorf("head after the restart: got %v, want %v", again, head)
	}
	if took := d.Stop(); took > stopMargin { // without collectors there is nothing to wait for
		t.Errorf("stopped only after %v", took)
	}
}

// TestSecondSignalEndsAtOnce checks that a second SIGTERM ends a stop at once.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	d := New(t, Settings{"DRAIN_MS": 60_000})
	d.Start()
	stalled := stall(t, d)
	mark := d.Mark()
	d.Signal(syscall.SIGTERM)
	d.WaitLogAfter(mark, "stopping", func(l Line) bool { return l.Msg == "stopping" })
	workers := d.Workers()
	d.Signal(syscall.SIGTERM)
	within(t, d.ended, func() {})
	if code := d.cmd.ProcessState.ExitCode(); code != 128+int(syscall.SIGTERM) {
		t.Errorf("got %v, want exit status 128 + SIGTERM", d.cmd.ProcessState)
	}
	for _, w := range workers {
		if !w.Gone(patience) {
			t.Errorf("worker process %d is left", w.Pid)
		}
	}
	stalled.Terminate()
}

// TestNothingLeaks checks that five hundred collectors, which disconnect in every way, leave no
// descriptor and no goroutine.
func TestNothingLeaks(t *testing.T) {
	visitors := 500
	if testing.Short() || RaceEnabled {
		visitors = 150
	}
	d := New(t, Settings{"NUMBER_OF_WORKERS": 2, "MAX_CLIENTS_PER_CHILD": 20,
		"ADMIN_ADDR": "127.0.0.1:0", "RATE_LIMIT": 1_000_000})
	book := NewBook()
	archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Sizes: []int{300}})
	d.Start()
	admin := d.admin()
	Until(t, "both workers are there", func() bool {
		return len(children(d.Pid(), "worker")) == 2
	}, nil)
	// Descriptors that the first use opens, such as a reader's mapping, are no leak.
	for range 25 {
		defer MustConnect(t, d.URL, PeerOptions{Key: newKey(t)}).Terminate()
	}
	if err := archiver.Write(20); err != nil {
		t.Fatal(err)
	}
	visit := func(n int) {
		for i := range n {
			o := PeerOptions{Key: newKey(t), From: "earliest", Deaf: i%5 == 4}
			if i%6 == 5 {
				o.From = "nonsense" // is refused
			}
			p, err := Connect(t, d.URL, o)
			switch {
			case err != nil && o.From == "earliest":
				t.Fatal(err)
			case err != nil:
			case i%4 == 0 && !o.Deaf:
				p.Close(1000)
				within(t, p.done, func() {})
			case i%4 == 1:
				p.Say(strings.Repeat("x", 5000))
				p.Terminate()
			default:
				p.Terminate()
			}
			if i%50 == 0 {
				if err := archiver.Write(5); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	visit(40)
	before := settled(t, d, admin)
	visit(visitors)
	Until(t, fmt.Sprintf("descriptors and goroutines are back at %v", before), func() bool {
		return census(t, d, admin).within(before)
	},
		func() string { return fmt.Sprint(census(t, d, admin)) })
	d.Stop()
}

// usage has the numbers of descriptors and goroutines of the processes.
type usage struct{ workers, primary, workersDescriptors, goroutines int }

// polls is how many connections the primary may have to the query process without a request: one
// for its health and one for its counters, if it asks for both at the same moment. Each is a
// descriptor on both sides, and two goroutines of the primary.
const polls = 2

// within reports whether the usage is not above before, except for polls and a goroutine or two of
// the runtime.
func (u usage) within(before usage) bool {
	return u.workers == before.workers && u.primary <= before.primary+polls &&
		u.workersDescriptors <= before.workersDescriptors+polls &&
		u.goroutines <= before.goroutines+2*polls+2
}

// census returns the present usage. It does not count the databases, because the number of open
// connections to them is random.
func census(t *testing.T, d *Distributor, admin string) usage {
	t.Helper()
	u := usage{primary: len(descriptors(d.Pid()))}
	databases := filepath.Join(d.Dir, "databases") + "/"
	for _, pid := range children(d.Pid(), "") {
		u.workers++
		for _, held := range descriptors(pid) {
			if !strings.HasPrefix(held, databases) {
				u.workersDescriptors++
			}
		}
	}
	profile := &Distributor{t: t, URL: admin}
	_, body := profile.Get("/debug/pprof/goroutine?debug=1")
	if _, err := fmt.Sscanf(body, "goroutine profile: total %d", &u.goroutines); err != nil {
		t.Fatal(err)
	}
	return u
}

// settled waits until the census stays the same.
func settled(t *testing.T, d *Distributor, admin string) usage {
	t.Helper()
	last, same := census(t, d, admin), 0
	Until(t, "the census stands still", func() bool {
		now := census(t, d, admin)
		if same++; now != last {
			last, same = now, 0
		}
		return same >= 20
	}, nil)
	return last
}

// TestStateAfterStop checks that a collector that connects during a stop is refused with the
// reason, and that the saved checkpoint is complete.
func TestStateAfterStop(t *testing.T) {
	t.Parallel()
	d := New(t, nil)
	d.Start()
	d.Kill()
	// as a kill may leave them
	for _, name := range []string{"checkpoint.json", "collectors.json", "notices.json"} {
		if err := os.WriteFile(filepath.Join(d.Dir, "state", name+".new"), []byte("{"),
			0o600); err != nil {
			t.Fatal(err)
		}
	}
	d.Start()
	d.Stop()
	entries, err := os.ReadDir(filepath.Join(d.Dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".new") || strings.Contains(e.Name(), "tmp") {
			t.Errorf("%s is left", e.Name())
		}
	}
	if _, err := os.Stat(filepath.Join(d.Dir, "state", "checkpoint.json")); err != nil {
		t.Error(err)
	}
}

// TestStopIsStaggered checks that a stop does not close all collectors at the same moment, because
// they would all reconnect at the same moment. It tries several times, because a busy machine may
// delay the workers.
func TestStopIsStaggered(t *testing.T) {
	t.Parallel()
	const collectors, instant, tries = 200, 20 * time.Millisecond, 5
	// For so few collectors the stop does not wait.
	d := New(t, Settings{
		"DRAIN_MS": 600_000, "NUMBER_OF_WORKERS": 2, "MAX_CLIENTS_PER_CHILD": collectors / 2,
	})
	for range tries {
		d.Start()
		var peers []*Peer
		for range collectors {
			peers = append(peers, MustConnect(t, d.URL, PeerOptions{Key: newKey(t)}))
		}
		d.Stop()
		var ends []time.Time
		for _, p := range peers {
			p.WaitClosed(t, wsproto.ServerShutdown.Code)
			ends = append(ends, p.endedAt)
		}
		slices.SortFunc(ends, time.Time.Compare)
		if ends[len(ends)-1].Sub(ends[0]) > instant {
			return
		}
	}
	t.Errorf("%d times %d collectors were all closed within %v", tries, collectors, instant)
}
