package supervisor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"distributor/wsproto"
)

func TestWorkerKilled(t *testing.T) {
	f := start(t, "", 2, 2, 2)
	f.wantLayout("1:0 2:0")
	a, b, c := f.mustConnect("a"), f.mustConnect("b"), f.mustConnect("c")
	killed := f.pid(1)
	f.signal(1, unix.SIGKILL)
	a.want(t, "hello ")
	b.want(t, "hello ")
	f.wantLayout("1:0 2:1")
	if f.pid(1) == killed || !c.open() {
		t.Fatal("not replaced, or the other worker noticed")
	}
	snap := f.Snapshot()
	if snap.Disconnects[wsproto.WorkerLost.Name] != 2 || snap.Failures[FailedExit] != 1 ||
		snap.Backoff.Failures != 1 || snap.Backoff.Err == nil {
		t.Fatalf("%+v", snap)
	}
	got := fmt.Sprint(f.closes())
	if !strings.Contains(got, "a worker_lost") || !strings.Contains(got, "b worker_lost") {
		t.Fatalf("OnClosed got %s", got)
	}
	f.mustConnect("a") // its older client is forgotten, so this is no duplicate
	f.wantLayout("1:1 2:1")
	f.wantClosed(wsproto.DuplicateConnection, 0)
}

// A worker that is not a warm one is not replaced when it dies.
func TestNoReplacementWithoutNeed(t *testing.T) {
	f := start(t, "", 1, 2, 1)
	f.mustConnect("a")
	b := f.mustConnect("b")
	f.signal(2, unix.SIGKILL)
	b.want(t, "hello ")
	f.wantLayout("1:1")
	eventually(t, "the back-off is over",
		func() bool { return time.Now().After(f.Snapshot().Backoff.Until.Add(5 * beat)) })
	if n := f.Snapshot().Spawns; n != 2 {
		t.Fatalf("%d starts", n)
	}
}

func TestCrashLoop(t *testing.T) {
	for _, warm := range []int{1, 4} {
		t.Run(fmt.Sprint("warm=", warm), func(t *testing.T) {
			f := prepare(t, "crash", warm, 4, 1)
			f.times.held = time.Minute
			began := time.Now()
			if err := f.Start(t.Context()); !errors.Is(err, ErrNoWorker) {
				t.Fatalf("got %v", err)
			}
			eventually(t, "four failures in a row",
				func() bool { return f.Snapshot().Backoff.Failures >= 4 })
			// Backoffs of 100, 200 and 400 ms, at least four fifths of each.
			if took := time.Since(began); warm == 1 && took < 560*time.Millisecond {
				t.Fatalf("after %v already", took)
			}
			// The warm workers start at once, then one at a time.
			if snap := f.Snapshot(); snap.Spawns > uint64(warm+snap.Backoff.Failures) {
				t.Fatalf("%+v", snap)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			if _, err := f.connect(ctx, Client{Key: "a"}); !errors.Is(err, ErrNoWorker) ||
				!errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("got %v", err)
			}
			if f.Snapshot().Ready() != 0 || f.Snapshot().Refusals[RefusedLate] != 1 ||
				!strings.Contains(f.log(), "told to crash") {
				t.Fatalf("%+v\n%s", f.Snapshot(), f.log())
			}
		})
	}
}

// While starts are in backoff, waiting clients and new ones are refused. When the backoff is over,
// the next client lets a worker start.
func TestBackoffRefusesClients(t *testing.T) {
	for _, warm := range []int{0, 1} {
		t.Run(fmt.Sprint("warm=", warm), func(t *testing.T) {
			f := prepare(t, "crash", warm, 1, 10)
			f.times.held = 150 * time.Millisecond
			_ = f.Start(t.Context())
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			for range 2 {
				spawns := f.Snapshot().Spawns
				if _, err := f.connect(ctx, Client{Key: "a"}); !errors.Is(err, ErrNoWorker) ||
					!errors.Is(err, errHeldBack) || ctx.Err() != nil {
					t.Fatalf("got %v", err)
				}
				if snap := f.Snapshot(); snap.Backoff.Failures < 2 || snap.Waiting != 0 {
					t.Fatalf("%+v", snap)
				}
				eventually(t, "the pause is about over",
					func() bool { return time.Until(f.Snapshot().Backoff.Until) < f.times.held })
				if _, err := f.connect(ctx, Client{Key: "b"}); !errors.Is(err, errHeldBack) ||
					f.Snapshot().Spawns == spawns {
					t.Fatalf("got %v after %d starts", err, spawns)
				}
			}
		})
	}
}

