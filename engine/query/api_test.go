package query

import (
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

func get(a http.Handler, method string) reply {
	w := httptest.NewRecorder()
	a.ServeHTTP(w, httptest.NewRequest(method, "/config", nil))
	return reply{w.Code, w.Body.String()}
}

func TestConfig(t *testing.T) {
	s := Settings{Port: 6100, StopAtCycle: -1, LimitToSubscribersOnly: true,
		Subscribers: []Subscriber{{clientPublic, 5, "FIREHOSE"}}}
	a := newAPI(t, unpack(t, "db-empty"), s)
	const head = `{"config":{"DISTRIBUTOR_IP":"localhost","DISTRIBUTOR_PORT":6100,"DISTRIBUTOR_PUBLIC_KEY":"` + serverPublic + `","limitToSubscribersOnly":true,"subscribers":[`
	if got := get(a, "GET"); got.status != 200 ||
		got.body != head+`{"expirationTimestamp":5,"publicKey":"`+clientPublic+`","subscriptionType":"FIREHOSE"}]}}` {
		t.Errorf("%+v", got)
	}
	s.HideSubscribers, s.IP, s.PublicKey = true, "localhost", serverPublic
	if err := a.Reload(s); err != nil {
		t.Fatal(err)
	}
	if got := get(a, "GET"); got.body != head+`]}}` {
		t.Errorf("hidden: %+v", got)
	}
	if got := post(t, a, "/account", `"count":1`); !strings.Contains(got.body,
		"subscription expired") {
		t.Errorf("a hidden subscriber does not count: %+v", got)
	}
}

// A reload takes effect as a whole. An invalid one has no effect.
func TestReload(t *testing.T) {
	a := newAPI(t, unpack(t, "db"), forever)
	closed := Settings{StopAtCycle: 0, LimitToSubscribersOnly: true}
	open := Settings{StopAtCycle: 57}
	if err := a.Reload(open); err != nil {
		t.Fatal(err)
	}
	if err := a.Reload(Settings{Subscribers: []Subscriber{{PublicKey: "x"}}}); err == nil {
		t.Error("an invalid key was accepted")
	}
	done := make(chan struct{})
	var reloading sync.WaitGroup
	reloading.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
				if err := a.Reload([]Settings{open, closed}[i%2]); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for range 200 {
		got := post(t, a, "/cycleinfo", `"count":1`)
		if refused := got.status == 400 && strings.Contains(got.body, "not a subscriber"); !refused &&
			names(t, got.body, "cycleInfo", "counter") != "57" {
			t.Errorf("%+v", got)
		}
	}
	close(done)
	reloading.Wait()
}

// All ways to rows and counts respect the stop cycle. The corpus has most of them, but not these.
func TestStopCycle(t *testing.T) {
	d := unpack(t, "db")
	all, stopped := newAPI(t, d, forever), newAPI(t, d, Settings{StopAtCycle: 57})
	const beyond = `"startCycle":60,"endCycle":70`
	for _, path := range []string{"/originalTx", "/receipt", "/account", "/transaction"} {
		list := map[string]string{"/originalTx": "originalTxs", "/receipt": "receipts",
			"/account": "accounts", "/transaction": "transactions"}[path]
		for _, page := range []string{`,"page":1`, `,"page":1,"type":"tally"`} {
			if got := post(t, all, path, beyond+page); names(t, got.body, list, "timestamp") == "" {
				t.Errorf("%s has nothing beyond: %+v", path, got)
			}
			if got := post(t, stopped, path, beyond+page); got.status != 200 ||
				names(t, got.body, list, "timestamp") != "" {
				t.Errorf("%s goes beyond: %+v", path, got)
			}
		}
	}
	for _, c := range []struct{ path, list, member, parameter string }{
		{"/account", "accounts", "accountId", "accountId"},
		{"/transaction", "transactions", "txId", "txId"},
		{"/transaction", "transactions", "appReceiptId", "appReceiptId"},
		{"/receipt", "receipts", "receiptId", "txId"},
	} {
		ids := strings.Fields(strings.ReplaceAll(names(t, post(t, all, c.path, `"count":20`).body,
			c.list, c.member), "<nil>", ""))
		id := ids[0]
		if got := post(t, all, c.path, `"`+c.parameter+`":"`+id+`"`); names(t, got.body, c.list,
			c.member) != id {
			t.Errorf("%s by %s: %.300s", c.path, c.parameter, got.body)
		}
		if got := post(t, stopped, c.path, `"`+c.parameter+`":"`+id+`"`); names(t, got.body, c.list,
			c.member) != "" {
			t.Errorf("%s by %s goes beyond: %.300s", c.path, c.parameter, got.body)
		}
	}
}

func TestSnapshot(t *testing.T) {
	a := newAPI(t, unpack(t, "db-damaged"), forever)
	post(t, a, "/cycleinfo", `"count":100`)
	post(t, a, "/cycleinfo", `"count":"x"`)
	get(a, "GET")
	s := a.Snapshot()
	if len(s.Endpoints) != 8 || len(s.Tables) != 5 || s.Held != 0 {
		t.Errorf("%+v", s)
	}
	e := s.Endpoints["/cycleinfo"]
	var n uint64
	for _, b := range e.Buckets {
		n += b
	}
	if e.Status[200] != 1 || e.Status[400] != 1 || n != 2 || e.Total <= 0 ||
		s.Endpoints["/config"].Status[200] != 1 {
		t.Errorf("%+v", s.Endpoints)
	}
	if c := s.Tables["cycles"]; c.Rows == 0 || c.Damaged != 1 || c.Failing != "" {
		t.Errorf("%+v", s.Tables)
	}
	var m meter
	m.count(200, 0)
	m.count(200, Bounds[0])
	m.count(200, Bounds[0]+1)
	m.count(200, time.Hour)
	if m.buckets[0].Load() != 2 || m.buckets[1].Load() != 1 || m.buckets[len(Bounds)].Load() != 1 {
		t.Error("buckets")
	}
}

func TestRowCounts(t *testing.T) {
	d := unpack(t, "db")
	put(d.Accounts, []byte("garbage"))
	got := newAPI(t, d, Settings{StopAtCycle: 57}).RowCounts(t.Context())
	if want := map[string]int64{"cycles": 146, "transactions": 1050, "receipts": 200,
		"originalTxsData": 256}; !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

// The memory for unread answers is bounded.
func TestUnreadAnswers(t *testing.T) {
	a := newAPI(t, unpack(t, "db-odd"), Settings{StopAtCycle: -1, RequestTime: 50 * time.Millisecond})
	a.front.memory.taken = memory
	if got := post(t, a, "/account", `"count":1`); got.status != 503 || !strings.Contains(got.body, "slow clients hold too much memory") {
		t.Errorf("%+v", got)
	}
	if n := a.front.memory.held(); n != memory {
		t.Errorf("%d bytes are still counted", n-memory)
	}
}

func TestClose(t *testing.T) {
	noLeaks(t)
	a := newAPI(t, unpack(t, "db-odd"), forever)
	o := must(a.sources.accounts.file.use())
	a.Close()
	if err := o.db.Ping(); err != nil {
		t.Errorf("closed under a request: %v", err)
	}
	a.sources.accounts.file.release(o)
	if err := o.db.Ping(); err == nil {
		t.Error("still open")
	}
	if got := post(t, a, "/account", `"count":1`); got.status != 503 {
		t.Errorf("%+v", got)
	}
	if problems := a.Health(t.Context()); len(problems) != 5 || !errors.Is(problems[0], ErrClosed) {
		t.Errorf("%v", problems)
	}
}
