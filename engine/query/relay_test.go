package query

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"distributor/wsproto/shardus"
)

// processOf is the environment variable that makes this test binary a query process: a sound one,
// or one that dies on POST /receipt ("fatal").
const processOf = "QUERY_TEST_PROCESS"

func runProcess(mode string) {
	if mode == "fatal" {
		for _, e := range endpoints {
			if e.path == "/receipt" {
				e.answer = func(
					*API, context.Context, *policy, selection, *answer,
				) error {
					os.Exit(3)
					return nil
				}
			}
		}
	}
	if err := Serve(os.NewFile(3, "control"), slog.New(slog.NewTextHandler(os.Stderr, nil)),
		new(slog.LevelVar)); err != nil {
		panic(err)
	}
}

// processes returns a Front with real query processes over a table of 100 rows of rowBytes.
func processes(t *testing.T, mode string, rowBytes int) *Front {
	t.Helper()
	return processesChecked(t, mode, rowBytes, defaultChecks)
}

func processesChecked(t *testing.T, mode string, rowBytes int, every checks) *Front {
	t.Helper()
	noLeaks(t)
	d := unpack(t, "db-empty")
	db := write(t, d.OriginalTxs)
	for i := range 100 {
		must(db.Exec("INSERT INTO originalTxsData VALUES (?, ?, ?, ?)", fmt.Sprintf("%064d", i), i, 1,
			fmt.Sprintf(`{"n":"%0*d"}`, rowBytes, i)))
	}
	f, err := newChecking(Options{
		Command: []string{must(filepath.Abs(os.Args[0]))}, Env: []string{
			processOf + "=" + mode, "GORACE=atexit_sleep_ms=0", // else the end takes a second
		},
		Databases: d, Settings: forever,
		Signer: signer(serverSecret), HashKey: must(shardus.ParseHashKey(hashKeyHex)),
		Origin: addressOf, Log: slog.New(slog.DiscardHandler),
	}, every)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// kill kills the query process, and returns its pid.
func kill(t *testing.T, f *Front) int {
	t.Helper()
	var pid int
	eventually(t, "a query process", func() bool {
		p, err := f.running()
		if err == nil {
			pid = p.pid()
		}
		return err == nil && p.lives()
	})
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	return pid
}

// Clients that send one request after the other get an answer to each, and none is cut, while the
// query process is killed again and again.
func TestRequestsOutliveTheQueryProcess(t *testing.T) {
	f := processes(t, "sound", 20_000)
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	done := make(chan struct{})
	var answers atomic.Int64
	var clients sync.WaitGroup
	for i := range 4 {
		clients.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				path, parameters := "/totalData", ""
				if (n+i)%4 == 0 {
					path, parameters = "/originalTx", `"count":100`
				}
				status, body, err := postOver(server, path, signedRequest(parameters))
				if err != nil || status != 200 || !verify(t, body) {
					t.Errorf("%s: %d, %d bytes, %v: %.200s", path, status, len(body), err, body)
					return
				}
				answers.Add(1)
			}
		})
	}
	for range 4 {
		before := answers.Load()
		eventually(t, "answers", func() bool { return answers.Load() > before+20 || t.Failed() })
		kill(t, f)
	}
	before := answers.Load()
	eventually(t, "answers again", func() bool { return answers.Load() > before || t.Failed() })
	close(done)
	clients.Wait()
	if f.memory.held() != 0 {
		t.Errorf("%d bytes are still held", f.memory.held())
	}
}

