package query

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"distributor/engine/gateway"
	"distributor/wsproto/shardus"
)

// Attacks on the HTTP API, besides those in the other files. docs/THREATS.md lists all of them.
// Attacks that depend on bytes or time go over a socket.

// ask sends a body from an address.
func ask(a http.Handler, from, path, body string) reply {
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.RemoteAddr = from + ":1"
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	return reply{w.Code, w.Body.String()}
}

// Requests that claim to be signed, and are not, or not by the claimed sender.
func TestForgedRequests(t *testing.T) {
	a := newAPI(t, unpack(t, "db"), Settings{StopAtCycle: -1, LimitToSubscribersOnly: true, Subscribers: []Subscriber{{clientPublic, 0, "FIREHOSE"}}})
	good := signedRequest(`"count":1`)
	sig := good[strings.Index(good, `"sig":"`)+7:][:192]
	strangers := must2(shardus.GenerateKey())
	stranger := string(must(shardus.NewSigner(strangers,
		must(shardus.ParseHashKey(hashKeyHex))).AppendSigned(nil,
		must(shardus.Parse([]byte(`{"count":1,"sender":"`+strangers.Public().String()+`"}`))))))
	order := map[byte]string{'0': "1", '1': "2"}
	const invalid, malformed = "Invalid signature", "Error validating request data"
	for _, c := range []struct{ name, body, want string }{
		{"good", good, ""},
		{"a name again, before", `{"count":100,` + good[1:], ""}, // the last one counts, and was signed
		{"a name again, behind", good[:len(good)-1] + `,"count":2}`, invalid},
		{"an escaped name again", good[:len(good)-1] + `,"c\u006funt":2}`, invalid},
		{"one more", good[:len(good)-1] + `,"page":2}`, invalid},
		// Dropped, for both
		{"__proto__", good[:len(good)-1] + `,"__proto__":{"count":100,"start":0}}`, ""},
		{"the number in other words", strings.Replace(good, `"count":1`, `"count":1.0e0`, 1), ""},
		{"a stranger", stranger, "Data request sender is not a subscriber"},
		{"a stranger in a subscriber's name", strings.ReplaceAll(stranger, strangers.Public().String(),
			clientPublic), invalid},
		{"owner is another", strings.Replace(good, `"owner":"`+clientPublic, `"owner":"`+serverPublic, 1), "Data sender publicKey and sign owner key does not match"},
		{"S and the group's order, or so", strings.Replace(good, sig, sig[:126]+"f"+sig[127:], 1),
			invalid},
		{"another R", strings.Replace(good, sig, flip(sig[:1], order)+sig[1:], 1), invalid},
		{"key of small order", strings.ReplaceAll(strings.Replace(good, sig[:128],
			"58"+strings.Repeat("66", 31)+"01"+strings.Repeat("00", 31), 1), clientPublic,
			"01"+strings.Repeat("00", 31)), "Data request sender is not a subscriber"},
		{"a key and more", strings.ReplaceAll(good, clientPublic, clientPublic+"zz"),
			"Data request sender is not a subscriber"},
		{"half a byte more", strings.Replace(good, sig, sig+"0", 1), malformed},
		{"the signature alone", strings.Replace(good, sig, sig[:128], 1), malformed},
		{"upper case", strings.Replace(good, sig, strings.ToUpper(sig), 1), ""},
		{"in an array", "[" + good + "]", "Invalid request data sender is required"},
	} {
		got := ask(a, "10.0.0.1", "/receipt", c.body)
		verify(t, got.body)
		if said := errorOf(got.body); said != c.want || c.want == "" &&
			strings.Count(got.body, `"receiptId"`) != 1 {
			t.Errorf("%s: %.300s", c.name, got.body)
		}
	}
}

func must2(_ shardus.PublicKey, secret shardus.SecretKey, err error) shardus.SecretKey {
	return must(secret, err)
}

func flip(digit string, other map[byte]string) string {
	if o := other[digit[0]]; o != "" {
		return o
	}
	return "0"
}

