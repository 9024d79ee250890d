package enginetest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"distributor/wsproto"
	"distributor/wsproto/shardus"
)

// flow appends a receipt {"n":…} each millisecond until end is called, which returns their number.
func flow(t *testing.T, d *Distributor) (end func() int) {
	t.Helper()
	begin(t, d)
	f, err := os.OpenFile(filepath.Join(d.Logs, "receipt-log1.txt"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	stop, written := make(chan struct{}), make(chan int, 1)
	go func() {
		defer f.Close()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-stop:
				written <- n
				return
			case <-tick.C:
			}
			if _, err := fmt.Fprintf(f, "{\"n\":%d}\n", n); err != nil {
				t.Error(err)
			}
		}
	}()
	end = sync.OnceValue(func() int { close(stop); return <-written })
	t.Cleanup(func() { end() })
	return end
}

// takeovers connects one key n times under load, each time while its previous connection is open.
// It returns all connections.
func takeovers(t *testing.T, d *Distributor, key shardus.SecretKey, n int, o PeerOptions) []*Peer {
	t.Helper()
	o.Key = key
	peers := []*Peer{MustConnect(t, d.URL, o)}
	for range n {
		last := peers[len(peers)-1]
		Until(t, "it gets records", func() bool { return len(last.Texts()) > 3 }, nil)
		peers = append(peers, MustConnect(t, d.URL, o))
	}
	return peers
}

// received waits until the last record has come, and returns the numbers that all peers got, in the
// order of the peers. The newest peer may have none, if the one before it has all.
func received(t *testing.T, peers []*Peer, written int) (all []int) {
	t.Helper()
	Until(t, "the last record has come", func() bool {
		all = nil
		for _, p := range peers {
			all = append(all, numbers(t, p)...)
		}
		return len(all) > 0 && all[len(all)-1] == written-1
	}, nil)
	return all
}

// unanswered reports whether a close frame was not answered within the second that a newer
// connection waits.
func unanswered(d *Distributor) bool {
	return len(d.Log(func(l Line) bool {
		return strings.HasPrefix(l.Msg, "older connection has not ended in time")
	})) > 0
}

// mustFollow checks that no number is missing in got, and that none is repeated if all close frames
// were answered in time. They are not if the machine stood still for a second.
func mustFollow(t *testing.T, d *Distributor, got []int) {
	t.Helper()
	if unanswered(d) {
		t.Log("a close frame was not answered within a second: the records that come again are not judged")
		slices.Sort(got)
		got = slices.Compact(got)
	}
	for i, n := range got {
		if n != got[0]+i {
			t.Fatalf("record %d follows %d: %v", n, got[i-1], got[max(0, i-5):min(len(got), i+5)])
		}
	}
}

// TestTakeover checks that a newer connection of a key continues exactly where the older one has
// ended, whichever of the two confirming frames (ping or close) the older one answers.
func TestTakeover(t *testing.T) {
	for name, o := range map[string]PeerOptions{
		"answers all":                      {},
		"answers the close frame alone":    {Mute: true},
		"answers pings at the close frame": {Late: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := New(t, Settings{"LOG_LEVEL": "debug"})
			end := flow(t, d)
			d.Start()
			peers := takeovers(t, d, newKey(t), 20, o)
			mustFollow(t, d, received(t, peers, end()))
			for _, p := range peers[:len(peers)-1] {
				p.WaitClosed(t, wsproto.DuplicateConnection.Code)
			}
			d.Stop()
		})
	}
}

// TestTakeoverAcrossWorkers is TestTakeover with the newer connection on another worker.
func TestTakeoverAcrossWorkers(t *testing.T) {
	t.Parallel()
	d := New(t, Settings{"LOG_LEVEL": "debug", "NUMBER_OF_WORKERS": 2, "MAX_WORKERS": 2,
		"MAX_CLIENTS_PER_CHILD": 1})
	end := flow(t, d)
	d.Start()
	other := MustConnect(t, d.URL, PeerOptions{Key: newKey(t)})
	key := newKey(t)
	peers := takeovers(t, d, key, 0, PeerOptions{})
	Until(t, "it gets records", func() bool { return len(peers[0].Texts()) > 3 }, nil)
	other.Close(1000)
	other.WaitClosed(t, 1000)
	peers = append(peers, takeovers(t, d, key, 1, PeerOptions{})...)
	mustFollow(t, d, received(t, peers, end()))
	d.Stop()
}

