package gateway

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strconv"

	"distributor/wsproto"
)

// retryAfter is the number of seconds that a 503 or 429 asks the client to wait: about the time
// that a worker takes to start, and short compared with the handshake window.
const retryAfter = 2

// A refusal is the answer to an upgrade that does not become a WebSocket.
type refusal struct {
	reason   reason
	status   int         // if it differs from the reason's status; otherwise 0
	sentence string      // what is wrong, for the operator of the collector
	detail   string      // logged in place of sentence: a cause that clients must not see
	more     http.Header // headers of the answer, beside those of every refusal

	// For from=: the available positions, and where to continue, if that is known.
	floor, head, from *wsproto.Position
}

func refuse(why reason, sentence string) *refusal {
	return &refusal{reason: why, sentence: sentence}
}

func (r *refusal) code() int {
	if r.status != 0 {
		return r.status
	}
	return r.reason.status
}

// body returns the answer, sorted like canonical text but not signed: a collector must not mistake
// it for an answer of the API.
func (r *refusal) body() []byte {
	answer := struct {
		Error   string `json:"error"`
		Floor   string `json:"floor,omitempty"`
		From    string `json:"from,omitempty"`
		Head    string `json:"head,omitempty"`
		Reason  string `json:"reason"`
		Success bool   `json:"success"`
	}{Error: r.sentence, Reason: r.reason.name}
	if r.floor != nil {
		answer.Floor, answer.Head = r.floor.String(), r.head.String()
	}
	if r.from != nil {
		answer.From = r.from.String()
	}
	return encode(answer)
}

func (r *refusal) header(h http.Header) {
	setCORS(h)
	h.Set("Content-Type", contentJSON)
	h.Set("Connection", "close")
	for name, values := range r.more {
		h[name] = values
	}
	if code := r.code(); code == http.StatusUpgradeRequired {
		h.Set("Upgrade", "websocket")  // RFC 9110 §15.5.22
		h.Add("Connection", "Upgrade") // a separate line, because the server looks for "close" alone
	} else if code == http.StatusServiceUnavailable || code == http.StatusTooManyRequests {
		h.Set("Retry-After", strconv.Itoa(retryAfter))
	}
}

// answer writes the refusal through the HTTP server.
func (r *refusal) answer(w http.ResponseWriter) {
	body := r.body()
	r.header(w.Header())
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(r.code())
	_, _ = w.Write(body) // the client may have gone
}

// appendTo appends the refusal as bytes, for a socket that the HTTP server does not control.
func (r *refusal) appendTo(dst []byte) []byte {
	body := r.body()
	answer := http.Response{
		StatusCode: r.code(), ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Close: true,
		ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
	}
	r.header(answer.Header)
	buf := bytes.NewBuffer(dst)
	_ = answer.Write(buf) // a buffer takes everything
	return buf.Bytes()
}

// encode returns v as JSON without escaping <, > and &, which JSON.stringify does not escape
// either.
func encode(v any) []byte {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("gateway: " + err.Error()) // our own structs can be encoded
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}
