package enginetest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"distributor/wsproto"
	"distributor/wsproto/shardus"
)

// privateMemory returns the private memory of a process (RssAnon) in bytes.
func privateMemory(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kB, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return kB << 10
		}
	}
	t.Fatal("no RssAnon")
	return 0
}

// waiting returns how many sent bytes the kernel holds for each connection of a local port, in
// descending order, without zeros. The kernel's table is not read atomically: while connections
// come and go, some may be missing or repeated.
func waiting(t *testing.T, pid, port int) (out []int) {
	t.Helper()
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line) // sl local_address rem_address st tx_queue:rx_queue …
		if len(f) > 4 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) && f[3] == "01" {
			tx, _, _ := strings.Cut(f[4], ":")
			n, err := strconv.ParseInt(tx, 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			if n > 0 {
				out = append(out, int(n))
			}
		}
	}
	slices.Sort(out)
	slices.Reverse(out)
	return out
}

const (
	// unhurried is a PING_TIMEOUT_MS longer than any test, so collectors that do not read stay.
	unhurried = 3_600_000
	// memoryMargin is how much a worker's private memory may grow, by garbage, while stalled
	// collectors fall behind. A copy of their messages for each of the fifty would be 300 MB.
	memoryMargin = 4 << 20
	// kernelMargin is how much the kernel may hold for a collector that does not read. Without a
	// limit it would be 4 MB.
	kernelMargin = 700 << 10
)

// TestStalledCollectors has a quarter of the collectors never read. The worker's memory and the
// kernel's for these collectors must not grow, and all others must get everything.
func TestStalledCollectors(t *testing.T) {
	t.Parallel()
	size, stalled := 150, 50
	if RaceEnabled || testing.Short() {
		size, stalled = 30, 10
	}
	d := New(t, Settings{"PING_TIMEOUT_MS": unhurried})
	book := NewBook()
	archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Seed: *seed,
		Sizes: []int{20_000}})
	d.Start()
	for range stalled {
		MustConnect(t, d.URL, PeerOptions{Key: newKey(t), From: "earliest", Deaf: true})
	}
	fleet := NewFleet(t, FleetOptions{URL: d.URL, Size: size, Book: book})
	write := func(records int) {
		t.Helper()
		for range records / 10 {
			if err := archiver.Write(10); err != nil {
				t.Fatal(err)
			}
		}
		fleet.WaitTotal(book.Total())
	}
	worker := d.Workers()[0].Pid
	write(100) // 2 MB fill the sockets of the stalled collectors
	before := privateMemory(t, worker)
	write(300) // 6 MB that the worker cannot send to each of them
	after := privateMemory(t, worker)
	if grown := after - before; grown > memoryMargin {
		t.Errorf("the worker's private memory grew from %d to %d bytes, want at most %d more",
			before, after, memoryMargin)
	}
	var held []int
	Until(t, "something is held for the stalled alone", func() bool {
		held = waiting(t, worker, d.Port)
		return len(held) == stalled
	}, func() string { return fmt.Sprint(held) })
	sum := 0
	for _, n := range held {
		sum += n
	}
	if held[0] > kernelMargin {
		t.Errorf("the kernel holds %d bytes for a stalled collector, want at most %d",
			held[0], kernelMargin)
	}
	fleet.CheckSame()
	if cut := fleet.Cut(); cut != 0 {
		t.Errorf("%d collectors that read were cut: %v", cut, fleet.Ends())
	}
	t.Logf("%d collectors, %d of them stalled: private memory %.1f MB, then %.1f MB; the kernel holds %d kB for each of the stalled",
		size+stalled, stalled, float64(before)/1e6, float64(after)/1e6, sum/stalled/1000)
	d.Stop()
}

