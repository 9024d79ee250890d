package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"distributor/engine/handoff"
	"distributor/wsproto"
)

// patience is the time limit for what must happen.
const patience = time.Minute

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// fixture is a supervisor that records its callbacks and its log.
type fixture struct {
	*Supervisor
	t testing.TB

	mu     sync.Mutex
	closed []string            // "key name" of each OnClosed
	places map[string][]uint64 // by key, the offset of each OnPosition
	said   strings.Builder
}

func (f *fixture) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.said.Write(p)
}

func (f *fixture) log() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.said.String()
}

func (f *fixture) closes() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.closed)
}

// prepare returns a supervisor that is not started, with time limits for tests. The test ends with
// Stop and a check that nothing is left.
func prepare(t testing.TB, mode string, warm, max, maxClients int) *fixture {
	t.Helper()
	f := &fixture{t: t, places: make(map[string][]uint64)}
	// The runtime opens its own descriptors with the first socket, and keeps them.
	first, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	before := descriptors(t)
	goroutines := runtime.NumGoroutine()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f.Supervisor, err = New(Options{
		Command: []string{exe}, Env: workerEnv(mode),
		Log: slog.New(slog.NewTextHandler(f, nil)),
		OnClosed: func(c Client, closed handoff.Closed) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.closed = append(f.closed, c.Key+" "+closed.Disconnect)
		},
		OnPosition: func(key string, offset uint64, _ bool) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.places[key] = append(f.places[key], offset)
		},
		Limits: Limits{Warm: warm, Max: max, MaxClients: maxClients},
	})
	if err != nil {
		t.Fatal(err)
	}
	f.times.check, f.times.silentChecks, f.times.linger = beat, 50, 100*time.Millisecond
	t.Cleanup(func() {
		f.stop(10 * time.Second)
		eventually(t, "no child is left", func() bool { return len(children(t)) == 0 })
		eventually(t, "no descriptor is left", func() bool { return descriptors(t) <= before })
		eventually(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines })
		if t.Failed() {
			t.Log(f.log())
		}
	})
	return f
}

func start(t testing.TB, mode string, warm, max, maxClients int) *fixture {
	t.Helper()
	f := prepare(t, mode, warm, max, maxClients)
	if err := f.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) stop(within time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	f.Stop(ctx, 0, within-min(3*time.Second, within/2))
}

func descriptors(t testing.TB) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func children(t testing.TB) []string {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	var pids []string
	for _, task := range tasks {
		b, _ := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
		pids = append(pids, strings.Fields(string(b))...)
	}
	return pids
}

