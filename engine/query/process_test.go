package query

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"distributor/engine/ipc"
	"distributor/wsproto/shardus"
)

func front(t *testing.T, command ...string) (*Front, *bytes.Buffer) {
	t.Helper()
	log := new(bytes.Buffer)
	f, err := New(Options{
		Command: command, Settings: Settings{StopAtCycle: -1, RequestTime: 50 * time.Millisecond},
		Signer: signer(serverSecret), HashKey: must(shardus.ParseHashKey(hashKeyHex)),
		Origin: addressOf, Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return f, log
}

// A process that always fails is started again with backoff. Meanwhile requests are refused,
// signed.
func TestProcessCannotStart(t *testing.T) {
	for _, command := range [][]string{{"/nonexistent"}, {"/bin/false"}, {"/bin/echo", "last words"}} {
		noLeaks(t)
		f, log := front(t, command...)
		eventually(t, "a failure", func() bool { return len(f.Health()) == 1 })
		if got := post(t, f, "/account", `"count":1`); got.status != 503 || !strings.Contains(got.body, "the process that reads the databases is not running") {
			t.Errorf("%s: %+v", command, got)
		}
		if p := f.Health(); len(p) != 1 || p[0].Table != "" {
			t.Errorf("%s: %v", command, p)
		}
		if s := f.Snapshot(); s.PID != 0 || len(s.Endpoints) != 8 ||
			s.Endpoints["/account"].Status[503] != 1 {
			t.Errorf("%s: %+v", command, s)
		}
		f.Close()
		if n := strings.Count(log.String(), "the query process has ended"); n == 0 || n > 8 {
			t.Errorf("%s: started %d times: %s", command, n, log)
		}
		if strings.HasSuffix(command[0], "echo") &&
			!strings.Contains(log.String(), "query process output: last words") {
			t.Error(log)
		}
	}
}

// stop stops the query process, as SIGSTOP does, and returns its pid. The process ends with the
// test.
func stop(t *testing.T, f *Front) int {
	t.Helper()
	var pid int
	eventually(t, "a query process", func() bool { pid = f.Snapshot().PID; return pid != 0 })
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	eventually(t, "all its threads have stopped", func() bool {
		for _, thread := range must(filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))) {
			text, err := os.ReadFile(thread)
			if _, state, _ := strings.Cut(string(text), ") "); err != nil || !strings.HasPrefix(state, "T") {
				return false
			}
		}
		return true
	})
	return pid
}

// A query process that is stopped is killed, and the next one answers the request that it had.
// Other calls do not wait for it.
func TestHungProcessIsKilled(t *testing.T) {
	f := processesChecked(t, "sound", 10, checks{every: 10 * time.Millisecond,
		within: 2 * time.Second, health: 200 * time.Millisecond})
	if got := post(t, f, "/totalData", ""); got.status != 200 {
		t.Fatalf("%+v", got)
	}
	stopped := stop(t, f)
	got := make(chan reply)
	go func() { got <- post(t, f, "/totalData", "") }()
	eventually(t, "Health says so", func() bool { p := f.Health(); return len(p) == 1 && p[0].Table == "" })
	if got := <-got; got.status != 200 {
		t.Errorf("%+v", got)
	}
	if pid := f.Snapshot().PID; pid == stopped || pid == 0 {
		t.Errorf("process %d after %d", pid, stopped)
	}
	eventually(t, "all is well", func() bool { return len(f.Health()) == 0 })
	if l := defaultChecks; l.every+l.within+ipc.FirstPause > requestTime-time.Second {
		t.Errorf("%+v: a request ends before the next process has it", l)
	}
}

// A query process that answers a check with an error is not killed. Only silence means that it
// hangs.
func TestFailedCheckKillsNothing(t *testing.T) {
	noLeaks(t)
	channel, control, err := newChannel()
	if err != nil {
		t.Fatal(err)
	}
	l := must(newAcceptor(control))
	looked := make(chan struct{})
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		looked <- struct{}{}
		http.Error(w, "cannot say", http.StatusInternalServerError)
	})}
	var parts sync.WaitGroup
	parts.Go(func() { _ = server.Serve(l) })
	p := newProcess(channel)
	p.cmd = exec.Command("/bin/sleep", "1000")
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f := newFront(Options{Log: slog.New(slog.DiscardHandler)})
	f.checks = checks{every: time.Millisecond, within: patience}
	watched := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { defer close(watched); f.watch(ctx, p) }()
	for n := range 3 {
		select {
		case <-looked:
		case <-watched:
			t.Fatalf("given up after %d checks", n)
		}
	}
	cancel()
	go func() { // for a check in progress
		for range looked {
		}
	}()
	<-watched
	p.kill()
	if err := p.cmd.Wait(); err == nil {
		t.Error("the process had ended by itself")
	}
	p.close()
	_ = server.Close()
	parts.Wait()
	close(looked)
}

