package query

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"distributor/engine/query/querytest"
	"distributor/wsproto/shardus"
)

const patience = time.Minute

// Test keys: the distributor's are the sample pair that everybody knows, the client's is in the
// corpus as "known".
const (
	hashKeyHex   = querytest.HashKey
	serverPublic = querytest.ServerKey
	serverSecret = "3be00019f23847529bd63e41124864983175063bb524bd54ea3c155f2fa12969" + serverPublic
	clientPublic = "ffdcd3f7f920bc1a8587e5825463f29b45564c289cc81cdafeb106d5b26d2949"
	clientSecret = "063e550600451f6a762eda733a44f546dfc91ff3e481728ce3374d6453363158" + clientPublic
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func signer(secret string) *shardus.Signer {
	return shardus.NewSigner(must(shardus.ParseSecretKey(secret)),
		must(shardus.ParseHashKey(hashKeyHex)))
}

// unpack puts a recorded set of databases into a fresh folder: "db", "db-odd", "db-damaged" or
// "db-empty".
func unpack(t testing.TB, set string) Databases {
	t.Helper()
	dir := t.TempDir()
	if err := querytest.Unpack(dir, set); err != nil {
		t.Fatal(err)
	}
	return databasesIn(dir)
}

func databasesIn(dir string) Databases {
	in := func(name string) string { return filepath.Join(dir, name+".sqlite3") }
	return Databases{in("cycles"), in("accounts"), in("transactions"), in("receipts"),
		in("originalTxsData")}
}

// tested is an API behind its Front, with the channel between them, in one process.
type tested struct {
	*API
	front *Front
}

func newAPI(t testing.TB, d Databases, s Settings) *tested {
	t.Helper()
	s.IP, s.PublicKey = "localhost", serverPublic
	key := must(shardus.ParseHashKey(hashKeyHex))
	a, err := NewAPI(d, key, s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	f := newFront(Options{Databases: d, Settings: s, Signer: signer(serverSecret), HashKey: key,
		Origin: addressOf, Log: slog.New(slog.DiscardHandler)})
	f.checks = defaultChecks
	if err := f.configure(s); err != nil {
		t.Fatal(err)
	}
	channel, control, err := newChannel()
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	c := &child{log: slog.New(slog.DiscardHandler), level: new(slog.LevelVar)}
	c.api.Store(a)
	go func() { served <- c.serve(control) }()
	p := newProcess(channel)
	p.cmd = &exec.Cmd{Process: &os.Process{Pid: os.Getpid()}}
	var tending sync.WaitGroup
	if !f.applySetup(t.Context(), p) {
		t.Fatal("it takes no settings")
	}
	f.set(p, nil)
	tending.Go(func() { f.follow(context.Background(), p) })
	t.Cleanup(func() {
		close(p.gone)
		tending.Wait()
		p.close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return &tested{a, f}
}

func addressOf(remote string) netip.Addr { return must(netip.ParseAddrPort(remote)).Addr() }

// limitTime reloads with another RequestTime.
func (a *tested) limitTime(t testing.TB, within time.Duration) {
	t.Helper()
	if err := a.Reload(Settings{StopAtCycle: -1, RequestTime: within}); err != nil {
		t.Fatal(err)
	}
}

func (a *tested) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.front.ServeHTTP(w, r) }

// Snapshot has the tables as they are now.
func (a *tested) Snapshot() Snapshot {
	if p, err := a.front.running(); err == nil {
		_ = a.front.fetchCounters(context.Background(), p)
	}
	return a.front.Snapshot()
}

func (a *tested) Reload(s Settings) error { return a.front.Reload(s, slog.LevelInfo) }

var forever = Settings{StopAtCycle: -1, RequestTime: patience}

// signedRequest is the body of a request: parameters as JSON members, "" for none.
func signedRequest(parameters string) string {
	if parameters != "" {
		parameters += ","
	}
	object := must(shardus.Parse([]byte("{" + parameters + `"sender":"` + clientPublic + `"}`)))
	return string(must(signer(clientSecret).AppendSigned(nil, object)))
}

// reply is an answer: its status and its body, whose signature is right where it has one.
type reply struct {
	status int
	body   string
}

func post(t testing.TB, a http.Handler, path, parameters string) reply {
	t.Helper()
	r := httptest.NewRequest("POST", path, strings.NewReader(signedRequest(parameters)))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	if w.Body.Len() > 0 {
		verify(t, w.Body.String())
	}
	return reply{w.Code, w.Body.String()}
}

// verify fails the test where an answer is not canonical, or its signature is wrong.
func verify(t testing.TB, body string) (signed bool) {
	t.Helper()
	signed, err := querytest.Verify(body)
	if err != nil {
		t.Error(err)
	}
	return signed
}

// write opens a database as its writer does, in WAL mode.
func write(t testing.TB, path string, statements ...string) *sql.DB {
	t.Helper()
	db := must(sql.Open("sqlite3",
		"file:"+path+"?_journal_mode=WAL&_busy_timeout=5000&_synchronous=NORMAL"))
	t.Cleanup(func() { db.Close() })
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	return db
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// noLeaks checks, after the cleanups that follow its call, that descriptors and goroutines are
// back.
func noLeaks(t testing.TB) {
	t.Helper()
	descriptors := func() int { return len(must(os.ReadDir("/proc/self/fd"))) }
	// The runtime's own descriptors come with the first socket, and stay
	must(net.Listen("tcp", "127.0.0.1:0")).Close()
	before, goroutines := descriptors(), runtime.NumGoroutine()
	t.Cleanup(func() {
		eventually(t, "descriptors and goroutines are back", func() bool {
			return descriptors() <= before && runtime.NumGoroutine() <= goroutines
		})
	})
}

// names lists the values of a member of the objects in a list of an answer.
func names(t testing.TB, body, list, member string) string {
	t.Helper()
	var o map[string]json.RawMessage
	if err := json.Unmarshal([]byte(body), &o); err != nil {
		t.Fatalf("%.200s: %v", body, err)
	}
	var items []map[string]any
	if err := json.Unmarshal(o[list], &items); err != nil {
		t.Fatalf("%s of %.200s: %v", list, body, err)
	}
	var all []string
	for _, item := range items {
		all = append(all, fmt.Sprint(item[member]))
	}
	return strings.Join(all, " ")
}