// TestStoppedWorker stops a worker by SIGSTOP. The primary must detect its silence, kill it and
// start another one. Collectors of other workers must not be affected. Those of the stopped worker,
// which send no position, must miss nothing after they reconnect.
func TestStoppedWorker(t *testing.T) {
	t.Parallel()
	d := New(t, Settings{"NUMBER_OF_WORKERS": 2, "MAX_CLIENTS_PER_CHILD": 2, "MAX_WORKERS": 2})
	numbered(t, d, 0, 0)
	if err := os.WriteFile(filepath.Join(d.Logs, "active-receipt-log.txt"), []byte("receipt-log1.txt"),
		0o644); err != nil {
		t.Fatal(err)
	}
	d.Start()
	ready := func(worker int) Line { // the two may start in any order
		return d.WaitLog("a worker is ready", func(l Line) bool {
			return l.Msg == "worker ready" && l.Attrs["worker"] == float64(worker)
		})
	}
	first := ready(1)
	ready(2)
	var keys []shardus.SecretKey
	var peers []*Peer
	for range 4 {
		keys = append(keys, newKey(t))
		peers = append(peers, MustConnect(t, d.URL, PeerOptions{Key: keys[len(keys)-1]}))
	}
	numbered(t, d, 0, 20)
	for _, p := range peers {
		Until(t, "the first records", func() bool { return len(p.Texts()) == 20 }, nil)
	}
	workers := d.Workers()
	at := slices.IndexFunc(workers, func(w *Process) bool {
		return float64(w.Pid) == first.Attrs["pid"]
	})
	if at < 0 {
		t.Fatalf("worker 1 does not run: %s", first.Text)
	}
	victim := workers[at] // of the first two
	victim.Signal(t, unix.SIGSTOP)
	Until(t, "it stands still", func() bool {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", victim.Pid))
		return strings.Contains(string(text), "State:\tT")
	}, nil)
	numbered(t, d, 20, 40)
	for _, p := range peers[2:] {
		Until(t, "the records while the other worker stands still", func() bool {
			return len(p.Texts()) == 40
		}, nil)
	}
	lost := d.WaitLog("worker lost", func(l Line) bool { return l.Msg == "worker lost" })
	if lost.Attrs["failure"] != "silent" || lost.Attrs["clients"] != float64(2) ||
		!victim.Gone(patience) {
		t.Errorf("got %s, want failure silent and 2 clients", lost.Text)
	}
	numbered(t, d, 40, 60)
	for i, p := range peers[:2] {
		within(t, p.done, func() {})
		before := numbers(t, p)
		var again *Peer
		Until(t, "it is accepted again", func() bool {
			var err error
			again, err = Connect(t, d.URL, PeerOptions{Key: keys[i]})
			return err == nil
		}, nil)
		Until(t, "what it missed", func() bool {
			n := numbers(t, again)
			return len(n) > 0 && n[len(n)-1] == 59
		}, func() string { return fmt.Sprint(numbers(t, again)) })
		after := numbers(t, again)
		if after[0] > len(before) || len(after) != 60-after[0] || !slices.IsSorted(after) {
			t.Errorf("collector %d got %v, then %v", i, before, after)
		}
	}
	for i, p := range peers[2:] {
		Until(t, "all records", func() bool { return len(p.Texts()) == 60 }, nil)
		if over, _ := p.Ended(); over {
			t.Errorf("a collector of the other worker was cut off: %d", i)
		}
	}
	d.Stop()
}

// TestTooSlowCollectorIsLogged checks that a collector that is far behind and reads almost nothing
// is closed, and that the log has the figures.
func TestTooSlowCollectorIsLogged(t *testing.T) {
	t.Parallel()
	d := New(t, Settings{
		"SLOW_LAG_BYTES": 1 << 20, "SLOW_RATE": 1 << 20, "SLOW_WINDOW_MS": 1000,
		"PING_TIMEOUT_MS": unhurried,
	})
	d.Start()
	stall(t, d)
	l := d.WaitLog("the disconnect", func(l Line) bool { return l.Msg == "collector disconnected" })
	if l.Attrs["reason"] != wsproto.TooSlow.Name || !strings.HasPrefix(fmt.Sprint(l.Attrs["detail"]), "took ") || l.Attrs["behind"].(float64) <= 1<<20 {
		t.Errorf("got %s, want reason, rate and lag", l.Text)
	}
	d.Stop()
}
