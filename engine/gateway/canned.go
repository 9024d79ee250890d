package gateway

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
)

// A request that net/http cannot read never reaches a handler: the server writes a line of plain
// text straight to the connection. So the connection looks for these answers while no handler works
// on it. It sends in their place what all other refusals are: JSON, in the words of the replaced
// service where it has some.

// cannedHeaders is what follows the status line in net/http's own answers. Answers of handlers have
// a date.
var cannedHeaders = []byte("\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n")

// headKept is how much of a request is kept to describe what was wrong with it.
const headKept = 512

// replaceCanned returns the answer to send in place of one of net/http's own, and nil for any other
// answer. head is the beginning of the request.
func replaceCanned(b, head []byte) []byte {
	line, _, canned := bytes.Cut(b, cannedHeaders)
	text, http1 := strings.CutPrefix(string(line), "HTTP/1.1 ")
	if len(text) < 3 || !canned || !http1 {
		return nil
	}
	status, err := strconv.Atoi(text[:3])
	if err != nil || http.StatusText(status) == "" {
		return nil
	}
	_, message, explained := strings.Cut(text, ": ")
	if !explained {
		message = whatIsWrong(status, head)
	}
	body := encode(badRequest{http.StatusText(status), message, status})
	answer := "HTTP/1.1 " + strconv.Itoa(status) + " " + http.StatusText(status) +
		"\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: " +
		strconv.Itoa(len(body)) + "\r\n\r\n"
	return append([]byte(answer), body...)
}

func whatIsWrong(status int, head []byte) string {
	if status != http.StatusBadRequest {
		return http.StatusText(status)
	}
	line, _, whole := bytes.Cut(head, []byte("\r\n"))
	if words := strings.Split(string(line), " "); whole && len(words) == 3 {
		if _, ok := decodeComponent(pathOf(words[1])); !ok {
			return notURLComponent(words[1])
		}
	}
	return "Client Error"
}
