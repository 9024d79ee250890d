package query

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"unicode/utf8"

	"distributor/wsproto/shardus"
)

// This file follows the rules about bodies of the replaced service's framework (fastify 4).

// maxBody is the longest body that is read.
const maxBody = 1 << 20

// httpError is an error answer of the framework: not signed, members in this order.
type httpError struct {
	status  int
	code    string // may be empty
	message string
}

func (e *httpError) Error() string { return e.message }

func (e *httpError) body() []byte {
	code := ""
	if e.code != "" {
		code = `"code":"` + e.code + `",`
	}
	name := http.StatusText(e.status)
	if e.status == http.StatusRequestEntityTooLarge {
		name = "Payload Too Large"
	}
	return fmt.Appendf(nil, `{"statusCode":%d,%s"error":"%s","message":%s}`,
		e.status, code, name, quote(shardus.TextValue(e.message)))
}

// bodyKind is how a body is parsed.
type bodyKind uint8

const (
	noBody bodyKind = iota
	jsonBody
	textBody
)

// bodySize returns how much memory the body may take, in bytes.
func bodySize(r *http.Request) int64 {
	if r.ContentLength < 0 || r.ContentLength > maxBody {
		return maxBody
	}
	return r.ContentLength
}

// readBody reads the body. A body without a known type is an error.
func readBody(r *http.Request) ([]byte, bodyKind, *httpError) {
	declared, typed := r.Header["Content-Type"]
	if !typed && r.ContentLength == 0 && len(r.TransferEncoding) == 0 {
		return nil, noBody, nil
	}
	kind, contentType := noBody, ""
	if typed {
		contentType = declared[0]
	}
	switch lower := strings.ToLower(contentType); {
	case strings.HasPrefix(lower, "application/json"):
		kind = jsonBody
	case strings.HasPrefix(lower, "text/plain"):
		kind = textBody
	default:
		if contentType == "" {
			contentType = "undefined"
		}
		return nil, 0, &httpError{http.StatusUnsupportedMediaType, "FST_ERR_CTP_INVALID_MEDIA_TYPE",
			"Unsupported Media Type: " + contentType}
	}
	tooLarge := &httpError{http.StatusRequestEntityTooLarge, "FST_ERR_CTP_BODY_TOO_LARGE",
		"Request body is too large"}
	if r.ContentLength > maxBody {
		if r.Header.Get("Expect") == "" { // else reading would make the client send it
			drain(r.Body)
		}
		return nil, 0, tooLarge
	}
	text, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	switch {
	case len(text) > maxBody:
		drain(r.Body)
		return nil, 0, tooLarge
	case err != nil:
		return nil, 0, &httpError{http.StatusBadRequest, "", "The body did not come whole"}
	case !utf8.Valid(text):
		return nil, 0, &httpError{http.StatusBadRequest, "FST_ERR_CTP_INVALID_CONTENT_LENGTH",
			"The body is not UTF-8"}
	}
	return text, kind, nil
}

// drain reads a little of the rest of a body, so that a client that writes before it reads gets the
// answer: closing a connection with unread bytes resets it.
func drain(body io.Reader) { _, _ = io.CopyN(io.Discard, body, 4*maxBody) }

// contentType returns the kind's name in messages between the processes.
func (k bodyKind) contentType() string {
	return [...]string{noBody: "", jsonBody: "application/json", textBody: "text/plain"}[k]
}

func kindOf(contentType string) bodyKind {
	switch contentType {
	case jsonBody.contentType():
		return jsonBody
	case textBody.contentType():
		return textBody
	}
	return noBody
}

// parse returns a body as a value: Undefined for no body, a text for text/plain. An error is an
// *httpError.
func (k bodyKind) parse(text []byte) (shardus.Value, error) {
	switch k {
	case noBody:
		return shardus.Value{}, nil
	case textBody:
		return shardus.TextValue(string(text)), nil
	}
	v, err := shardus.Parse(text)
	if err != nil {
		return v, &httpError{http.StatusBadRequest, "", strings.TrimPrefix(err.Error(), "shardus: ")}
	}
	return v, nil
}