func errorOf(body string) string {
	var o struct{ Error string }
	_ = json.Unmarshal([]byte(body), &o)
	return o.Error
}

// A request has no time and no purpose in it, so anybody who has seen a request can send it again.
// An upgrade's signed data is a request without parameters. docs/THREATS.md says so. The answer is
// what its signer may have.
func TestSeenRequestsWorkAgain(t *testing.T) {
	a := newAPI(t, unpack(t, "db"), forever)
	good := signedRequest(`"count":1`)
	if first, second := ask(a, "10.0.0.1", "/receipt", good),
		ask(a, "10.0.0.2", "/receipt", good); first != second || errorOf(first.body) != "" {
		t.Errorf("%+v %+v", first, second)
	}
	if got := ask(a, "10.0.0.1", "/totalData", signedRequest(`"collectorInfo":{"subscriptionType":"FIREHOSE","timestamp":1}`)); got.status != 200 || !strings.Contains(got.body, "totalCycles") {
		t.Errorf("%+v", got)
	}
}

// Nested texts, long texts and large numbers up to the largest body, all signed; and parameters
// that look like SQL.
func TestBombs(t *testing.T) {
	a := newAPI(t, unpack(t, "db"), forever)
	var log bytes.Buffer
	for i := range a.all() {
		a.all()[i].log = slog.New(slog.NewTextHandler(&log, nil))
	}
	const room = 1_000_000
	many := make([]string, 60_000)
	for i := range many {
		many[i] = fmt.Sprintf(`"%x":0`, i*7919%len(many))
	}
	injection := (`' OR 1=1; DROP TABLE receipts; -- "` + "`" + strings.Repeat("x", 64))[:64]
	// A number that is too large is signed as null. So the text is signed with null, which is then
	// replaced.
	const huge = "1e999999999"
	for _, c := range []struct{ name, path, parameters, want string }{
		{"as deep as it may be", "/receipt", `"x":` + strings.Repeat("[", shardus.MaxDepth-1) + strings.Repeat("]", shardus.MaxDepth-1), ""},
		{"many members", "/receipt", strings.Join(many, ","), ""},
		{"a huge number", "/receipt", `"count":null`, "Max count is 100"},
		{"a huge number without a limit", "/receipt", `"startCycle":null,"endCycle":null`, ""},
		{"a huge number of a row", "/account", `"start":null`, "Invalid start and end counters"},
		{"many digits", "/receipt", `"count":` + strings.Repeat("9", 300) + "." + strings.Repeat("9", room), "Max count is 100"},
		{"many decimals", "/receipt", `"count":0.` + strings.Repeat("0", room) + `1`, ""},
		{"a long id", "/account", `"accountId":"` + strings.Repeat("a", room) + `"`, ""},
		{"a long list", "/receipt", `"txIdList":"[` + strings.Repeat("0,", room/2) + `0]"`, "Exceed maximum limit of 100 receipts"},
		{"a deep list", "/receipt", `"txIdList":"` + strings.Repeat("[", room) + `"`, "Invalid txIdList " + strings.Repeat("[", room)},
		{"a long big integer", "/receipt", `"x":{"dataType":"bi","value":"` + strings.Repeat("f", room) + `"}`, ""},
		{"SQL in an id", "/receipt", `"txId":` + string(quote(shardus.TextValue(injection))), ""},
		{"SQL in another id", "/transaction", `"appReceiptId":` + string(quote(shardus.TextValue(injection))), ""},
		{"SQL in a list", "/originalTx", `"txIdList":` + string(quote(shardus.TextValue(`[`+string(quote(shardus.TextValue(injection)))+`]`))), ""},
		{"no type", "/receipt", `"startCycle":1,"type":"count; DROP TABLE receipts"`, ""},
		{"SQL as a number", "/receipt", `"count":"1 OR 1=1"`, "Invalid request data count must be, number"},
	} {
		got := ask(a, "10.0.0.1", c.path, strings.ReplaceAll(signedRequest(c.parameters), "null", huge))
		verify(t, got.body)
		if said := errorOf(got.body); said != c.want || got.status >= 500 || strings.Contains(c.name, "SQL") && strings.Contains(got.body, `"txId"`) {
			t.Errorf("%s: %d %.200s", c.name, got.status, got.body)
		}
	}
	if got := ask(a, "10.0.0.1", "/receipt", signedRequest(`"count":1`)); errorOf(got.body) != "" || a.front.memory.held() != 0 {
		t.Errorf("afterwards: %+v, %d bytes held", got, a.front.memory.held())
	}
	if log.Len() > 0 {
		t.Errorf("logged: %s", &log)
	}
}