func postOver(server *httptest.Server, path, body string) (int, string, error) {
	r, err := server.Client().Post(server.URL+path, "application/json", strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	defer r.Body.Close()
	var text strings.Builder
	_, err = io.Copy(&text, r.Body)
	return r.StatusCode, text.String(), err
}

// An answer that its client has read in part is continued with the next process's, if that is the
// same.
func TestAnswerOutlivesTheQueryProcess(t *testing.T) {
	f := processes(t, "sound", 200_000)
	r := httptest.NewRequest("POST", "/originalTx", strings.NewReader(signedRequest(`"count":100`)))
	r.Header.Set("Content-Type", "application/json")
	there, until := make(chan struct{}), make(chan struct{})
	w := &deaf{ResponseRecorder: httptest.NewRecorder(), there: there, until: until}
	var serving sync.WaitGroup
	serving.Go(func() { f.ServeHTTP(w, r) })
	<-there
	killed := kill(t, f)
	eventually(t, "another process", func() bool {
		pid := f.Snapshot().PID
		return pid != 0 && pid != killed
	})
	close(until)
	serving.Wait()
	if w.Code != 200 || w.Body.Len() < 20_000_000 || !verify(t, w.Body.String()) {
		t.Errorf("%d with %d bytes", w.Code, w.Body.Len())
	}
	if f.memory.held() != 0 {
		t.Errorf("%d bytes are still held", f.memory.held())
	}
}

// gone is a client to which writes fail, though the server has not noticed that it has left.
type gone struct{ *httptest.ResponseRecorder }

func (gone) Write([]byte) (int, error) { return 0, syscall.EPIPE }

// A client that leaves before its answer is written causes no warning.
func TestClientThatLeavesIsNoWarning(t *testing.T) {
	a := newAPI(t, unpack(t, "db"), forever)
	var log bytes.Buffer
	a.front.log = slog.New(slog.NewTextHandler(&log, nil))
	r := httptest.NewRequest("POST", "/totalData", strings.NewReader(signedRequest("")))
	r.Header.Set("Content-Type", "application/json")
	w := gone{httptest.NewRecorder()}
	if a.ServeHTTP(w, r); w.Code != http.StatusOK || log.Len() > 0 {
		t.Errorf("%d, logged %s", w.Code, &log)
	}
}

// A request that kills the query process is refused after some attempts, and other requests are
// answered.
func TestRequestThatKills(t *testing.T) {
	f := processes(t, "fatal", 10)
	if got := post(t, f, "/receipt", `"count":1`); got.status != 503 || !strings.Contains(got.body, "the process that reads the databases is not running") {
		t.Errorf("%+v", got)
	}
	if got := post(t, f, "/totalData", ""); got.status != 200 {
		t.Errorf("%+v", got)
	}
}

// Claims that do not fit wait: those of one address in their order, each address independently, as
// long as their contexts last. Nothing is lost.
func TestBudgetWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b budget
		b.limit(100)
		one, two := addressOf("10.0.0.1:1"), addressOf("10.0.0.2:1")
		ctx, cancel := context.WithCancel(t.Context())
		if b.wait(ctx, one, 101) {
			t.Error("more than there is")
		}
		if !b.wait(ctx, one, 50) {
			t.Fatal("half")
		}
		var order []string
		var waiting sync.WaitGroup
		wait := func(ctx context.Context, name string, n int64) {
			waiting.Go(func() {
				if b.wait(ctx, one, n) {
					order = append(order, name)
				}
			})
			synctest.Wait()
		}
		wait(ctx, "leaves", 10)
		wait(t.Context(), "first", 20)
		wait(t.Context(), "second", 20)
		if !b.wait(ctx, two, 25) || len(order) != 0 {
			t.Errorf("another address: %v", order)
		}
		cancel()
		synctest.Wait()
		b.giveBack(two, 25)
		b.giveBack(one, 20)
		synctest.Wait()
		if fmt.Sprint(order) != "[first]" {
			t.Errorf("%v", order)
		}
		b.giveBack(one, 50)
		waiting.Wait()
		if fmt.Sprint(order) != "[first second]" || b.held() != 20 || b.queue.Len() != 0 {
			t.Errorf("%v, %d held", order, b.held())
		}
		b.giveBack(one, 20)
		if b.held() != 0 || len(b.by) != 0 {
			t.Errorf("%d held: %v", b.held(), b.by)
		}
	})
}

// A request that waits for memory is answered as soon as there is enough.
func TestCrowdedRequestsWait(t *testing.T) {
	a := newAPI(t, unpack(t, "db"), Settings{StopAtCycle: -1, Memory: 20_000})
	address := addressOf("10.0.0.1:1")
	for _, held := range []int64{20_000, 19_000} { // not enough for the body, and for the answer
		if !a.front.memory.take(addressOf("127.0.0.1:1"), held) {
			t.Fatal("no memory")
		}
		answered := make(chan reply)
		go func() { answered <- ask(a, address.String(), "/receipt", signedRequest(`"count":1`)) }()
		eventually(t, "it waits", func() bool {
			a.front.memory.mu.Lock()
			defer a.front.memory.mu.Unlock()
			return a.front.memory.queue.Len() == 1
		})
		a.front.memory.giveBack(addressOf("127.0.0.1:1"), held)
		if got := <-answered; got.status != http.StatusOK {
			t.Errorf("%+v", got)
		}
	}
	if a.front.memory.held() != 0 {
		t.Errorf("%d bytes are still held", a.front.memory.held())
	}
}
