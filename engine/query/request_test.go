package query

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"distributor/engine/query/querytest"
	"distributor/wsproto/shardus"
)

func TestSubscribersAndExpiry(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	hashKey := must(shardus.ParseHashKey(hashKeyHex))
	request := must(shardus.Parse([]byte(signedRequest(""))))
	for _, c := range []struct {
		key    string
		expiry int64
		want   string
	}{
		{clientPublic, 0, ""},
		{strings.ToUpper(clientPublic), 0, ""}, // keys are compared, not their texts
		{clientPublic, now.UnixMilli() + 1, ""},
		{clientPublic, now.UnixMilli(), "Subscriber subscription expired"},
		{clientPublic, now.UnixMilli() - 1, "Subscriber subscription expired"},
		{clientPublic, 1, "Subscriber subscription expired"},
		{serverPublic, 0, "Data request sender is not a subscriber"},
	} {
		p := must(newPolicy(Settings{LimitToSubscribersOnly: true,
			Subscribers: []Subscriber{{c.key, c.expiry, "FIREHOSE"}}}))
		if got := sentence(p.check(request, identity, hashKey, now)); got != c.want {
			t.Errorf("%s, expiry %d: %q, want %q", c.key[:8], c.expiry, got, c.want)
		}
		p.limit = false
		if why := p.check(request, identity, hashKey, now); why != nil {
			t.Errorf("open to all: %s", why.quoted)
		}
	}
	twice := must(newPolicy(Settings{LimitToSubscribersOnly: true,
		Subscribers: []Subscriber{{clientPublic, 1, ""}, {clientPublic, 0, ""}}}))
	if why := twice.check(request, identity, hashKey, now); why != nil {
		t.Errorf("the last of two entries does not count: %s", why.quoted)
	}
	if _, err := newPolicy(Settings{Subscribers: []Subscriber{{PublicKey: "zz"}}}); err == nil ||
		!strings.Contains(err.Error(), "subscribers[0]") {
		t.Errorf("a bad key: %v", err)
	}
}

func sentence(why *refusal) string {
	if why == nil {
		return ""
	}
	return must(shardus.Parse(why.quoted)).Text()
}

// Cases that the corpus does not have: selectors at their limits, and what is repeated of a
// request.
func TestSelections(t *testing.T) {
	id, other := strings.Repeat("a", 64), strings.Repeat("é", 64)
	list := func(items string) string { return string(quote(shardus.TextValue(items))) }
	for _, c := range []struct {
		path, parameters string
		want             selection
		refused          string
	}{
		{"/receipt", `"start":9007199254740992`, selection{mode: rows, offset: 1 << 53, limit: 1}, ""},
		{"/receipt", `"start":1e300`, selection{}, "Invalid start and end counters"},
		{"/receipt", `"startCycle":1e300,"endCycle":1e300`, selection{mode: between, from: 1e300, to: 1e300, limit: 100}, ""},
		{"/receipt", `"startCycle":1,"page":9007199254740992`, selection{mode: between, from: 1, to: 1, limit: 100, offset: 900719925474099072}, ""},
		{"/receipt", `"startCycle":1,"page":1e16`, selection{}, "Invalid page number"},
		{"/account", `"startCycle":1,"page":3`, selection{mode: between, from: 1, to: 1, limit: 1000, offset: 2000, total: true}, ""},
		{"/account", `"startCycle":1`, selection{mode: between, from: 1, to: 1, limit: 1000, total: true, only: true}, ""},
		{"/account", `"startCycle":-1e400`, selection{}, "Invalid startCycle and endCycle counters"},
		{"/account", `"accountId":"x"`, selection{mode: byID, ids: []string{"x"}}, ""},
		{"/receipt", `"txId":"` + id + `"`, selection{mode: byID, ids: []string{id}}, ""},
		{"/receipt", `"txId":"` + other + `"`, selection{mode: byID, ids: []string{other}}, ""},
		{"/receipt", `"txId":"` + strings.Repeat("😀", 32) + `"`, selection{mode: byID, ids: []string{strings.Repeat("😀", 32)}}, ""},
		{"/receipt", `"txId":"\ud800\"\n"`, selection{}, "Invalid txId \xed\xa0\x80\"\n"},
		{"/receipt", `"txIdList":` + list(`["`+id+`","`+id+`"]`),
			selection{mode: byID, ids: []string{id, id}}, ""},
		{"/receipt", `"txIdList":` + list(`[{"dataType":"bi","value":"0"}]`), selection{},
			"Invalid txId 0 in the List"},
		{"/receipt", `"txIdList":` + list(`[{"dataType":"bi","value":"ffffffffffffffffffff"}]`), selection{}, "Invalid txId 1208925819614629174706175 in the List"},
		{"/receipt", `"txIdList":` + list(`[[1,[null,[true,"x"]],{}]]`), selection{}, "Invalid txId 1,,true,x,[object Object] in the List"},
		{"/receipt", `"txIdList":` + list(`"`+strings.Repeat("a", 101)+`"`), selection{},
			"Exceed maximum limit of 100 receipts"},
		{"/originalTx", `"txIdList":` + list(`{"length":101}`), selection{}, "Exceed maximum limit of 100 original transactions"},
		{"/originalTx", `"txIdList":` + list(`{"length":1e400}`), selection{}, "Exceed maximum limit of 100 original transactions"},
		{"/originalTx", `"txIdList":` + list(`{"length":100}`), selection{},
			`Invalid txIdList {"length":100}`},
		{"/originalTx", `"txIdList":` + list(`"éa"`), selection{}, "Invalid txId é in the List"},
		{"/originalTx", `"txIdList":` + list(strings.Repeat("[", 3000)), selection{}, "Invalid txIdList " + strings.Repeat("[", 3000)},
		{"/transaction", `"appReceiptId":"x"`, selection{mode: byOther, ids: []string{"x"}}, ""},
		{"/transaction", `"appReceiptId":"x","txId":"y"`, selection{mode: byID, ids: []string{"y"}}, ""},
		{"/cycleData", `"cycle":1e400`, selection{mode: counted, from: inf, to: inf}, ""},
		{"/cycleData", `"cycle":-1e-300`, selection{}, "Invalid cycle. Must be a number >= 0"},
	} {
		for _, e := range endpoints {
			if e.path != c.path {
				continue
			}
			request := must(shardus.Parse([]byte("{" + c.parameters + "}")))
			got, why := e.choose(request, e.limits)
			if sentence(why) != c.refused {
				t.Errorf("%s %.60s: refused %q, want %q", c.path, c.parameters, sentence(why), c.refused)
			}
			if why == nil && fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("%s %.60s: %+v, want %+v", c.path, c.parameters, got, c.want)
			}
		}
	}
}