// While the query process is stopped, a reload and the counters return at once. Later requests wait
// for the new settings, and get them from the next process.
func TestReloadDoesNotWait(t *testing.T) {
	f := processesChecked(t, "sound", 10, checks{every: time.Millisecond, within: time.Hour,
		health: 200 * time.Millisecond})
	if got := post(t, f, "/totalData", ""); got.status != 200 {
		t.Fatalf("%+v", got)
	}
	stopped := stop(t, f)
	eventually(t, "Health says so", func() bool { p := f.Health(); return len(p) == 1 && p[0].Table == "" })
	got := make(chan reply)
	go func() { // must return while the process is stopped
		if err := f.Reload(Settings{StopAtCycle: -1, RequestTime: patience,
			LimitToSubscribersOnly: true}, slog.LevelInfo); err != nil {
			t.Error(err)
		}
		f.SetLevel(slog.LevelDebug)
		if s := f.Snapshot(); s.PID != stopped {
			t.Errorf("process %d, not %d", s.PID, stopped)
		}
		got <- reply{}
		got <- post(t, f, "/totalData", "")
	}()
	select {
	case <-got:
	case <-time.After(setUpWithin / 2):
		t.Error("Reload waits for a process that is stopped")
		_ = syscall.Kill(stopped, syscall.SIGCONT)
		<-got
	}
	if err := syscall.Kill(stopped, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	if got := <-got; got.status != 200 || !strings.Contains(got.body, "is not a subscriber") {
		t.Errorf("%+v", got)
	}
}

// A request that follows a reload is checked by the new settings, even if the query process is
// busy.
func TestRequestsAfterAReloadSeeIt(t *testing.T) {
	f := processes(t, "sound", 10)
	for i := range 100 {
		closed := i%2 == 1
		if err := f.Reload(Settings{StopAtCycle: -1, RequestTime: patience,
			LimitToSubscribersOnly: closed}, slog.LevelInfo); err != nil {
			t.Fatal(err)
		}
		if got := post(t, f, "/totalData", ""); strings.Contains(got.body,
			"is not a subscriber") != closed {
			t.Fatalf("%d: %+v", i, got)
		}
	}
}

// Requests whose clients leave do not hold descriptors or goroutines of the primary when its query
// process is stopped and takes no more connections.
func TestStoppedProcessCostsLittle(t *testing.T) {
	f := processesChecked(t, "sound", 10, checks{every: time.Hour, within: time.Hour,
		health: time.Hour})
	f.inFlight.limit(8)
	if got := post(t, f, "/totalData", ""); got.status != 200 {
		t.Fatalf("%+v", got)
	}
	stop(t, f)
	descriptors := func() int { return len(must(os.ReadDir("/proc/self/fd"))) }
	before, goroutines := descriptors(), runtime.NumGoroutine()
	for range 1000 {
		ctx, cancel := context.WithCancel(t.Context())
		var clients sync.WaitGroup
		for range 4 {
			clients.Go(func() {
				r := httptest.NewRequestWithContext(ctx, "POST", "/totalData",
					strings.NewReader(signedRequest("")))
				r.Header.Set("Content-Type", "application/json")
				f.ServeHTTP(httptest.NewRecorder(), r)
			})
		}
		eventually(t, "they are with the process", func() bool { return f.inFlight.held() == 4 })
		cancel()
		clients.Wait()
		if now := descriptors(); now > before+maxConnections+32 { // some are being closed
			t.Fatalf("%d descriptors, %d before", now, before)
		}
	}
	eventually(t, "all is given back but for what is being passed", func() bool {
		return descriptors() <= before+maxConnections &&
			runtime.NumGoroutine() <= goroutines+3*maxConnections
	})
	if f.inFlight.held() != 0 || f.memory.held() != 0 {
		t.Errorf("%d requests, %d bytes are held, want 0", f.inFlight.held(), f.memory.held())
	}
}

// Requests to a query process before its setup are refused. It ends with the primary.
func TestServeEndsWithThePrimary(t *testing.T) {
	noLeaks(t)
	channel, control, err := newChannel()
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- Serve(control, slog.New(slog.DiscardHandler), new(slog.LevelVar)) }()
	p := newProcess(channel)
	for _, path := range []string{healthPath, rowsPath, tablesPath} {
		if err := p.get(context.Background(), path, nil); err == nil ||
			!strings.Contains(err.Error(), "503") {
			t.Errorf("%s: %v", path, err)
		}
	}
	level := slog.LevelError
	if err := p.setUp(t.Context(),
		setup{Settings: Settings{Subscribers: []Subscriber{{PublicKey: "x"}}}}); err == nil ||
		!strings.Contains(err.Error(), "subscribers[0]") {
		t.Error(err)
	}
	if err := p.setUp(t.Context(), setup{Settings: forever, LogLevel: level}); err != nil {
		t.Error(err)
	}
	c := &child{log: slog.New(slog.DiscardHandler)}
	c.checking.Lock() // as a check of a database that hangs does
	w := httptest.NewRecorder()
	if c.handler().ServeHTTP(w, httptest.NewRequest("GET", healthPath, nil)); w.Code != 503 ||
		!strings.Contains(w.Body.String(), "has not answered") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	var rows map[string]int64
	if err := p.get(context.Background(), rowsPath, &rows); err != nil || len(rows) != 0 {
		t.Error(rows, err)
	}
	p.close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestSeal(t *testing.T) {
	key, by := must(shardus.ParseHashKey(hashKeyHex)), signer(serverSecret)
	for _, text := range []string{`{"receipts":[1]|}`, `{|"totalTransactions":2}`,
		`{"error":"x"|,"success":false}`} {
		out := &answer{sign: strings.Index(text, "|"), text: []byte(strings.Replace(text, "|", "", 1))}
		s := out.seal(key)
		read, err := parseSeal(s.String())
		if err != nil || read != s {
			t.Errorf("%v, %v, %v", s, read, err)
		}
		if !verify(t, string(s.put(out.text, by))) {
			t.Errorf("%s", text)
		}
	}
	for _, bad := range []string{"", "00 1 true", strings.Repeat("0", 64), strings.Repeat("0", 64) +
		" x true"} {
		if s, err := parseSeal(bad); err == nil {
			t.Errorf("%q: %v", bad, s)
		}
	}
}

// Closing a connection closes its descriptors on both sides. The channel's file belongs to the
// caller.
func TestChannelLeavesNothing(t *testing.T) {
	noLeaks(t)
	channel, control, err := newChannel()
	if err != nil {
		t.Fatal(err)
	}
	l := must(newAcceptor(control))
	for range 100 {
		c := must(channel.dial(t.Context(), "", ""))
		accepted := must(l.Accept())
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if n, err := accepted.Read(make([]byte, 2)); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		_, _ = c.Close(), accepted.Close()
	}
	channel.close()
	if _, err := l.Accept(); err == nil || os.IsTimeout(err) {
		t.Error(err)
	}
	_ = l.Close()
}

// If a query process accepts nothing, passing a connection ends after its time limit, also for
// those that wait for their turn, and leaves nothing open.
func TestDialsEnd(t *testing.T) {
	noLeaks(t)
	channel, control, err := newChannel()
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	defer channel.close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		var dials sync.WaitGroup
		for range 3 {
			dials.Go(func() {
				for {
					c, err := channel.dial(ctx, "", "")
					if err != nil {
						return
					}
					c.Close()
				}
			})
		}
		dials.Wait()
	}()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("a dial does not end")
		channel.close()
		<-ended
	}
}

// A time limit counts unless the process waited for a processor: then it gets more of it, but not
// for ever.
func TestTimeLimitsOfAStarvedProcess(t *testing.T) {
	began := time.Now()
	starved := func() (time.Duration, error) { return time.Since(began), nil }
	late := func() error { time.Sleep(2 * time.Millisecond); return context.DeadlineExceeded }
	for name, c := range map[string]struct {
		wait func() (time.Duration, error)
		ask  func() error
		asks int
	}{
		"hangs":    {func() (time.Duration, error) { return 0, nil }, late, 1},
		"starved":  {starved, late, starvedTimes},
		"unknown":  {func() (time.Duration, error) { return 0, io.EOF }, late, 1},
		"answers":  {starved, func() error { return nil }, 1},
		"has gone": {starved, func() error { return io.EOF }, 1},
	} {
		asks, want := 0, c.ask()
		got := unlessStarved(c.wait, func() error { asks++; return c.ask() })
		if !errors.Is(got, want) || asks != c.asks {
			t.Errorf("%s: got %v after %d, want %v after %d", name, got, asks, want, c.asks)
		}
	}
}
