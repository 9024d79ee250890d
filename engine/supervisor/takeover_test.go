package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"distributor/wsproto"
)

// patient starts a supervisor that does not kill a stopped worker, and lets a newer connection wait
// for within.
func patient(t *testing.T, within time.Duration, warm, max, maxClients int) *fixture {
	t.Helper()
	f := prepare(t, "", warm, max, maxClients)
	f.times.silentChecks, f.times.send, f.times.takeover = 1<<20, time.Hour, within
	if err := f.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return f
}

// takeover is a Connect that runs in the background.
type takeover struct {
	outcome chan error
	client  *collector
	cancel  context.CancelFunc
}

func (f *fixture) takeOver(cl Client) *takeover {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.t.Context())
	o := &takeover{outcome: make(chan error, 1), cancel: cancel}
	known := f.lastOf(cl.Key)
	begun := make(chan struct{})
	go func() {
		var err error
		o.client, err = f.connect(ctx, cl)
		o.outcome <- err
		close(begun)
	}()
	eventually(f.t, "the newer connection is known", func() bool {
		select {
		case <-begun:
			return true
		default:
			return f.lastOf(cl.Key) != known
		}
	})
	return o
}

func (f *fixture) lastOf(key string) uint64 {
	f.Supervisor.mu.Lock()
	defer f.Supervisor.mu.Unlock()
	if c := f.byKey[key]; c != nil {
		return c.id
	}
	return 0
}

func (o *takeover) want(t *testing.T, want error) {
	t.Helper()
	select {
	case err := <-o.outcome:
		if !errors.Is(err, want) {
			t.Fatalf("it ended with %v, want %v", err, want)
		}
	case <-time.After(patience):
		t.Fatalf("it still waits, want %v", want)
	}
}

func (f *fixture) place(key string) (last uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.places[key]); n > 0 {
		last = f.places[key][n-1]
	}
	return last
}

// A newer connection begins where the older one has ended, also on another worker. The older one's
// worker is stopped meanwhile, so that its end cannot come earlier.
func TestTakeoverWaitsForTheEnd(t *testing.T) {
	for _, workers := range []int{1, 2} {
		t.Run(fmt.Sprint(workers, " workers"), func(t *testing.T) {
			f := patient(t, time.Hour, workers, workers, 1)
			eventually(t, "all are ready", func() bool { return f.Snapshot().Ready() == workers })
			if workers == 2 {
				other := f.mustConnect("on the first")
				defer f.wantLayout("1:1 2:0")
				defer other.conn.Close()
			}
			older := f.mustConnect("a") // on the last worker
			if workers == 2 {
				f.Disconnect("on the first", wsproto.PingTimeout)
				f.wantLayout("1:0 2:1")
			}
			f.pause(workers)
			newer := f.takeOver(Client{Key: "a", From: 3, Resume: func() uint64 { return f.place("a") }})
			if c := f.mustHold("a"); c.worker == nil || c.worker.number != 1 {
				t.Error("the newer connection has no slot")
			}
			f.signal(workers, unix.SIGCONT)
			newer.want(t, nil)
			older.want(t, "hello close duplicate_connection")
			eventually(t, "the newer one has confirmed", func() bool { return f.place("a") == 42+7 })
		})
	}
}

// mustHold returns the client of key, which waits for an older one.
func (f *fixture) mustHold(key string) *client {
	f.t.Helper()
	f.Supervisor.mu.Lock()
	defer f.Supervisor.mu.Unlock()
	c := f.byKey[key]
	if c == nil || c.phase != held {
		f.t.Fatalf("the client of %s does not wait", key)
	}
	return c
}

// A newer connection waits for an older one that does not end only up to the limit, and later ones
// do not wait again.
func TestTakeoverWithoutAnEnd(t *testing.T) {
	f := patient(t, 300*time.Millisecond, 2, 2, 3)
	f.wantLayout("1:0 2:0")
	f.mustConnect("a")
	f.pause(1)
	began := time.Now()
	for range 3 {
		f.mustHand("a")
	}
	if took := time.Since(began); took < f.times.takeover {
		t.Errorf("the older connection cannot end, and the newer one waited for it for %v", took)
	}
	f.signal(1, unix.SIGCONT)
	f.wantClosed(wsproto.DuplicateConnection, 3)
	f.wantLayout("1:1 2:0")
}

