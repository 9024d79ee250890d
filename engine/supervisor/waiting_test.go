package supervisor

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"distributor/engine/handoff"
	"distributor/wsproto"
)

// revoke ends the subscription of a key, as a reload does.
func (f *fixture) revoke(revoked string) {
	f.SetExpiry(func(key string) time.Time {
		if key == revoked {
			return time.Now().Add(-time.Hour)
		}
		return time.Time{}
	})
}

// A client that waits for a slot is refused when its subscription ends, by the clock or by a
// reload. The others continue to wait.
func TestSubscriptionEndsWhileWaiting(t *testing.T) {
	var step atomic.Int64
	for name, end := range map[string]func(f *fixture){
		"expired": func(*fixture) { step.Store(int64(2 * time.Hour)) },
		"revoked": func(f *fixture) { f.revoke("a") },
	} {
		t.Run(name, func(t *testing.T) {
			step.Store(0)
			f := prepare(t, "not-ready", 0, 1, 4)
			f.times.ready = time.Hour
			f.wall = func() time.Time { return time.Now().Add(time.Duration(step.Load())) }
			if err := f.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			a := f.takeOver(Client{Key: "a", Expires: time.Now().Add(time.Hour)})
			b := f.takeOver(Client{Key: "b"})
			if n := f.Snapshot().Waiting; n != 2 {
				t.Fatalf("%d wait", n)
			}
			end(f)
			a.want(t, ErrClosed)
			if n := f.Snapshot().Waiting; n != 1 {
				t.Errorf("%d wait afterwards", n)
			}
			b.cancel()
			b.want(t, ErrNoWorker)
		})
	}
}

// A client whose subscription is revoked while it is held does not stay connected.
func TestRevokedWhileHeld(t *testing.T) {
	f := patient(t, time.Hour, 1, 1, 2)
	f.mustConnect("a")
	f.pause(1)
	newer := f.takeOver(Client{Key: "a"})
	f.mustHold("a")
	f.revoke("a")
	f.signal(1, unix.SIGCONT)
	newer.want(t, nil)
	newer.client.want(t, "hello close subscription_expired")
	f.wantLayout("1:0")
}

// The slot of a connection that has ended is given to a waiting client before OnClosed is called.
func TestSlotOfAnEndedClient(t *testing.T) {
	f := prepare(t, "not-ready@2", 1, 2, 1)
	f.times.ready = time.Hour
	waiting := make(chan int, 1)
	f.onClosed = func(Client, handoff.Closed) {
		select {
		case waiting <- f.Snapshot().Waiting:
		default: // the end of a later connection
		}
	}
	if err := f.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	a := f.mustConnect("a")
	b := f.takeOver(Client{Key: "b"})
	if n := f.Snapshot().Waiting; n != 1 {
		t.Fatalf("%d wait", n)
	}
	a.conn.Close()
	if n := <-waiting; n != 0 {
		t.Errorf("%d still wait", n)
	}
	b.want(t, nil)
	f.wantLayout("1:1")
}

// stuff stops worker 1 and hands it clients until its channel is full, so that later messages stay
// in its queue. It returns the results of their Connects.
func (f *fixture) stuff() (outcomes chan error, n int) {
	f.t.Helper()
	f.pause(1)
	outcomes, n = make(chan error, 100), 100
	for i := range n {
		go func() {
			_, err := f.connect(f.t.Context(), Client{Key: fmt.Sprint(i), Early: make([]byte, 32<<10)})
			outcomes <- err
		}()
	}
	eventually(f.t, "all are known", func() bool { return f.Snapshot().Clients >= n })
	eventually(f.t, "the channel is full", func() bool {
		before := f.Snapshot()
		time.Sleep(10 * beat)
		after := f.Snapshot()
		return after.Workers[0].Queue == before.Workers[0].Queue && after.Handoffs == before.Handoffs
	})
	return outcomes, n
}

// A client that was told to close before its worker had it is not assigned to another worker when
// that worker dies.
func TestClosedBeforeItsWorkerDies(t *testing.T) {
	f := patient(t, time.Hour, 1, 1, 1000)
	outcomes, n := f.stuff()
	closed := f.takeOver(Client{Key: "closed"})
	if !f.Disconnect("closed", wsproto.SubscriptionExpired) {
		t.Fatal("it is not known")
	}
	f.signal(1, unix.SIGKILL)
	closed.want(t, ErrClosed)
	for range n {
		if err := <-outcomes; err != nil {
			t.Error(err)
		}
	}
	if f.Disconnect("closed", wsproto.SubscriptionExpired) {
		t.Error("it is known again")
	}
}

// A message of a worker resets its count of silent checks.
func TestMessageEndsTheSilence(t *testing.T) {
	f := prepare(t, "", 1, 1, 1)
	f.times.silentChecks = 1 << 30
	if err := f.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	quiet := func() *int { return &f.workers[0].silentChecks }
	const long = 1 << 20
	f.Supervisor.mu.Lock()
	*quiet() = long
	f.Supervisor.mu.Unlock()
	eventually(t, "it is heard", func() bool {
		f.Supervisor.mu.Lock()
		defer f.Supervisor.mu.Unlock()
		return *quiet() < long
	})
}

// If settings change often while a worker reads nothing, only the newest are queued for it.
func TestSettingsOfAWorkerThatHangs(t *testing.T) {
	f := patient(t, time.Hour, 1, 1, 10)
	f.pause(1)
	const changes = 5000 // more than the channel holds
	limits := Limits{Warm: 1, Max: 1, MaxClients: 10}
	for i := range changes {
		limits.Settings.PingIntervalMS = int64(i + 1)
		if err := f.Configure(limits); err != nil {
			t.Fatal(err)
		}
		f.SetCompressed(fmt.Sprint(i))
		if n := f.Snapshot().Workers[0].Queue; n > 1 {
			t.Fatalf("%d wait after %d changes", n, i+1)
		}
	}
	f.signal(1, unix.SIGCONT)
	eventually(t, "it has the newest", func() bool {
		s := f.Snapshot().Workers[0].Stats
		return s.Sends == changes && s.CompressedBytes == uint64(len(fmt.Sprint(changes-1)))
	})
}
