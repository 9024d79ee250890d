package gateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"distributor/engine/supervisor"
	"distributor/wsproto/shardus"
)

// Attacks on the public port that the other test files do not have. docs/THREATS.md lists all
// attacks. An attack that depends on bytes or time goes over a socket.

// statuses sends bytes, closes our side, and returns the statuses of all answers up to the end of
// the connection.
func statuses(t testing.TB, addr, text string) (list []int) {
	t.Helper()
	conn := must(net.Dial("tcp", addr))
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(conn, text)
	_ = conn.(*net.TCPConn).CloseWrite()
	for in := bufio.NewReader(conn); ; {
		answer, err := http.ReadResponse(in, nil)
		if err != nil {
			return list
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			t.Errorf("%.100q: a broken answer: %v", text, err)
		}
		list = append(list, answer.StatusCode)
	}
}

// If a proxy may see another end of a request than the gateway, no further request follows it: a
// hidden request gets no answer.
func TestSmuggling(t *testing.T) {
	addr := serve(t, newGateway(t, "open", func(o *Options) { o.API = onAllRoutes(echoAPI) }))
	const hidden = "GET /is-alive HTTP/1.1\r\nHost: x\r\n\r\n"
	post := func(headers, body string) string {
		return "POST /receipt HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n\r\n" + body
	}
	refused := strings.ReplaceAll(upgradeRequest("/?data=x"), "\r\n\r\n", "\r\n\r\n"+hidden)
	for _, c := range []struct {
		text string
		want []int
	}{
		{hidden + hidden, []int{200, 200}}, // pipelining as such is fine
		{post("Content-Length: 2", "{}"+hidden), []int{200, 200}},
		{"GET /is-alive HTTP/1.1\r\nHost: x\r\nContent-Length: 44\r\n\r\n" + hidden, []int{200}},

		{post("Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n"+hidden), []int{200}},
		{post("Transfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n"+hidden), []int{200}},
		{post("Transfer-Encoding: chunked", "2;a=b\r\n{}\r\n0\r\nContent-Length: 9\r\n\r\n"+hidden),
			[]int{200}},
		{post("Transfer-Encoding:\r\n chunked", "0\r\n\r\n"+hidden), []int{200}},
		{post("Transfer-Encoding: chunked", "2\n{}\n0\n\n"+hidden), []int{200}},
		{post("Transfer-Encoding: chunked", "-2\r\n{}\r\n0\r\n\r\n"+hidden), []int{200}},
		{post("Transfer-Encoding: chunked", "fffffffffffffffff\r\n{}\r\n0\r\n\r\n"+hidden), []int{200}},
		{strings.Replace(post("Transfer-Encoding: chunked\r\nConnection: keep-alive",
			"0\r\n\r\n"+hidden), "HTTP/1.1", "HTTP/1.0", 1), []int{200}},
		{post("Transfer-Encoding: chunked, identity", hidden), []int{501}},
		{post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", hidden), []int{501}},
		{post("Transfer-Encoding: xchunked", hidden), []int{501}},
		{post("Transfer-Encoding: \vchunked", hidden), []int{400}},
		{post("Transfer-Encoding : chunked", hidden), []int{400}},
		{post("Content-Length : 2", "{}"+hidden), []int{400}},
		{post("Content-Length: 2\r\nContent-Length: 3", "{}"+hidden), []int{400}},
		{post("Content-Length: 2, 2", "{}"+hidden), []int{400}},
		{post("Content-Length: +2", "{}"+hidden), []int{400}},
		{post("Content-Length: 0x2", "{}"+hidden), []int{400}},
		{post("Content-Length: -1", "{}"+hidden), []int{400}},
		{post("Content-Length: 18446744073709551618", "{}"+hidden), []int{400}},
		{post("X: a\rContent-Length: 2", "{}"+hidden), []int{400}},
		{post("X: a\x00", hidden), []int{400}},
		{"GET /is-alive HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n" + hidden, []int{400}},
		{"GET  /is-alive HTTP/1.1\r\nHost: x\r\n\r\n" + hidden, []int{400}},
		{"GET /is-alive\r\n\r\n" + hidden, []int{400}},
		{"GET /is-alive HTTP/0.9\r\n\r\n" + hidden, []int{505}},

		// Other protocols are not supported, and nothing is requested from other servers.
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00" + hidden, []int{404}},
		{"GET /is-alive HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n" + hidden, []int{400}},
		{"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n", []int{404}},
		{"GET http://127.0.0.1:22/ HTTP/1.1\r\nHost: x\r\n\r\n", []int{404}},
		{"TRACE /is-alive HTTP/1.1\r\nHost: x\r\nCookie: a\r\n\r\n", []int{404}},

		// A request behind a refused upgrade.
		{refused, []int{400}},
		{strings.Replace(refused, "GET", "POST", 1), []int{400}},
	} {
		if got := statuses(t, addr, c.text); !slices.Equal(got, c.want) {
			t.Errorf("%q: %v, want %v", c.text, got, c.want)
		}
	}
}

// The bytes behind an accepted upgrade belong to the client, all of them and no others, even if
// they look like a request.
func TestRequestsBehindAnUpgrade(t *testing.T) {
	hidden := strings.Repeat("GET /is-alive HTTP/1.1\r\nHost: x\r\n\r\n", 1000)
	early := make(chan string, 1)
	g := newGateway(t, "open", func(o *Options) {
		o.Workers = connectFunc(func(_ context.Context, c supervisor.Client, _ int) error {
			early <- string(c.Early)
			return nil
		})
	})
	conn := must(net.Dial("tcp", serve(t, g)))
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(conn, upgradeRequest(target(signedData("known", time.Now(), ""), ""))+hidden)
	if got := <-early; !strings.HasPrefix(hidden, got) || len(got) > 4096 {
		t.Errorf("%.60q, %d bytes", got, len(got))
	}
	// The gateway has closed its descriptor, the only one here, and has sent nothing.
	if got, _ := io.ReadAll(conn); len(got) > 0 {
		t.Errorf("answered: %q", got)
	}
	eventually(t, "it is handed over, nothing was malformed", func() bool {
		s := g.Snapshot()
		return s.HandedOver == 1 && s.Malformed == 0
	})
}

// A client that sends a byte now and then has no more time than a client that sends none. The same
// holds for a client that sends nothing after an answer.
func TestSlowloris(t *testing.T) {
	const short = 100 * time.Millisecond
	g := newGateway(t, "open", func(o *Options) { o.API = onAllRoutes(echoAPI) })
	for _, limit := range []time.Duration{g.server.ReadHeaderTimeout, g.server.ReadTimeout,
		g.server.WriteTimeout, g.server.IdleTimeout} {
		if limit <= 0 || limit > 2*time.Minute {
			t.Errorf("a limit of %v", limit)
		}
	}
	g.server.ReadHeaderTimeout, g.server.ReadTimeout, g.server.IdleTimeout = short, 2*short, short
	addr := serve(t, g)
	trickle := func(conn net.Conn) {
		for {
			if _, err := conn.Write([]byte("x")); err != nil {
				return
			}
			time.Sleep(short / 20)
		}
	}
	for name, begin := range map[string]string{
		"request line": "GET /", "header": "GET / HTTP/1.1\r\nHost: x\r\nX: ",
		"upgrade": "GET /?data=", "body": "POST /receipt HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n",
		"chunk":         "POST /receipt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n",
		"second header": "GET /is-alive HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nX: ",
	} {
		conn := must(net.Dial("tcp", addr))
		_, _ = io.WriteString(conn, begin)
		eventually(t, name+": it is there", func() bool { return g.Snapshot().Connections == 1 })
		var attacker sync.WaitGroup
		attacker.Go(func() { trickle(conn) })
		eventually(t, name+": it is given up", func() bool { return g.Snapshot().Connections == 0 })
		conn.Close()
		attacker.Wait()
	}
	idle := must(net.Dial("tcp", addr))
	defer idle.Close()
	_ = idle.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(idle, "GET /is-alive HTTP/1.1\r\nHost: x\r\n\r\n")
	// up to the end
	if answer, err := io.ReadAll(idle); err != nil ||
		!bytes.HasPrefix(answer, []byte("HTTP/1.1 200")) {
		t.Errorf("%q, %v", answer, err)
	}
}

// Changed limits against floods apply at once, and a header that any client can send does not
// change the address that is counted.
func TestFloodLimitsAreSettings(t *testing.T) {
	settings := settingsOf("open")
	settings.UpgradeRateLimit, settings.RateLimit, settings.MaxConnections = 1, 1, 4
	g := newGateway(t, "open", func(o *Options) { o.Settings = settings })
	g.limitLoopback = true
	g.requests.hold, g.upgrades.hold, g.conns.waiting.most = 0, 0, time.Millisecond
	addr := serve(t, g)
	upgrade := strings.Replace(upgradeRequest(target(signedData("known", time.Now(), ""), "")),
		"\r\n\r\n",
		"\r\nX-Forwarded-For: 10.0.0.N\r\nForwarded: for=10.0.0.N\r\nX-Real-IP: 10.0.0.N\r\n\r\n", 1)
	for i := range upgradeBurst + 1 {
		want := 101
		if i == upgradeBurst {
			want = 429
		}
		if got := request(t, "127.0.0.1", addr,
			strings.ReplaceAll(upgrade, "10.0.0.N", fmt.Sprintf("10.0.0.%d", i))); got.status != want {
			t.Fatalf("upgrade %d: %+v", i, got)
		}
	}
	for i, want := range []int{404, 429} {
		if got := request(t, "127.0.0.1", addr,
			fmt.Sprintf("GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Forwarded-For: 10.0.0.%d\r\n\r\n", i)); got.status != want {
			t.Errorf("request %d: %+v", i, got)
		}
	}
	eventually(t, "nobody is there", func() bool { return g.Snapshot().Connections == 0 })
	for i := range 2 {
		from(t, "127.0.0.2", addr)
		eventually(t, "they are open", func() bool { return g.Snapshot().Connections == i+1 })
	}
	if got := request(t, "127.0.0.2", addr, ""); got.status != 429 {
		t.Errorf("a third of four: %+v", got)
	}
	settings.MaxConnections = 16
	g.Reload(settings)
	if got := request(t, "127.0.0.2", addr, "GET /is-alive"+closing); got.status != 200 {
		t.Errorf("after a reload: %+v", got)
	}
}

// A page in a browser may connect like any program: there are no cookies, so the page has only what
// it can sign. Origin is not checked, as in the replaced service.
func TestForeignPages(t *testing.T) {
	addr := serve(t, newGateway(t, "subs", func(o *Options) { o.API = onAllRoutes(echoAPI) }))
	const origin = "\r\nOrigin: https://evil.example\r\nSec-Fetch-Site: cross-site\r\nCookie: session=1\r\nAuthorization: Basic eDp5"
	page := func(request string) string {
		return strings.Replace(request, "\r\n\r\n", origin+"\r\n\r\n", 1)
	}
	for _, c := range []struct {
		request string
		status  int
	}{
		{upgradeRequest(target(signedData("known", time.Now(), ""), "")), 101},
		{upgradeRequest(target(signedData("unknown", time.Now(), ""), "")), 401},
		{upgradeRequest("/"), 400},
		{"GET /is-alive" + closing, 200},
		{"OPTIONS /receipt HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccess-Control-Request-Method: POST\r\n\r\n", 204},
	} {
		got := exchange(t, addr, page(c.request))
		if got.status != c.status {
			t.Errorf("%.60q: %+v", c.request, got)
		}
		if h := got.header; h.Get("Access-Control-Allow-Credentials") != "" ||
			h.Get("Set-Cookie") != "" || h.Get("Access-Control-Allow-Origin") == "https://evil.example" {
			t.Errorf("%.60q: %v", c.request, h)
		}
	}
}

// Client text in the log and in answers is escaped and bounded.
func TestLogInjection(t *testing.T) {
	known := keys["known"].PublicKey
	for form, handler := range map[string]func(io.Writer) slog.Handler{
		"text": func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) },
		"json": func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) },
	} {
		var mu sync.Mutex
		var out bytes.Buffer
		g := newGateway(t, "subs", func(o *Options) {
			o.Log = slog.New(handler(lockedWriter{&mu, &out}))
			o.API = onAllRoutes(echoAPI)
		})
		now := noon
		g.now = func() time.Time { now = now.Add(logEvery); return now } // every refusal is logged
		addr := serve(t, g)
		refusals := 0
		for _, evil := range []string{
			"\nlevel=ERROR msg=forged", "\r\n{\"level\":\"ERROR\"}", "\x1b]0;title\x07\x1b[2J",
			"\u009b31m", "\x00\x7f", "\u202egnp.exe", "\u2028", "\ufeff", `"\`, "\xff\xfe", "\xed\xa0\x80",
			strings.Repeat("A", 3000),
		} {
			text := string(must(json.Marshal(evil)))
			for _, request := range []string{
				upgradeRequest(target(sign("known", info("1", text)), "")),
				upgradeRequest(target(`{"collectorInfo":{},"sender":`+text+`,"sign":{"owner":`+text+
					`,"sig":`+text+`}}`, "")),
				upgradeRequest(target(evil, "")),
				upgradeRequest(target(`{`+text+`:{"dataType":"bi","value":`+text+`}}`, "")),
				upgradeRequest(target(strings.Replace(sign("known",
					info(fmt.Sprint(noon.UnixMilli()), `"FIREHOSE"`)), known, known+evil, 1), "")),
				upgradeRequest("/?data=" + url.QueryEscape(signedData("known", noon, "")) + "&data=" +
					url.QueryEscape(evil)),
				upgradeRequest(target(signedData("known", now.Add(time.Minute), ""),
					"&from="+url.QueryEscape(evil))),
				"GET /" + url.PathEscape(evil) + "?;x" + closing,
				"OPTIONS / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nOrigin: x\r\nAccess-Control-Request-Method: x\r\nAccess-Control-Request-Headers: " + url.PathEscape(evil) + "\r\n\r\n",
			} {
				got := exchange(t, addr, request)
				if got.status < 200 {
					t.Fatalf("let in: %+v", got)
				}
				if strings.Contains(request, "Upgrade") {
					refusals++
					if len(got.body) > 1000 || !json.Valid([]byte(got.body)) ||
						strings.ContainsFunc(got.body, unprintable) {
						t.Errorf("%s: answer %q", form, got.body)
					}
				}
			}
		}
		mu.Lock()
		log := strings.TrimSuffix(out.String(), "\n")
		mu.Unlock()
		lines := strings.Split(log, "\n")
		if len(lines) != refusals {
			t.Errorf("%s: %d lines for %d refusals", form, len(lines), refusals)
		}
		for _, line := range lines {
			if len(line) > 800 || strings.ContainsFunc(line, unprintable) ||
				!strings.Contains(line, "request refused") {
				t.Errorf("%s: %q", form, line)
			}
		}
	}
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// Signatures that can be made without the key, or derived from others by anybody, are refused.
func TestForgedSignatures(t *testing.T) {
	open, subs := policyOf("open"), policyOf("subs")
	known := keys["known"].PublicKey
	good := signedData("known", noon, "")
	sig := good[strings.Index(good, `"sig":"`)+7:][:192]

	// A lax verifier takes S, and S plus the order of the group, for the same signature.
	order, _ := new(big.Int).SetString(
		"7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	s := must(hex.DecodeString(sig[64:128]))
	slices.Reverse(s)
	malleable := new(big.Int).Add(new(big.Int).SetBytes(s), order).FillBytes(make([]byte, 32))
	slices.Reverse(malleable)
	negative := must(hex.DecodeString(sig[:64]))
	negative[31] ^= 0x80
	forged := map[string]string{
		"S plus the order":  strings.Replace(good, sig[64:128], hex.EncodeToString(malleable), 1),
		"another sign of R": strings.Replace(good, sig[:64], hex.EncodeToString(negative), 1),
		"S is nothing":      strings.Replace(good, sig[64:128], strings.Repeat("0", 64), 1),
		"the hash alone":    strings.Replace(good, sig[:128], strings.Repeat("0", 128), 1),
	}
	// Keys of small order, in all their encodings: for some verifiers R = identity, S = 0 fits any
	// text.
	for _, key := range []string{
		"0100000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000080",
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0000000000000000000000000000000000000000000000000000000000000080",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	} {
		for _, rs := range []string{
			"01" + strings.Repeat("00", 63), key + strings.Repeat("00", 32),
			// the base point and 1: right for the identity as key
			"58" + strings.Repeat("66", 31) + "01" + strings.Repeat("00", 31),
		} {
			text := strings.ReplaceAll(strings.Replace(good, sig[:128], rs, 1), known, key)
			// The hash behind the signature must be that of the text; otherwise the request is refused for
			// that.
			object := must(shardus.Parse([]byte(text))).Without("sign")
			signed := must(shardus.Parse(must(signerOf("known").AppendSigned(nil, object))))
			hash := signed.Get("sign").Get("sig").Text()[128:]
			forged["key "+key[:4]+key[60:]+" R "+rs[:4]] = strings.Replace(text, sig[128:], hash, 1)
		}
	}
	for name, data := range forged {
		if _, why := open.authenticate(data, noon); why == nil || why.reason != wrongSignature {
			t.Errorf("%s: %+v", name, why)
		}
		if _, why := subs.authenticate(data, noon); why == nil {
			t.Errorf("%s: a subscriber", name)
		}
	}
}

// What is verified is what is used: one parse, one meaning. A captured request that is written in
// another way gives the same identity or none.
func TestOneMeaning(t *testing.T) {
	p := policyOf("subs")
	good := signedData("known", noon, "")
	want, why := p.authenticate(good, noon)
	if why != nil {
		t.Fatal(why.sentence)
	}
	known, second, stamp := keys["known"].PublicKey, keys["second"].PublicKey,
		fmt.Sprint(noon.UnixMilli())
	other := signedData("second", noon.Add(20*time.Second), "")
	otherSign := other[strings.Index(other, `"sign":`) : len(other)-1]
	insert := func(members string) string { return "{" + members + "," + good[1:] }
	for name, c := range map[string]struct {
		data string
		same bool
	}{
		"members first that are given again": {insert(`"sender":"` + second +
			`","collectorInfo":{"timestamp":1},` + otherSign), true},
		"sender again": {good[:len(good)-1] + `,"sender":"` + second + `"}`,
			false},
		"collectorInfo again": {good[:len(good)-1] +
			`,"collectorInfo":{"subscriptionType":"FIREHOSE","timestamp":` +
			fmt.Sprint(noon.Add(time.Minute).UnixMilli()) + `}}`, false},
		"another's sign again": {good[:len(good)-1] + `,` + otherSign + `}`, false},
		"owner again": {strings.Replace(good, `"owner":"`+known+`"`,
			`"owner":"`+known+`","owner":"`+second+`"`, 1), false},
		"owner before": {strings.Replace(good, `"owner":`,
			`"owner":"`+second+`","owner":`, 1), true},
		"escaped names": {strings.NewReplacer(`"sender"`, `"\u0073ender"`,
			`"sign"`, `"sig\u006e"`, `"timestamp"`, `"time\u0073tamp"`).Replace(good), true},
		"an escaped sender again": {good[:len(good)-1] + `,"\u0073ender":"` + second +
			`"}`, false},
		"__proto__ of all": {insert(`"__proto__":{"sender":"` + second +
			`","limit":false}`), true},
		"__proto__ of sign": {strings.Replace(good, `"sign":{`,
			`"sign":{"__proto__":{"owner":"`+second+`"},"constructor":{"prototype":{}},`, 1), true},
		"sign alone in __proto__": {strings.Replace(good, `"sign":`, `"__proto__":`, 1),
			false},
		"sender alone in __proto__": {strings.Replace(good, `"sender":"`+known+`"`,
			`"__proto__":{"sender":"`+known+`"}`, 1), false},
		"more in sign": {strings.Replace(good, `"sign":{`,
			`"sign":{"sender":"`+second+`","x":[1e999],`, 1), true},
		"the time in another spelling": {strings.Replace(good, stamp,
			stamp[:len(stamp)-2]+"."+stamp[len(stamp)-2:]+"e2", 1), true},
		"the time, too long to be exact": {strings.Replace(good, stamp,
			stamp+".000000000000000000000000000000000000001", 1), true},
		"the time, half a millisecond later": {strings.Replace(good, stamp, stamp+".5", 1), false},
		"white space": {strings.NewReplacer(`{`, " {\n", `:`, "\t: ", `,`,
			" ,\r\n").Replace(good), true},
		"the reading that is escaped once": {url.PathEscape(good), true},
		"a text behind":                    {good + good, false},
		"in an array":                      {"[" + good + "]", false},
		"a time that is null when it is read": {strings.Replace(sign("known",
			info("null", `"FIREHOSE"`)), "null", "1e400", 1), false},
		"a typed sender": {strings.Replace(good, `"sender":"`+known+`"`,
			`"sender":{"dataType":"bb","value":"`+known+`"}`, 1), false},
		"a typed sig": {strings.Replace(good, `"sig":`,
			`"sig":{"dataType":"bi","value":"1"},"x":`, 1), false},
	} {
		switch got, why := p.authenticate(c.data, noon); {
		case c.same && (why != nil || got != want):
			t.Errorf("%s: %+v, %+v", name, got, why)
		case !c.same && why == nil:
			t.Errorf("%s: let in as %+v", name, got)
		}
	}
}

// Bombs of depth, size and numbers, as large as a request may be.
func TestBombs(t *testing.T) {
	addr := serve(t, newGateway(t, "subs", nil))
	const room = 12_000 // of the 16 KiB
	for _, c := range []struct{ name, data, reason string }{
		{"as deep as it may be", signedDeep(shardus.MaxDepth - 1), ""}, // and one for the object around
		{"a level deeper", signedDeep(shardus.MaxDepth), "malformed_data"},
		{"open arrays", strings.Repeat("[", room), "malformed_data"},
		{"open objects", strings.Repeat(`{"":`, room/4), "malformed_data"},
		{"a huge exponent", strings.Replace(sign("known", info("null", `"FIREHOSE"`)), "null",
			"1e999999999", 1), "timestamp_in_future"},
		{"a huge negative one", strings.Replace(sign("known", info("0", `"FIREHOSE"`)), ":0}",
			":-1e-999999999}", 1), "no_timestamp"},
		{"many digits", strings.Replace(sign("known", info("null", `"FIREHOSE"`)), "null",
			strings.Repeat("9", room), 1), "timestamp_in_future"},
		{"many decimals", strings.Replace(sign("known", info("0", `"FIREHOSE"`)), ":0}",
			":0."+strings.Repeat("0", room)+"1}", 1), "no_timestamp"},
		{"a long big integer", signedData("known", time.Now(), `,"x":{"dataType":"bi","value":"`+
			strings.Repeat("f", room)+`"}`), ""},
		{"big integers in big integers",
			strings.Repeat(`{"dataType":"bi","value":`, 400) + `"1"` + strings.Repeat("}", 400),
			"wrong_type"},
		{"many members", signedData("known", time.Now(), ","+members(1500)), ""},
		{"one member often", "{" + strings.Repeat(`"a":1,`, room/6) + `"a":1}`, "wrong_type"},
		{"a long key", `{"` + strings.Repeat("k", room) + `":1}`, "wrong_type"},
	} {
		// QueryEscape would turn one byte into three.
		request := upgradeRequest("/?data=" + strings.NewReplacer(" ", "+", "%", "%25", "#", "%23",
			"&", "%26").Replace(c.data))
		if len(request) > 16<<10 {
			t.Fatalf("%s: %d bytes", c.name, len(request))
		}
		got := exchange(t, addr, request)
		if c.reason == "" {
			if got.status != 101 {
				t.Errorf("%s: %+v", c.name, got)
			}
		} else if r := refusalOf(t, got); r.Reason != c.reason {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
}

func members(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(`"%x":1`, i*7919%n) // in no order
	}
	return strings.Join(list, ",")
}

// signedDeep signs an object with a member of this many levels. If that is too deep for our own
// parser, the signature is that of a less deep object.
func signedDeep(levels int) string {
	legal := min(levels, shardus.MaxDepth-1)
	data := signedData("known", time.Now(), `,"x":`+strings.Repeat("[", legal)+strings.Repeat("]",
		legal))
	return strings.Replace(data, `"x":`, `"x":`+strings.Repeat("[", levels-legal),
		1)[:len(data)+levels-legal-1] + "}"
}

// Refused clients leave nothing in memory: neither their signatures nor their keys.
func TestRefusedClientsTakeNoMemory(t *testing.T) {
	g := newGateway(t, "subs", nil)
	addr := serve(t, g)
	for i := range 50 {
		public, secret, err := shardus.GenerateKey()
		if err != nil {
			t.Fatal(err)
		}
		by := shardus.NewSigner(secret, must(shardus.ParseHashKey(hashKeyHex)))
		text := fmt.Sprintf(`{"collectorInfo":{"subscriptionType":"FIREHOSE","timestamp":%d},"sender":"%s"}`, time.Now().UnixMilli(), public)
		data := string(must(by.AppendSigned(nil, must(shardus.Parse([]byte(text))))))
		if i%2 == 1 { // in the name of a subscriber
			data = strings.ReplaceAll(data, public.String(), keys["known"].PublicKey)
		}
		if got := exchange(t, addr, upgradeRequest(target(data, ""))); got.status != 401 {
			t.Fatalf("%+v", got)
		}
	}
	if n := len(g.used.used); n != 0 {
		t.Errorf("%d keys are remembered", n)
	}
}