// socket returns both ends of a real TCP connection.
func socket(t testing.TB) (client, server *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

// hand does what the gateway does with a socket: it hands it over and closes its own.
func (f *fixture) hand(ctx context.Context, c Client, server *net.TCPConn) error {
	defer server.Close()
	raw, err := server.SyscallConn()
	if err != nil {
		return err
	}
	var outcome error
	if err := raw.Control(func(fd uintptr) { outcome = f.Connect(ctx, c, int(fd)) }); err != nil {
		return err
	}
	return outcome
}

// collector is the client's end of a connection.
type collector struct {
	conn    *net.TCPConn
	greeted chan struct{} // closed when the worker's response has come, or at the end
	ended   chan struct{}
	text    []byte // everything that was sent to it, once it has ended
}

// connect hands over a new connection. The collector must be closed, by the test or by the worker,
// before the test ends.
func (f *fixture) connect(ctx context.Context, cl Client) (*collector, error) {
	f.t.Helper()
	client, server := socket(f.t)
	cl.Response = []byte("hello ")
	c := &collector{
		conn: client, greeted: make(chan struct{}), ended: make(chan struct{}),
		text: make([]byte, len(cl.Response)),
	}
	go func() {
		defer close(c.ended)
		n, _ := io.ReadFull(client, c.text)
		close(c.greeted)
		rest, _ := io.ReadAll(client)
		c.text = append(c.text[:n], rest...)
		client.Close()
	}()
	f.t.Cleanup(func() { client.Close(); <-c.ended })
	return c, f.hand(ctx, cl, server)
}

// mustConnect waits until the worker serves the connection.
func (f *fixture) mustConnect(key string) *collector {
	f.t.Helper()
	c := f.mustHand(key)
	<-c.greeted
	return c
}

// mustHand hands over a connection without waiting for the worker's response.
func (f *fixture) mustHand(key string) *collector {
	f.t.Helper()
	c, err := f.connect(f.t.Context(), Client{Key: key})
	if err != nil {
		f.t.Fatalf("connect %s: %v", key, err)
	}
	return c
}

// open tells whether the connection is still open.
func (c *collector) open() bool {
	select {
	case <-c.ended:
		return false
	default:
		return true
	}
}

// want waits for the end of the connection, and checks what was sent.
func (c *collector) want(t testing.TB, text string) {
	t.Helper()
	select {
	case <-c.ended:
	case <-time.After(patience):
		t.Fatalf("still open, want %q", text)
	}
	if string(c.text) != text {
		t.Fatalf("got %q, want %q", c.text, text)
	}
}

// layout returns the number of clients of each worker, by number, as "1:2 2:1".
func (f *fixture) layout() string {
	var parts []string
	for _, w := range f.Snapshot().Workers {
		if w.State == ready {
			parts = append(parts, fmt.Sprintf("%d:%d", w.Number, w.Clients))
		}
	}
	return strings.Join(parts, " ")
}

func (f *fixture) wantLayout(want string) {
	f.t.Helper()
	eventually(f.t, "workers and clients "+want, func() bool { return f.layout() == want })
}

func (f *fixture) wantClosed(why wsproto.Disconnect, n uint64) {
	f.t.Helper()
	eventually(f.t, fmt.Sprint(n, " ", why.Name),
		func() bool { return f.Snapshot().Disconnects[why.Name] == n })
}

func (f *fixture) pid(number int) int {
	for _, w := range f.Snapshot().Workers {
		if w.Number == number {
			return w.PID
		}
	}
	f.t.Fatalf("no worker %d", number)
	return 0
}

func (f *fixture) signal(number int, sig unix.Signal) {
	f.t.Helper()
	if err := unix.Kill(f.pid(number), sig); err != nil {
		f.t.Fatal(err)
	}
}

// pause stops a worker, and waits until its threads have stopped: the signal alone returns earlier.
func (f *fixture) pause(number int) {
	f.t.Helper()
	f.signal(number, unix.SIGSTOP)
	pid := f.pid(number)
	eventually(f.t, "it stands", func() bool {
		stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		return err == nil && !slices.ContainsFunc(stats, func(path string) bool {
			b, err := os.ReadFile(path)
			return err != nil || !strings.Contains(string(b), ") T ")
		})
	})
}

func TestFirstAvailableOnDemandRetirement(t *testing.T) {
	f := start(t, "", 1, 3, 2)
	f.wantLayout("1:0")
	var cs []*collector
	for i := range 6 {
		cs = append(cs, f.mustConnect(fmt.Sprint("k", i)))
	}
	f.wantLayout("1:2 2:2 3:2")
	if _, err := f.connect(t.Context(), Client{Key: "too many"}); !errors.Is(err, ErrFull) {
		t.Fatalf("got %v", err)
	}
	cs[2].conn.Close()
	f.wantLayout("1:2 2:1 3:2")
	f.mustConnect("k6")
	f.wantLayout("1:2 2:2 3:2")

	cs[4].conn.Close()
	cs[5].conn.Close()
	f.wantLayout("1:2 2:2") // worker 3 retires
	eventually(t, "3 has ended", func() bool { return f.Snapshot().Ended == 1 })
	cs[0].conn.Close()
	cs[1].conn.Close()
	f.wantLayout("1:0 2:2") // the warm worker may be one without clients
	f.mustConnect("k7")     // goes to the first worker with a free slot
	f.wantLayout("1:1 2:2")
	snap := f.Snapshot()
	if snap.Spawns != 3 || snap.Handoffs != 8 || snap.Ended != 1 ||
		snap.Refusals[RefusedFull] != 1 || snap.Clients != 3 {
		t.Fatalf("%+v", snap)
	}
}

// On a full server, a key that reconnects gets its own slot.
func TestReconnectWhenFull(t *testing.T) {
	f := start(t, "", 1, 1, 1)
	older := f.mustConnect("a")
	newer := f.mustConnect("a")
	older.want(t, "hello close duplicate_connection")
	f.wantLayout("1:1")
	if !newer.open() {
		t.Fatal("the newer client was closed")
	}
}

// Upstream bugs 14–16: of three connections of one key on three workers, each closes the one
// before, and the last one stays.
func TestDuplicatesAcrossWorkers(t *testing.T) {
	f := start(t, "", 3, 3, 1)
	f.wantLayout("1:0 2:0 3:0")
	first := f.mustConnect("a")
	f.pause(1) // so that its messages come late
	second := f.mustHand("a")
	if f.layout() != "1:2 2:0 3:0" {
		t.Fatalf("a reconnecting key does not keep its slot: %s", f.layout())
	}
	f.signal(1, unix.SIGCONT)
	first.want(t, "hello close duplicate_connection")
	f.wantClosed(wsproto.DuplicateConnection, 1)

	other := f.mustConnect("b") // on worker 2
	other2 := f.mustConnect("c")
	other.conn.Close()
	f.wantLayout("1:1 2:0 3:1")
	third := f.mustConnect("c") // on worker 2, its older one on 3
	other2.want(t, "hello close duplicate_connection")
	f.wantLayout("1:1 2:1 3:0")
	if !second.open() || !third.open() {
		t.Fatal("a newest connection was closed")
	}
	// The keys must still have their newer clients.
	for _, key := range []string{"a", "c"} {
		if !f.Disconnect(key, wsproto.PingTimeout) || f.Disconnect(key, wsproto.PingTimeout) {
			t.Fatalf("%s is not connected exactly once", key)
		}
	}
	second.want(t, "hello close ping_timeout")
	third.want(t, "hello close ping_timeout")
	f.wantLayout("1:0 2:0 3:0")
	if f.Disconnect("a", wsproto.PingTimeout) {
		t.Fatal("a is still known")
	}
}

// OnPosition is called when a key's newest connection begins, when it confirms and when it ends,
// also with its worker. It is not called for an older connection once a newer one has begun.
func TestPositions(t *testing.T) {
	f := start(t, "", 2, 2, 1)
	f.wantLayout("1:0 2:0")
	places := func(key string) string {
		f.mu.Lock()
		defer f.mu.Unlock()
		return fmt.Sprint(f.places[key])
	}
	want := func(key, sequence string) {
		t.Helper()
		eventually(t, key+" was at "+sequence, func() bool { return places(key) == sequence })
	}
	f.mustConnect("a")
	want("a", "[0 7]")
	newer := f.mustConnect("a")
	want("a", "[0 7 42 0 7]") // the older one's last position, then the newer one begins
	newer.conn.Close()
	want("a", "[0 7 42 0 7 42]")

	f.wantLayout("1:0 2:0")
	f.mustConnect("b")
	want("b", "[0 7]")
	f.signal(1, unix.SIGKILL)
	want("b", "[0 7 7]")
}

// Upstream bug 16: a client that closes by itself is no longer the client of its key.
func TestReconnectAfterOwnClose(t *testing.T) {
	f := start(t, "", 2, 2, 1)
	f.wantLayout("1:0 2:0")
	for range 5 {
		c := f.mustConnect("a")
		c.conn.Close()
		f.wantLayout("1:0 2:0")
	}
	last := f.mustConnect("a")
	f.wantLayout("1:1 2:0")
	if !last.open() {
		t.Fatal("closed")
	}
	if n := f.Snapshot().Disconnects[wsproto.DuplicateConnection.Name]; n != 0 {
		t.Fatalf("%d connections count as duplicates", n)
	}
}

// Of many connections of a key at once exactly one remains, and the supervisor knows it.
func TestStormOfDuplicates(t *testing.T) {
	f := start(t, "", 1, 4, 3)
	const n, keys = 60, 3
	hammer, stopHammer := context.WithCancel(t.Context())
	defer stopHammer()
	go func() {
		for hammer.Err() == nil {
			f.Wake()
			f.Snapshot()
		}
	}()
	all := make([][]*collector, keys)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			c, err := f.connect(t.Context(), Client{Key: fmt.Sprint(i % keys)})
			if err != nil && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrFull) {
				t.Errorf("connect: %v", err)
			}
			if err == nil {
				mu.Lock()
				all[i%keys] = append(all[i%keys], c)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	stopHammer()
	eventually(t, "all but the newest are closed", func() bool { return f.Snapshot().Clients == keys })
	for key, cs := range all {
		open := func() (n int) {
			for _, c := range cs {
				if c.open() {
					n++
				}
			}
			return n
		}
		eventually(t, "exactly one is open", func() bool { return open() == 1 })
		if !f.Disconnect(fmt.Sprint(key), wsproto.PingTimeout) {
			t.Fatalf("key %d is not known", key)
		}
		eventually(t, "it was the one that is known", func() bool { return open() == 0 })
	}
	f.wantLayout("1:0")
	if got := f.Snapshot(); got.Waiting != 0 ||
		got.Disconnects[wsproto.DuplicateConnection.Name] != got.Handoffs-keys {
		t.Fatalf("%+v", got)
	}
}

func TestSeveralWaitForOneStart(t *testing.T) {
	f := start(t, "", 0, 2, 3)
	var wg sync.WaitGroup
	var mu sync.Mutex
	full := 0
	for i := range 8 {
		wg.Go(func() {
			switch _, err := f.connect(t.Context(), Client{Key: fmt.Sprint(i)}); {
			case errors.Is(err, ErrFull):
				mu.Lock()
				full++
				mu.Unlock()
			case err != nil:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	f.wantLayout("1:3 2:3")
	if full != 2 || f.Snapshot().Spawns != 2 {
		t.Fatalf("%d refused, %+v", full, f.Snapshot())
	}
}

// A newer Connect ends an older one that still waits.
func TestDisplacedWhileWaiting(t *testing.T) {
	f := prepare(t, "not-ready", 0, 1, 4)
	if err := f.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	outcome := make(chan error)
	go func() {
		_, err := f.connect(t.Context(), Client{Key: "a"})
		outcome <- err
	}()
	eventually(t, "the older waits", func() bool { return f.Snapshot().Waiting == 1 })
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := f.connect(ctx, Client{Key: "a"})
		outcome <- err
	}()
	if err := <-outcome; !errors.Is(err, ErrClosed) {
		t.Fatalf("the older: %v", err)
	}
	cancel()
	if err := <-outcome; !errors.Is(err, context.Canceled) || !errors.Is(err, ErrNoWorker) {
		t.Fatalf("the newer: %v", err)
	}
	snap := f.Snapshot()
	if snap.Waiting != 0 || snap.Refusals[RefusedClosed] != 1 || snap.Refusals[RefusedGone] != 1 {
		t.Fatalf("%+v", snap)
	}
}

func TestBadDescriptorKeepsTheWorker(t *testing.T) {
	f := start(t, "", 1, 1, 10)
	if err := f.Connect(t.Context(), Client{Key: "a"}, 1<<20); !errors.Is(err, unix.EBADF) {
		t.Fatalf("got %v", err)
	}
	if err := f.Connect(t.Context(), Client{Key: "b", Early: make([]byte, handoff.MaxMessage)},
		0); !errors.Is(err, handoff.ErrTooBig) {
		t.Fatalf("got %v", err)
	}
	f.mustConnect("c")
	f.wantLayout("1:1")
	if snap := f.Snapshot(); snap.Spawns != 1 || snap.Refusals[RefusedHandoff] != 2 {
		t.Fatalf("%+v", snap)
	}
}

// Wake wakes the workers with clients, and only those.
func TestWake(t *testing.T) {
	f := start(t, "", 2, 2, 1)
	f.wantLayout("1:0 2:0")
	c := f.mustConnect("a")
	f.Wake()
	wakes := func(i int) uint64 { return f.Snapshot().Workers[i].Stats.Pings }
	eventually(t, "a wake-up", func() bool { return wakes(0) == 1 })
	if wakes(1) != 0 {
		t.Fatal("a worker without clients was woken")
	}
	c.conn.Close()
	f.wantLayout("1:0 2:0")
	f.Wake()
	f.mustConnect("b")
	f.mustConnect("c")
	f.Wake()
	eventually(t, "a wake-up of the second", func() bool { return wakes(1) == 1 })
	if wakes(0) > 2 {
		t.Fatal("a worker without clients was woken")
	}
}

// A worker with descriptors for fewer clients than MaxClients is full with those. It reports when
// it has more.
func TestSlotsForFewDescriptors(t *testing.T) {
	f := start(t, "room", 1, 2, 10) // reports 2
	a, _ := f.mustConnect("a"), f.mustConnect("b")
	f.mustConnect("c")
	f.wantLayout("1:2 2:1")
	f.mustConnect("d")
	if _, err := f.connect(t.Context(), Client{Key: "e"}); !errors.Is(err, ErrFull) {
		t.Fatalf("got %v", err)
	}
	if !f.Disconnect("a", wsproto.ServerShutdown) {
		t.Fatal("a is not connected")
	}
	a.want(t, "hello close "+wsproto.ServerShutdown.Name)
	f.wantLayout("1:1 2:2")
	f.mustConnect("e")
	f.wantLayout("1:2 2:2")
}

func TestConfigure(t *testing.T) {
	f := start(t, "", 1, 2, 2)
	a, b := f.mustConnect("a"), f.mustConnect("b")
	c, d := f.mustConnect("c"), f.mustConnect("d")
	f.wantLayout("1:2 2:2")
	if err := f.Configure(Limits{Warm: 2, Max: 1, MaxClients: 2}); err == nil {
		t.Fatal("more warm than allowed at all")
	}
	if err := f.Configure(Limits{Warm: 1, Max: 1, MaxClients: 2,
		Settings: handoff.Settings{PingIntervalMS: 77}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "new settings", func() bool {
		ws := f.Snapshot().Workers
		return ws[0].Stats.Sends == 77 && ws[1].Stats.Sends == 77 && ws[0].Stats.MinCursor == 1 &&
			ws[1].Stats.MinCursor == 2
	})
	c.conn.Close()
	f.wantLayout("1:2 2:1")
	if _, err := f.connect(t.Context(), Client{Key: "e"}); !errors.Is(err, ErrFull) {
		t.Fatalf("worker 2 is above the new Max: %v", err)
	}
	a.conn.Close()
	b.conn.Close()
	f.wantLayout("1:0 2:1")
	d.conn.Close()
	f.wantLayout("1:0")
	if err := f.Configure(Limits{Warm: 3, Max: 3, MaxClients: 1}); err != nil {
		t.Fatal(err)
	}
	f.wantLayout("1:0 2:0 3:0")
}

// If the ctx of a Connect ends while its client is in the queue of a worker, Connect returns at
// once, and its descriptor, which may be reused by then, is not sent.
func TestGiveUpInTheQueue(t *testing.T) {
	f := prepare(t, "", 1, 1, 1000)
	f.times.send, f.times.silentChecks = time.Minute, 1<<30
	if err := f.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.pause(1)
	var wg sync.WaitGroup
	for i := range 100 { // more than fit into the channel
		wg.Go(func() {
			if c, err := f.connect(t.Context(), Client{Key: fmt.Sprint(i),
				Early: make([]byte, 32<<10)}); err != nil {
				t.Errorf("connect %d: %v", i, err)
			} else if <-c.greeted; !c.open() {
				t.Errorf("connect %d: closed", i)
			}
		})
	}
	eventually(t, "a full channel", func() bool { return f.Snapshot().Clients == 100 })
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	given, err := f.connect(ctx, Client{Key: "given up"})
	if !errors.Is(err, ErrNoWorker) || !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	given.want(t, "")
	for range 3 { // these reuse the free descriptors
		a, b := socket(t)
		defer a.Close()
		defer b.Close()
	}
	f.signal(1, unix.SIGCONT)
	wg.Wait()
	f.wantLayout("1:100")
	if n := f.Snapshot().Handoffs; n != 100 {
		t.Fatalf("%d handed over", n)
	}
}