// trickle is a body that arrives when the test allows it.
type trickle struct {
	begun sync.Once
	there chan<- struct{} // gets a value when a read waits
	until <-chan struct{}
}

func (b *trickle) Read([]byte) (int, error) {
	b.begun.Do(func() { b.there <- struct{}{} })
	<-b.until
	return 0, io.ErrUnexpectedEOF
}

// deaf is a client that does not read its answer until the test allows it.
type deaf struct {
	*httptest.ResponseRecorder
	begun sync.Once
	there chan<- struct{}
	until <-chan struct{}
}

func (d *deaf) Write(b []byte) (int, error) {
	d.begun.Do(func() { d.there <- struct{}{} })
	<-d.until
	return d.ResponseRecorder.Write(b)
}

// An address that sends half a body a thousand times, or reads no answer, is refused when it holds
// as much as is still free. Others are served, a proxy on this machine as long as memory is free.
// All memory is given back.
func TestSlowClientsHoldTheirShare(t *testing.T) {
	const patient = 500 * time.Millisecond // until a request without room is refused
	a := newAPI(t, unpack(t, "db"), Settings{StopAtCycle: -1, Memory: 8 * maxBody, RequestTime: patient})
	good := signedRequest(`"count":1`)
	there, until := make(chan struct{}), make(chan struct{})
	var attack sync.WaitGroup
	slow := func(from string, length int64) (refused bool) {
		t.Helper()
		r := httptest.NewRequest("POST", "/receipt", &trickle{there: there, until: until})
		r.Header.Set("Content-Type", "application/json")
		r.RemoteAddr, r.ContentLength = from+":1", length
		w := httptest.NewRecorder()
		done := make(chan struct{})
		attack.Go(func() { defer close(done); a.ServeHTTP(w, r) })
		select {
		case <-there:
			return false
		case <-done:
			if w.Code != 503 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "slow clients") {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			return true
		}
	}
	for i, c := range []struct {
		from    string
		length  int64
		refused bool
	}{
		{"10.0.0.1", maxBody, false}, {"10.0.0.1", -1, false}, {"10.0.0.1", 1 << 40, false}, {"10.0.0.1", maxBody, false}, // half of 8
		{"10.0.0.1", 1, true},
		{"10.0.0.2", maxBody, false}, {"10.0.0.2", maxBody, false}, {"10.0.0.2", maxBody, true}, // half of 4
		{"127.0.0.1", maxBody, false}, {"127.0.0.1", maxBody - 10_000, false}, {"127.0.0.1", maxBody, true}, // all that is left
	} {
		if got := slow(c.from, c.length); got != c.refused {
			t.Fatalf("%d: %+v: refused %v", i, c, got)
		}
	}
	if got := ask(a, "10.0.0.3", "/receipt", good); got.status != 200 {
		t.Errorf("another: %+v", got)
	}
	if got := ask(a, "10.0.0.1", "/receipt", good); got.status != 503 {
		t.Errorf("the first again: %+v", got)
	}
	close(until)
	attack.Wait()
	if a.front.memory.held() != 0 || len(a.front.memory.by) != 0 {
		t.Fatalf("%d bytes are still held: %v", a.front.memory.held(), a.front.memory.by)
	}

	// Unread answers.
	if err := a.Reload(Settings{StopAtCycle: -1, Memory: 30_000, RequestTime: patient}); err != nil {
		t.Fatal(err)
	}
	until = make(chan struct{})
	read := 0
	for ; ; read++ {
		r := httptest.NewRequest("POST", "/receipt", strings.NewReader(good))
		r.Header.Set("Content-Type", "application/json")
		r.RemoteAddr = "10.0.0.1:1"
		w := &deaf{ResponseRecorder: httptest.NewRecorder(), there: there, until: until}
		attack.Go(func() { a.ServeHTTP(w, r) })
		<-there
		if w.Code == 503 {
			break
		}
	}
	if got := ask(a, "10.0.0.2", "/receipt", good); got.status != 200 || read == 0 {
		t.Errorf("beside %d unread answers: %+v", read, got)
	}
	close(until)
	attack.Wait()
	if a.front.memory.held() != 0 {
		t.Errorf("%d bytes are still held", a.front.memory.held())
	}
}