func TestNoSuchProgram(t *testing.T) {
	f := prepare(t, "", 1, 1, 1)
	f.command = []string{"/no/such/program"}
	if err := f.Start(t.Context()); !errors.Is(err, ErrNoWorker) || !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("got %v", err)
	}
	if f.Snapshot().Failures[FailedSpawn] == 0 {
		t.Fatalf("%+v", f.Snapshot())
	}
}

func TestBadStarts(t *testing.T) {
	for mode, c := range map[string]struct {
		ready time.Duration
		why   Failure
	}{
		"not-ready": {200 * time.Millisecond, FailedStart},
		"nonsense":  {patience, FailedSpeech}, // on a busy machine a process takes seconds to send it
	} {
		t.Run(mode, func(t *testing.T) {
			f := prepare(t, mode, 1, 1, 1)
			f.times.ready = c.ready
			if err := f.Start(t.Context()); !errors.Is(err, ErrNoWorker) {
				t.Fatalf("got %v", err)
			}
			if f.Snapshot().Failures[c.why] == 0 {
				t.Fatalf("%+v", f.Snapshot())
			}
		})
	}
}

// A worker that still reports but reads nothing is killed, and the clients that it was not given go
// to another worker.
func TestWorkerThatReadsNothing(t *testing.T) {
	f := prepare(t, "deaf@1", 2, 2, 1000)
	f.times.send = 300 * time.Millisecond
	if err := f.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.wantLayout("1:0 2:0")
	deaf := f.pid(1)
	var wg sync.WaitGroup
	for i := range 150 { // more than fit into the channel
		wg.Go(func() {
			if _, err := f.connect(t.Context(), Client{Key: fmt.Sprint(i),
				Early: make([]byte, 32<<10)}); err != nil {
				t.Errorf("connect %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	eventually(t, "it is replaced", func() bool { return f.Snapshot().Ready() == 2 })
	snap := f.Snapshot()
	if lost := snap.Disconnects[wsproto.WorkerLost.Name]; snap.Failures[FailedSend] == 0 ||
		lost == 0 || lost == 150 || snap.Handoffs != 150 || f.pid(1) == deaf {
		t.Fatalf("%+v", snap)
	}
	f.stop(100 * time.Millisecond) // the worker does not read the Drain either
}

// A stopped worker is killed because it is silent.
func TestHungWorker(t *testing.T) {
	f := start(t, "", 1, 1, 2)
	a := f.mustConnect("a")
	f.pause(1)
	b := f.mustHand("b") // the channel takes it, but the worker does not run
	a.want(t, "hello ")
	b.want(t, "")
	f.wantLayout("1:0")
	if snap := f.Snapshot(); snap.Failures[FailedSilent] != 1 ||
		snap.Disconnects[wsproto.WorkerLost.Name] != 2 {
		t.Fatalf("%+v", snap)
	}
}

// A silent worker that waits for a processor is kept, until it waits no more, or for too long.
func TestStarvedWorkerIsKept(t *testing.T) {
	began := time.Now()
	f := prepare(t, "", 1, 1, 2)
	f.times.silentChecks = 5
	f.cpuWait = func(int) (time.Duration, error) { return time.Since(began), nil }
	if err := f.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	a := f.mustConnect("a")
	pid := f.pid(1)
	f.pause(1)
	time.Sleep(f.times.check * time.Duration(f.times.silentChecks*starvedTimes/2))
	if snap := f.Snapshot(); snap.Failures[FailedSilent] != 0 || f.pid(1) != pid {
		t.Fatalf("a worker without a processor was killed: %+v", snap)
	}
	eventually(t, "it is killed in the end", func() bool {
		return f.Snapshot().Failures[FailedSilent] == 1
	})
	a.want(t, "hello ")
}

// If a worker dies, only the clients that it was given are lost.
func TestWorkerDiesUnderConnects(t *testing.T) {
	f := start(t, "crash-soon@1", 3, 3, 100)
	f.wantLayout("1:0 2:0 3:0")
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			if _, err := f.connect(t.Context(), Client{Key: fmt.Sprint(i)}); err != nil {
				t.Errorf("connect %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	eventually(t, "books that balance", func() bool {
		snap := f.Snapshot()
		return snap.Handoffs == 40 &&
			uint64(snap.Clients)+snap.Disconnects[wsproto.WorkerLost.Name] == 40 &&
			snap.Failures[FailedExit] > 0
	})
}

// The newest client of a key stays even if the worker of the older one dies at the same time.
func TestDuplicateWhileWorkerDies(t *testing.T) {
	f := start(t, "", 2, 2, 1)
	f.wantLayout("1:0 2:0")
	f.mustConnect("x")
	older := f.mustConnect("a") // on worker 2
	f.pause(2)
	if err := f.Configure(Limits{Warm: 1, Max: 3, MaxClients: 2}); err != nil {
		t.Fatal(err)
	}
	newer := f.mustConnect("a") // on worker 1
	f.signal(2, unix.SIGKILL)
	older.want(t, "hello ")
	f.wantLayout("1:2")
	f.wantClosed(wsproto.WorkerLost, 1)
	if !newer.open() || !f.Disconnect("a", wsproto.PingTimeout) {
		t.Fatal("the newer client ended with the older one")
	}
	newer.want(t, "hello close ping_timeout")
}

func TestExpiry(t *testing.T) {
	f := prepare(t, "", 1, 1, 10)
	f.times.check = time.Minute // so that only the timer can do it
	if err := f.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	soon, never := Client{Key: "soon", Expires: time.Now().Add(150 * time.Millisecond)}, Client{Key: "never"}
	c, err := f.connect(t.Context(), soon)
	if err != nil {
		t.Fatal(err)
	}
	n, err := f.connect(t.Context(), never)
	if err != nil {
		t.Fatal(err)
	}
	c.want(t, "hello close subscription_expired")
	if time.Now().Before(soon.Expires) || time.Since(soon.Expires) > f.times.check/2 {
		t.Fatalf("closed %v after its end", time.Since(soon.Expires))
	}
	late, err := f.connect(t.Context(), soon) // upstream bug 18: it reconnects
	if err != nil {
		t.Fatal(err)
	}
	late.want(t, "hello close subscription_expired")
	if !n.open() {
		t.Fatal("one without an end was closed")
	}

	// A reload. Because of upstream bug 19, some expire that are not connected.
	other := f.mustConnect("other")
	f.SetExpiry(func(key string) time.Time {
		if key == "never" {
			return time.Now().Add(-time.Hour)
		}
		return time.Time{}
	})
	n.want(t, "hello close subscription_expired")
	if !other.open() {
		t.Fatal("one without an end was closed")
	}
	// A request that was admitted before the reload connects after it.
	stale := f.mustConnect("never")
	stale.want(t, "hello close subscription_expired")
	f.SetExpiry(func(string) time.Time { return time.Now().Add(100 * time.Millisecond) })
	other.want(t, "hello close subscription_expired")
	f.wantClosed(wsproto.SubscriptionExpired, 5)
}

// If the clock is set forward, clients that have expired by it are closed.
func TestExpiryWhenTheClockSteps(t *testing.T) {
	f := prepare(t, "", 1, 1, 10)
	var mu sync.Mutex
	step := time.Duration(0)
	f.wall = func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return time.Now().Add(step)
	}
	if err := f.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, err := f.connect(t.Context(), Client{Key: "a", Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	d, err := f.connect(t.Context(), Client{Key: "b", Expires: time.Now().Add(3 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	step = 2 * time.Hour
	mu.Unlock()
	c.want(t, "hello close subscription_expired")
	if !d.open() {
		t.Fatal("closed before its time")
	}
	mu.Lock()
	step = 4 * time.Hour
	mu.Unlock()
	d.want(t, "hello close subscription_expired") // the next expiry is found
}

func TestStop(t *testing.T) {
	f := start(t, "", 1, 2, 2)
	var cs []*collector
	for i := range 3 {
		cs = append(cs, f.mustConnect(fmt.Sprint(i)))
	}
	f.stop(10 * time.Second)
	if pids := children(t); len(pids) > 0 {
		t.Fatalf("left: %v", pids)
	}
	for _, c := range cs {
		c.want(t, "hello close server_shutdown")
	}
	if _, err := f.connect(t.Context(), Client{Key: "late"}); !errors.Is(err, ErrStopping) {
		t.Fatalf("got %v", err)
	}
	snap := f.Snapshot()
	if snap.Disconnects[wsproto.ServerShutdown.Name] != 3 || snap.Ended != 2 || snap.Clients != 0 ||
		len(f.closes()) != 3 || snap.Sent.SentBytes != 0 {
		t.Fatalf("%+v", snap)
	}
	f.stop(time.Second) // does nothing
}

func TestStopWithStuckWorkers(t *testing.T) {
	f := start(t, "stubborn@1", 3, 3, 1)
	f.wantLayout("1:0 2:0 3:0")
	a, b, c := f.mustConnect("a"), f.mustConnect("b"), f.mustConnect("c")
	f.pause(2)
	began := time.Now()
	f.stop(300 * time.Millisecond)
	if took := time.Since(began); took < 250*time.Millisecond || took > patience {
		t.Fatalf("took %v", took)
	}
	a.want(t, "hello ")
	b.want(t, "hello ")
	c.want(t, "hello close server_shutdown")
	if snap := f.Snapshot(); snap.Disconnects[wsproto.WorkerLost.Name] != 2 || len(snap.Workers) != 0 {
		t.Fatalf("%+v", snap)
	}
}

// Stop ends the wait of clients, and starts in progress.
func TestStopWhileStarting(t *testing.T) {
	f := prepare(t, "not-ready", 2, 2, 2)
	started, connected := make(chan error), make(chan error)
	go func() { started <- f.Start(t.Context()) }()
	go func() {
		_, err := f.connect(t.Context(), Client{Key: "a"})
		connected <- err
	}()
	eventually(t, "a start and a wait", func() bool {
		s := f.Snapshot()
		return s.Waiting == 1 && s.Spawns > 0
	})
	go f.stop(10 * time.Second)
	for _, outcome := range []chan error{started, connected} {
		if err := <-outcome; !errors.Is(err, ErrStopping) {
			t.Fatalf("got %v", err)
		}
	}
}

// A retired worker that does not end is killed.
func TestStubbornRetirement(t *testing.T) {
	f := prepare(t, "stubborn@2", 1, 2, 1)
	f.times.drain = 200 * time.Millisecond
	if err := f.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.mustConnect("a")
	f.mustConnect("b").conn.Close()
	eventually(t, "it is killed", func() bool { return f.Snapshot().Failures[FailedDrain] == 1 })
	f.wantLayout("1:1")
}

func TestWorkersOutput(t *testing.T) {
	f := start(t, "say", 1, 1, 1)
	f.stop(10 * time.Second)
	log := f.log()
	for _, want := range []string{`level=WARN msg=hello worker=1 n=1`, `level=ERROR msg="worker output: ` + strings.Repeat("x", maxLine) + "\" worker=1\n", `level=ERROR msg="worker output: to standard output" worker=1`, `level=INFO msg="worker says too much: lines left out"`} {
		if !strings.Contains(log, want) {
			t.Errorf("missing %q in\n%s", want[:min(len(want), 100)], log)
		}
	}
	if n := strings.Count(log, "flood"); n > 2*linesPerSecond {
		t.Errorf("%d lines of a flood", n)
	}
}

// Workers end with a primary that is killed, and do not get the SIGINT of its terminal.
func TestPrimaryKilled(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	primary := exec.Command(exe)
	primary.Env = []string{roleVar + "=primary"}
	out, err := primary.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := primary.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if group, err := unix.Getpgid(pid); err != nil || group != pid {
		t.Errorf("the worker is in process group %d, %v", group, err)
	}
	if err := primary.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = primary.Wait()
	eventually(t, "the worker has gone", func() bool {
		// It may stay a zombie if no process adopts it.
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(b), ") Z ")
	})
}

// testPrimary is a primary that prints its worker's pid and waits to be killed. The worker hangs
// before it reads its channel again, so only the signal can end it.
func testPrimary() {
	exe, _ := os.Executable()
	s, err := New(Options{
		Command: []string{exe}, Env: workerEnv("not-ready"),
		Log:    slog.New(slog.NewTextHandler(io.Discard, nil)),
		Limits: Limits{Warm: 1, Max: 1, MaxClients: 1},
	})
	if err != nil {
		panic(err)
	}
	go func() { _ = s.Start(context.Background()) }()
	for {
		if ws := s.Snapshot().Workers; len(ws) > 0 && ws[0].PID != 0 {
			fmt.Println(ws[0].PID)
			select {}
		}
		time.Sleep(time.Millisecond)
	}
}