// Of many connections that come while the older one ends, only the newest waits. The others are
// refused at once, and nothing of them is left.
func TestTakeoverStorm(t *testing.T) {
	f := patient(t, time.Hour, 1, 1, 1)
	f.mustConnect("a")
	f.pause(1)
	waits := f.takeOver(Client{Key: "a"})
	for range 200 {
		next := f.takeOver(Client{Key: "a"})
		waits.want(t, ErrClosed)
		waits = next
		if snap := f.Snapshot(); snap.Clients != 2 || snap.Waiting != 0 || snap.Workers[0].Queue > 1 {
			t.Fatalf("%+v", snap)
		}
	}
	f.signal(1, unix.SIGCONT)
	waits.want(t, nil)
	f.wantLayout("1:1")
	if snap := f.Snapshot(); snap.Disconnects[wsproto.DuplicateConnection.Name] != 1 ||
		snap.Refusals[RefusedClosed] != 200 {
		t.Errorf("%+v", snap)
	}
}

// The position that the older connection has confirmed counts, also if the newer one gives up
// before the older one has ended.
func TestTakeoverGivenUp(t *testing.T) {
	f := patient(t, time.Hour, 1, 1, 2)
	older := f.mustConnect("a")
	f.pause(1)
	newer := f.takeOver(Client{Key: "a"})
	newer.cancel()
	newer.want(t, context.Canceled)
	if f.Disconnect("a", wsproto.PingTimeout) {
		t.Error("the older connection is closed twice")
	}
	f.signal(1, unix.SIGCONT)
	older.want(t, "hello close duplicate_connection")
	eventually(t, "its last word is known", func() bool { return f.place("a") == 42 })
	f.wantLayout("1:0")
	f.mustConnect("a")
}

// The death of workers, and a stop, end the wait.
func TestTakeoverWhileWorkersEnd(t *testing.T) {
	f := patient(t, time.Hour, 2, 2, 1)
	f.wantLayout("1:0 2:0")
	f.mustConnect("a")
	f.mustConnect("b") // its newer connection takes the slot of the older one, on worker 1
	f.pause(1)
	newer := f.takeOver(Client{Key: "a"})
	f.mustHold("a")
	f.signal(1, unix.SIGKILL)
	newer.want(t, nil)
	f.wantClosed(wsproto.WorkerLost, 1)
	f.wantLayout("1:1 2:1")

	f.pause(2)
	newer = f.takeOver(Client{Key: "b"})
	f.mustHold("b")
	f.stop(time.Second)
	newer.want(t, ErrStopping)
}

// A connection that another process may have is waited for too, and its key is asked for once.
func TestTakeoverFromElsewhere(t *testing.T) {
	f := patient(t, time.Hour, 1, 1, 3)
	turn := make(chan struct{})
	var asked []string
	f.Supervisor.elsewhere = func(key string) <-chan struct{} {
		asked = append(asked, key)
		if key == "a" {
			return turn
		}
		return nil
	}
	f.mustConnect("b")
	newer := f.takeOver(Client{Key: "a"})
	newest := f.takeOver(Client{Key: "a", Resume: func() uint64 { return 1000 }})
	newer.want(t, ErrClosed)
	f.mustHold("a")
	close(turn)
	newest.want(t, nil)
	eventually(t, "it begins where it is said then", func() bool { return f.place("a") == 1007 })
	if !f.Displace("a") || f.Displace("c") {
		t.Error("the client of the key is not known")
	}
	newest.client.want(t, "hello close duplicate_connection")
	if !slices.Equal(asked, []string{"b", "a", "a"}) {
		t.Errorf("asked for %v", asked)
	}
}

// If the subscription of a client ends while it is held, the client is closed when it begins.
func TestExpiryWhileHeld(t *testing.T) {
	f := prepare(t, "", 1, 1, 2)
	f.times.silentChecks, f.times.send, f.times.takeover = 1<<20, time.Hour, time.Hour
	var step atomic.Int64
	f.wall = func() time.Time { return time.Now().Add(time.Duration(step.Load())) }
	if err := f.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.mustConnect("a")
	f.pause(1)
	newer := f.takeOver(Client{Key: "a", Expires: time.Now().Add(time.Hour)})
	f.mustHold("a")
	step.Store(int64(2 * time.Hour))
	eventually(t, "its time has come", func() bool {
		f.Supervisor.mu.Lock()
		defer f.Supervisor.mu.Unlock()
		return f.nextExpiry.IsZero()
	})
	f.signal(1, unix.SIGCONT)
	newer.want(t, nil)
	newer.client.want(t, "hello close subscription_expired")
}