// The time limit of a request is a setting, and counts from the end of its body.
func TestRequestTime(t *testing.T) {
	a := newAPI(t, unpack(t, "db"), forever)
	var allowed time.Duration
	asked := *a.routes["/receipt"]
	asked.answer = func(a *API, ctx context.Context, p *policy, s selection, out *answer) error {
		if end, ok := ctx.Deadline(); ok {
			allowed = time.Until(end)
		}
		return context.DeadlineExceeded
	}
	a.routes["/receipt"] = &asked
	for _, limit := range []time.Duration{0, time.Hour} {
		if err := a.Reload(Settings{StopAtCycle: -1, RequestTime: limit}); err != nil {
			t.Fatal(err)
		}
		want := cmp.Or(limit, requestTime)
		if got := ask(a, "10.0.0.1", "/receipt", signedRequest("")); got.status != 503 || allowed > want || allowed < want-requestTime {
			t.Errorf("%v is allowed of %v: %+v", allowed, want, got)
		}
	}
}

// Bodies on the wire: without an end, compressed, announced and never sent.
func TestBodiesOverSockets(t *testing.T) {
	a := newAPI(t, unpack(t, "db"), forever)
	g := gateway.New(gateway.Options{
		API: onAllRoutes(a), Settings: gateway.Settings{MaxConnections: 100},
		Log: slog.New(slog.DiscardHandler),
	})
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	t.Cleanup(func() {
		if err := g.Shutdown(t.Context(), 0); err == nil {
			<-served
		}
	})
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(z, signedRequest(`"count":1`))
	_ = z.Close()
	head := func(headers string) string {
		return "POST /receipt HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n" + headers + "\r\n\r\n"
	}
	chunk := "10000\r\n" + strings.Repeat(" ", 0x10000) + "\r\n"
	for _, c := range []struct {
		name, text string
		again      string // sent for as long as the other side takes it
		want       string // how the answer begins
	}{
		{"chunks without end", head("Transfer-Encoding: chunked"), chunk, "HTTP/1.1 413"},
		{"announced, with a question", head("Content-Length: 99999999999\r\nExpect: 100-continue"), "", "HTTP/1.1 413"},
		{"announced and sent", head("Content-Length: 99999999999"), chunk, "HTTP/1.1 413"},
		{"compressed", head(fmt.Sprintf("Content-Encoding: gzip\r\nContent-Length: %d", zipped.Len())) + zipped.String(), "", "HTTP/1.1 400"},
		{"another type, with a question", strings.Replace(head("Content-Length: 1000000\r\nExpect: 100-continue"), "application/json", "multipart/form-data", 1), "", "HTTP/1.1 415"},
		{"a small one, with a question", head("Content-Length: 2\r\nExpect: 100-continue"), "", "HTTP/1.1 100"},
	} {
		conn := must(net.Dial("tcp", l.Addr().String()))
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(conn, c.text)
		var flood sync.WaitGroup
		sent := 0
		if c.again != "" {
			flood.Go(func() {
				for sent < 64<<20 {
					n, err := io.WriteString(conn, c.again)
					if sent += n; err != nil {
						return
					}
				}
			})
		}
		answer := make([]byte, len(c.want))
		if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != c.want {
			t.Errorf("%s: %q, %v", c.name, answer, err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Millisecond))
		flood.Wait()
		if sent >= 64<<20 {
			t.Errorf("%s: it takes all that is sent", c.name)
		}
		conn.Close()
	}
	eventually(t, "nothing is held", func() bool { return a.front.memory.held() == 0 })
}

