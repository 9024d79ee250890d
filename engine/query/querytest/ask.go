package querytest

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// patience is the time limit of an answer.
const patience = 20 * time.Second

// Answer is a received answer.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Ask sends the request exactly as it was recorded, on a new connection. Path and headers are not
// changed.
func (c *Case) Ask(address string) (Answer, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return Answer{}, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	body, err := c.body()
	if err != nil {
		return Answer{}, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", c.Method, c.Path, address)
	for name, value := range c.Headers {
		fmt.Fprintf(&b, "%s: %s\r\n", name, value)
	}
	switch {
	case c.Headers["transfer-encoding"] == "chunked":
		half := len(body) / 2
		body = fmt.Appendf(nil, "%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n",
			half, body[:half], len(body)-half, body[half:])
	case c.Body != nil || c.Base64 != "":
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n")
	in := bufio.NewReader(conn)
	request := &http.Request{Method: c.Method}
	if c.Headers["expect"] != "" {
		_, _ = conn.Write(b.Bytes()) // an error shows in the answer
		b.Reset()
		if r, err := http.ReadResponse(in, request); err != nil || r.StatusCode != http.StatusContinue {
			return Answer{}, fmt.Errorf("no 100: %v, %w", r, err)
		}
	}
	b.Write(body)
	if _, err := conn.Write(b.Bytes()); err != nil {
		return Answer{}, err
	}
	r, err := http.ReadResponse(in, request)
	if err != nil {
		return Answer{}, err
	}
	text, err := io.ReadAll(r.Body)
	return Answer{r.StatusCode, r.Header, string(text)}, err
}

func (c *Case) body() ([]byte, error) {
	if c.Body != nil {
		return []byte(*c.Body + strings.Repeat(" ", c.Pad)), nil
	}
	return base64.StdEncoding.DecodeString(c.Base64)
}