var inf = must(shardus.Parse([]byte("1e400"))).Number()

// FuzzRequest: no body makes the checks or the selectors panic; what is selected is within the
// limits; and a refusal is an answer that verifies.
func FuzzRequest(f *testing.F) {
	for _, c := range querytest.Read().Cases {
		if c.Config == "open" && c.Body != nil && len(*c.Body) < 1000 {
			f.Add([]byte(*c.Body))
		}
	}
	p := must(newPolicy(forever))
	hashKey := must(shardus.ParseHashKey(hashKeyHex))
	by := signer(serverSecret)
	f.Fuzz(func(t *testing.T, body []byte) {
		request, err := jsonBody.parse(body)
		if err != nil {
			return
		}
		for _, e := range endpoints {
			why := p.check(request, e.fields, hashKey, time.Now())
			if wrongField(request, e.fields) == "" {
				// Whether it is signed or not: what would be selected?
				s, wrong := e.choose(request, e.limits)
				if wrong == nil && (s.offset < 0 || s.limit < -1 || s.limit > 1001 || len(s.ids) > 100 ||
					s.from < 0 || s.to < s.from || s.to-s.from > 101) {
					t.Fatalf("%s selects %+v", e.path, s)
				}
				if wrong != nil {
					why = wrong
				}
			}
			if why != nil {
				out := refusing(why)
				out.text = out.seal(hashKey).put(out.text, by)
				if !verify(t, string(out.text)) {
					t.Fatalf("%s is not signed", out.text)
				}
			}
		}
	})
}

// The rules about bodies that the corpus has no room for.
func TestBodies(t *testing.T) {
	a := newAPI(t, unpack(t, "db-empty"), forever)
	for _, c := range []struct {
		name, contentType, body string
		length                  int64 // -1: chunked
		status                  int
	}{
		{"deep", "application/json", strings.Repeat("[", 100_000), 0, 400},
		{"just not too large, chunked", "application/json", strings.Repeat(" ", maxBody), -1, 400},
		{"too large, chunked", "application/json", strings.Repeat(" ", maxBody+1), -1, 413},
		{"too large by its word", "application/json", "{}", maxBody + 1, 413},
		{"cut", "application/json", "{", 2, 400},
		{"no UTF-8", "application/json", "\"\xff\"", 0, 400},
		{"empty text", "text/plain", "", 0, 400},
	} {
		r := httptest.NewRequest("POST", "/cycleinfo", strings.NewReader(c.body))
		if c.length != 0 {
			r.ContentLength = c.length
		}
		if c.length > 0 {
			r.Body = http.MaxBytesReader(nil, r.Body, int64(len(c.body))-1) // fails in the middle
		}
		r.Header.Set("Content-Type", c.contentType)
		w := httptest.NewRecorder()
		if a.ServeHTTP(w, r); w.Code != c.status {
			t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
		}
	}
	w := httptest.NewRecorder()
	if a.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil)); w.Code != 404 || w.Body.String() != `{"message":"Route GET:/metrics not found","error":"Not Found","statusCode":404}` {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