// Requests with the query process are bounded, because each costs a descriptor. An address whose
// clients read no answer holds as many as are still free. Its next request waits, and is refused
// when its time is over.
func TestSlowClientsHoldTheirShareOfConnections(t *testing.T) {
	const patient = 300 * time.Millisecond
	a := newAPI(t, unpack(t, "db"), Settings{StopAtCycle: -1, RequestTime: patient})
	a.front.inFlight.limit(8)
	good := signedRequest(`"count":1`)
	there, until := make(chan struct{}), make(chan struct{})
	var clients sync.WaitGroup
	for _, from := range []string{"10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.2"} {
		r := httptest.NewRequest("POST", "/receipt", strings.NewReader(good))
		r.Header.Set("Content-Type", "application/json")
		r.RemoteAddr = from + ":1"
		w := &deaf{ResponseRecorder: httptest.NewRecorder(), there: there, until: until}
		clients.Go(func() { a.ServeHTTP(w, r) })
		<-there
	}
	if held := a.front.inFlight.held(); held != 6 {
		t.Errorf("%d places are held", held)
	}
	for _, from := range []string{"10.0.0.1", "10.0.0.2"} {
		if got := ask(a, from, "/receipt", good); got.status != 503 || !strings.Contains(got.body, "too many requests are under way") {
			t.Errorf("%s: %+v", from, got)
		}
	}
	for _, from := range []string{"10.0.0.3", "127.0.0.1"} {
		if got := ask(a, from, "/receipt", good); got.status != 200 {
			t.Errorf("%s: %+v", from, got)
		}
	}
	a.limitTime(t, patience)
	waits := make(chan reply)
	go func() { waits <- ask(a, "10.0.0.1", "/receipt", good) }()
	eventually(t, "it waits", func() bool {
		a.front.inFlight.mu.Lock()
		defer a.front.inFlight.mu.Unlock()
		return a.front.inFlight.queue.Len() == 1
	})
	close(until)
	if got := <-waits; got.status != 200 {
		t.Errorf("when there is room: %+v", got)
	}
	clients.Wait()
	if a.front.inFlight.held() != 0 || len(a.front.inFlight.by) != 0 {
		t.Errorf("%d places are still held: %v", a.front.inFlight.held(), a.front.inFlight.by)
	}
}

// With few descriptors fewer are used for the query process, but at least one.
func TestConnectionsFollowTheDescriptors(t *testing.T) {
	for limit, want := range map[uint64]int{0: 1, 256: 32, 1024: 128, 2048: maxConnections, 1 << 62: maxConnections} {
		if got := connections(limit); got != want {
			t.Errorf("%d of %d descriptors, want %d", got, limit, want)
		}
	}
}

// Clients that hold every connection to the query process do not affect the primary's own requests,
// which have connections of their own. It does not kill a busy process.
func TestSlowClientsDoNotKeepThePrimaryOut(t *testing.T) {
	f := processes(t, "sound", 6000) // answers that are not read hold their connections
	there, until := make(chan struct{}), make(chan struct{})
	var clients sync.WaitGroup
	for range f.inFlight.max {
		r := httptest.NewRequest("POST", "/originalTx", strings.NewReader(signedRequest(`"count":100`)))
		r.Header.Set("Content-Type", "application/json")
		r.RemoteAddr = "127.0.0.1:1"
		w := &deaf{ResponseRecorder: httptest.NewRecorder(), there: there, until: until}
		clients.Go(func() { f.ServeHTTP(w, r) })
		<-there
	}
	p := must(f.running())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := f.fetchCounters(ctx, p); err != nil {
		t.Error(err)
	}
	if err := f.Reload(forever, slog.LevelInfo); err != nil {
		t.Error(err)
	}
	if _, err := f.await(ctx, true); err != nil {
		t.Error(err)
	}
	close(until)
	clients.Wait()
}
