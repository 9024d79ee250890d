package query

import (
	"bytes"
	"context"
	"fmt"
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
		Command: command, Settings: Settings{StopAtCycle: -1, RequestTime: 50 * time.Millisecond}, Signer: signer(serverSecret), HashKey: must(shardus.ParseHashKey(hashKeyHex)), Origin: addressOf, Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return f, log
}

// A process that cannot live is started again with growing pauses, and requests are refused meanwhile, signed.
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
		if s := f.Snapshot(); s.PID != 0 || len(s.Endpoints) != 8 || s.Endpoints["/account"].Status[503] != 1 {
			t.Errorf("%s: %+v", command, s)
		}
		f.Close()
		if n := strings.Count(log.String(), "the query process has ended"); n == 0 || n > 8 {
			t.Errorf("%s: started %d times: %s", command, n, log)
		}
		if strings.HasSuffix(command[0], "echo") && !strings.Contains(log.String(), "query process output: last words") {
			t.Error(log)
		}
	}
}

// stop stops the query process that there is, as SIGSTOP does, and gives its pid. It ends with the
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

// A query process that is stopped is killed, and a request that it had is answered by the next one;
// nothing that others ask meanwhile waits for it.
func TestHungProcessIsKilled(t *testing.T) {
	f := processesLooking(t, "sound", 10, looks{every: 10 * time.Millisecond, within: 2 * time.Second, health: 200 * time.Millisecond})
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
	if l := defaultLooks; l.every+l.within+ipc.FirstPause > requestTime-time.Second {
		t.Errorf("%+v: a request is over before the next process has it", l)
	}
}

// A query process that answers a look with an error lives: only silence tells that it hangs.
func TestLookThatFailsKillsNobody(t *testing.T) {
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
	f.looks = looks{every: time.Millisecond, within: patience}
	watched := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { defer close(watched); f.watch(ctx, p) }()
	for n := range 3 {
		select {
		case <-looked:
		case <-watched:
			t.Fatalf("given up after %d looks", n)
		}
	}
	cancel()
	go func() { // of a look under way
		for range looked {
		}
	}()
	<-watched
	p.kill()
	if err := p.cmd.Wait(); err == nil {
		t.Error("it had ended by itself")
	}
	p.close()
	_ = server.Close()
	parts.Wait()
	close(looked)
}

// While the query process is stopped a reload returns at once, and so do the counters. Requests
// that follow wait for the new settings, and get them from the next process.
func TestReloadDoesNotWait(t *testing.T) {
	f := processesLooking(t, "sound", 10, looks{every: time.Millisecond, within: time.Hour, health: 200 * time.Millisecond})
	if got := post(t, f, "/totalData", ""); got.status != 200 {
		t.Fatalf("%+v", got)
	}
	stopped := stop(t, f)
	eventually(t, "Health says so", func() bool { p := f.Health(); return len(p) == 1 && p[0].Table == "" })
	got := make(chan reply)
	go func() { // returns while the process is stopped, else never
		if err := f.Reload(Settings{StopAtCycle: -1, RequestTime: patience, LimitToSubscribersOnly: true}, slog.LevelInfo); err != nil {
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
		t.Error("it waits for a process that is stopped")
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

// A request that follows a reload is checked by the new settings, however busy the query process
// is.
func TestRequestsAfterAReloadSeeIt(t *testing.T) {
	f := processes(t, "sound", 10)
	for i := range 100 {
		closed := i%2 == 1
		if err := f.Reload(Settings{StopAtCycle: -1, RequestTime: patience, LimitToSubscribersOnly: closed}, slog.LevelInfo); err != nil {
			t.Fatal(err)
		}
		if got := post(t, f, "/totalData", ""); strings.Contains(got.body, "is not a subscriber") != closed {
			t.Fatalf("%d: %+v", i, got)
		}
	}
}

// Requests whose clients leave take neither descriptors nor goroutines of a primary whose query
// process is stopped, and takes no connections after a while.
func TestStoppedProcessCostsLittle(t *testing.T) {
	f := processesLooking(t, "sound", 10, looks{every: time.Hour, within: time.Hour, health: time.Hour})
	f.places.limit(8)
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
				r := httptest.NewRequestWithContext(ctx, "POST", "/totalData", strings.NewReader(signedRequest("")))
				r.Header.Set("Content-Type", "application/json")
				f.ServeHTTP(httptest.NewRecorder(), r)
			})
		}
		eventually(t, "they are with the process", func() bool { return f.places.held() == 4 })
		cancel()
		clients.Wait()
		if now := descriptors(); now > before+maxConnections+32 { // some are just being closed
			t.Fatalf("%d descriptors, %d before", now, before)
		}
	}
	eventually(t, "all is given back but for what is being passed", func() bool {
		return descriptors() <= before+maxConnections && runtime.NumGoroutine() <= goroutines+3*maxConnections
	})
	if f.places.held() != 0 || f.memory.held() != 0 {
		t.Errorf("%d places, %d bytes are held", f.places.held(), f.memory.held())
	}
}

// What a query process is told before its setup is refused, and it ends with the primary.
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
		if err := p.tell(context.Background(), path, nil); err == nil || !strings.Contains(err.Error(), "503") {
			t.Errorf("%s: %v", path, err)
		}
	}
	level := slog.LevelError
	if err := p.setUp(t.Context(), setup{Settings: Settings{Subscribers: []Subscriber{{PublicKey: "x"}}}}); err == nil || !strings.Contains(err.Error(), "subscribers[0]") {
		t.Error(err)
	}
	if err := p.setUp(t.Context(), setup{Settings: forever, LogLevel: level}); err != nil {
		t.Error(err)
	}
	c := &child{log: slog.New(slog.DiscardHandler)}
	c.examining.Lock() // as a look at a database that hangs does
	w := httptest.NewRecorder()
	if c.handler().ServeHTTP(w, httptest.NewRequest("GET", healthPath, nil)); w.Code != 503 ||
		!strings.Contains(w.Body.String(), "has not answered") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	var rows map[string]int64
	if err := p.tell(context.Background(), rowsPath, &rows); err != nil || len(rows) != 0 {
		t.Error(rows, err)
	}
	p.close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestSeal(t *testing.T) {
	key, by := must(shardus.ParseHashKey(hashKeyHex)), signer(serverSecret)
	for _, text := range []string{`{"receipts":[1]|}`, `{|"totalTransactions":2}`, `{"error":"x"|,"success":false}`} {
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
	for _, bad := range []string{"", "00 1 true", strings.Repeat("0", 64), strings.Repeat("0", 64) + " x true"} {
		if s, err := parseSeal(bad); err == nil {
			t.Errorf("%q: %v", bad, s)
		}
	}
}

// A connection's end takes its descriptors along, on both sides; the channel's file belongs to who gets it.
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

// A query process that accepts nothing: passing a connection ends when its time is over, for those
// that wait for their turn as well, and leaves nothing.
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