// TestTakeoverOverHandover is TestTakeover with the older connection at the old process of a
// handover, which keeps its collectors because they are behind.
func TestTakeoverOverHandover(t *testing.T) {
	t.Parallel()
	d := New(t, Settings{"LOG_LEVEL": "debug", "HANDOVER_DRAIN_MS": 3_600_000})
	begin(t, d)
	d.Start()
	written, displaced := 0, 0
	for range 10 { // on a slow machine they may move to the new process before they are displaced
		var n int
		if written, n = takeOverHandover(t, d, written); n > 0 {
			displaced += n
			break
		}
	}
	if displaced == 0 {
		t.Error("no connection of the old process was displaced: nothing was tested")
	}
	d.Stop()
}

// takeOverHandover does a handover with some collectors that are behind, and connects each of them
// again. It returns the number of records then, and how many connections of the old process were
// displaced.
func takeOverHandover(t *testing.T, d *Distributor, first int) (written, displaced int) {
	t.Helper()
	keys, older, newer := make([]shardus.SecretKey, 4), make([]*Peer, 4), make([]*Peer, 4)
	gate := make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	defer open()
	for i := range keys {
		keys[i] = newKey(t)
		older[i] = MustConnect(t, d.URL, PeerOptions{Key: keys[i], Gate: gate})
	}
	const burst = 300
	write(t, d, first, first+burst, strings.Repeat("x", 64<<10))
	d.HandOver()
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() {
			var err error
			if newer[i], err = Connect(t, d.URL, PeerOptions{Key: keys[i]}); err != nil {
				t.Error(err)
			}
		})
	}
	open()
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	written = first + burst + 10
	write(t, d, first+burst, written, "")
	for i := range keys {
		mustFollow(t, d, received(t, []*Peer{older[i], newer[i]}, written))
		within(t, older[i].done, func() {})
		if _, closed := older[i].Ended(); closed != nil &&
			closed.Code == wsproto.DuplicateConnection.Code {
			displaced++
		}
		newer[i].Terminate()
	}
	d.Alone()
	return written, displaced
}

// begin makes the data log that flow and write append to.
func begin(t *testing.T, d *Distributor) {
	t.Helper()
	for name, text := range map[string]string{"receipt-log1.txt": "",
		"active-receipt-log.txt": "receipt-log1.txt"} {
		if err := os.WriteFile(filepath.Join(d.Logs, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// write appends receipts {"n":from} … {"n":to-1}, with more text in each.
func write(t *testing.T, d *Distributor, from, to int, more string) {
	t.Helper()
	var lines strings.Builder
	for n := from; n < to; n++ {
		fmt.Fprintf(&lines, "{\"n\":%d,\"more\":%q}\n", n, more)
	}
	f, err := os.OpenFile(filepath.Join(d.Logs, "receipt-log1.txt"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(lines.String()); err != nil {
		t.Fatal(err)
	}
}

// TestTakeoverOfADeadConnection checks that a newer connection waits only a moment for an older one
// that answers nothing, and that the messages of the older one are sent again.
func TestTakeoverOfADeadConnection(t *testing.T) {
	t.Parallel()
	d := New(t, Settings{"LOG_LEVEL": "debug"})
	end := flow(t, d)
	d.Start()
	key := newKey(t)
	dead := takeovers(t, d, key, 0, PeerOptions{Silent: true})[0]
	Until(t, "it gets records", func() bool { return len(dead.Texts()) > 100 }, nil)
	peers := takeovers(t, d, key, 2, PeerOptions{})
	written := end()
	got := received(t, peers, written)
	mustFollow(t, d, got)
	if first := numbers(t, dead)[0]; got[0] != first {
		t.Errorf("the newer connection begins with %d, want %d", got[0], first)
	}
	d.Stop()
}

// TestTakeoverStorm makes many connections of one key at a time. All but the newest must be refused
// or closed, and the newest must get all that the others had not.
func TestTakeoverStorm(t *testing.T) {
	t.Parallel()
	d := New(t, Settings{"LOG_LEVEL": "debug"})
	end := flow(t, d)
	d.Start()
	key := newKey(t)
	first := takeovers(t, d, key, 0, PeerOptions{})[0]
	Until(t, "it gets records", func() bool { return len(first.Texts()) > 3 }, nil)
	var mu sync.Mutex
	var peers []*Peer
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			p, err := Connect(t, d.URL, PeerOptions{Key: key})
			if err != nil {
				return // displaced while it waited
			}
			mu.Lock()
			defer mu.Unlock()
			peers = append(peers, p)
		})
	}
	all.Wait()
	Until(t, "one is left", func() bool {
		n := 0
		for _, p := range peers {
			if ended, _ := p.Ended(); !ended {
				n++
			}
		}
		return n == 1
	}, nil)
	written := end()
	var got []int
	Until(t, "the last record has come", func() bool {
		got = numbers(t, first)
		for _, p := range peers {
			got = append(got, numbers(t, p)...)
		}
		slices.Sort(got)
		return got[len(got)-1] == written-1
	}, nil)
	mustFollow(t, d, got)
	d.Stop()
}
