package query

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"distributor/engine/gateway"
)

// recorded is a request of testdata/api.jsonl.gz, which was recorded from the replaced service, and its answer: bodies
// up to 400 bytes, of longer ones the SHA-256. Where the replaced service is wrong, sane says what is right.
type recorded struct {
	Name, Config, Method, Path, Loose string
	Headers                           map[string]string
	Body                              *string
	Base64                            string `json:"body_b64"`
	Pad                               int    `json:"pad_spaces"`
	Volatile                          []string
	Want                              struct {
		Status     int
		Type, Body string
		Signed     bool
		Headers    map[string]string
	}
	Sane *struct {
		Status int
		Bodies []string
		Like   map[string]any
		SameAs string `json:"same_as"`
	}
}

func readCorpus(t testing.TB) (cases []recorded) {
	for d := json.NewDecoder(bytes.NewReader(unzip(t, "api.jsonl.gz"))); ; {
		var c recorded
		if err := d.Decode(&c); err == io.EOF {
			return cases
		} else if err != nil {
			t.Fatal(err)
		}
		cases = append(cases, c)
	}
}

// configured is a configuration of the corpus.
func configured(t testing.TB, name string) (set string, s Settings) {
	var all map[string]struct {
		DB     string
		Config struct {
			LimitToSubscribersOnly  bool
			Subscribers             []Subscriber
			StopDistributionAtCycle *int64
		}
	}
	if err := json.Unmarshal(must(os.ReadFile("testdata/configs.json")), &all); err != nil {
		t.Fatal(err)
	}
	c := all[name]
	s = Settings{LimitToSubscribersOnly: c.Config.LimitToSubscribersOnly, Subscribers: c.Config.Subscribers, StopAtCycle: -1}
	if stop := c.Config.StopDistributionAtCycle; stop != nil {
		s.StopAtCycle = *stop
	}
	return c.DB, s
}

// TestCorpus sends every recorded request over HTTP to a gateway with this API behind it.
func TestCorpus(t *testing.T) {
	cases := readCorpus(t)
	if len(cases) != 1360 {
		t.Fatalf("%d cases", len(cases))
	}
	byName := make(map[string]*recorded)
	byConfig := make(map[string][]*recorded)
	for i := range cases {
		c := &cases[i]
		byName[c.Name] = c
		byConfig[c.Config] = append(byConfig[c.Config], c)
	}
	for config, cases := range byConfig {
		t.Run(config, func(t *testing.T) {
			t.Parallel()
			set, s := configured(t, config)
			addr := serve(t, newAPI(t, unpack(t, set), s))
			for _, c := range cases {
				want := c
				if c.Sane != nil && c.Sane.SameAs != "" {
					want = byName[c.Sane.SameAs]
				}
				if why := judge(t, c, want, exchange(t, addr, c)); why != "" {
					t.Errorf("%s: %s", c.Name, why)
				}
			}
		})
	}
}

func serve(t *testing.T, api http.Handler) (addr string) {
	g := gateway.New(gateway.Options{API: api, Log: slog.New(slog.DiscardHandler)})
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := g.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

type answered struct {
	status int
	header http.Header
	body   string
}

// exchange sends a request exactly as it was recorded: neither path nor headers are touched.
func exchange(t *testing.T, addr string, c *recorded) answered {
	conn := must(net.Dial("tcp", addr))
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	body := must(base64.StdEncoding.DecodeString(c.Base64))
	if c.Body != nil {
		body = []byte(*c.Body + strings.Repeat(" ", c.Pad))
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", c.Method, c.Path, addr)
	for name, value := range c.Headers {
		fmt.Fprintf(&b, "%s: %s\r\n", name, value)
	}
	switch {
	case c.Headers["transfer-encoding"] == "chunked":
		half := len(body) / 2
		body = fmt.Appendf(nil, "%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", half, body[:half], len(body)-half, body[half:])
	case c.Body != nil || c.Base64 != "":
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n")
	in := bufio.NewReader(conn)
	request := &http.Request{Method: c.Method}
	if c.Headers["expect"] != "" {
		_, _ = conn.Write(b.Bytes())
		b.Reset()
		if r, err := http.ReadResponse(in, request); err != nil || r.StatusCode != http.StatusContinue {
			t.Errorf("%s: no 100 (%v)", c.Name, err)
			return answered{}
		}
	}
	b.Write(body)
	if _, err := conn.Write(b.Bytes()); err != nil {
		t.Errorf("%s: %v", c.Name, err)
	}
	r, err := http.ReadResponse(in, request)
	if err != nil {
		t.Errorf("%s: %v", c.Name, err)
		return answered{}
	}
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Errorf("%s: %v", c.Name, err)
	}
	return answered{r.StatusCode, r.Header, string(text)}
}

func judge(t *testing.T, c, want *recorded, got answered) (why string) {
	signed := got.body != "" && strings.HasPrefix(got.header.Get("Content-Type"), "application/json") && verify(t, got.body)
	if c.Sane != nil && c.Sane.SameAs == "" {
		switch {
		case got.status != c.Sane.Status:
			return fmt.Sprintf("status %d, want %d", got.status, c.Sane.Status)
		case !signed:
			return "not signed"
		case c.Sane.Like != nil && !like(c.Sane.Like, got.body):
			return fmt.Sprintf("%s, want something like %v", got.body, c.Sane.Like)
		case c.Sane.Like != nil:
			return ""
		}
		for _, body := range c.Sane.Bodies {
			if same(got.body, body) {
				return ""
			}
		}
		return fmt.Sprintf("%.300s is not sane", got.body)
	}
	if got.status != want.Want.Status {
		return fmt.Sprintf("status %d, want %d: %.300s", got.status, want.Want.Status, got.body)
	}
	if c.Loose == "status" {
		return ""
	}
	if got.header.Get("Content-Type") != want.Want.Type {
		return fmt.Sprintf("content type %q, want %q", got.header.Get("Content-Type"), want.Want.Type)
	}
	for name, value := range want.Want.Headers {
		if strings.HasPrefix(name, "access-control") && got.header.Get(name) != value {
			return fmt.Sprintf("%s: %q, want %q", name, got.header.Get(name), value)
		}
	}
	switch {
	case c.Loose != "":
	case signed != want.Want.Signed:
		return fmt.Sprintf("signed %v", signed)
	case c.Volatile != nil && c.Method != "HEAD":
		if a, b := without(t, got.body, c.Volatile), without(t, want.Want.Body, c.Volatile); !reflect.DeepEqual(a, b) {
			return fmt.Sprintf("%v\nwant %v", a, b)
		}
	case !same(got.body, want.Want.Body):
		return fmt.Sprintf("%.300s\nwant %.300s", got.body, want.Want.Body)
	}
	return ""
}

// same compares a body with a text or "sha256:…".
func same(body, want string) bool {
	if digest, hashed := strings.CutPrefix(want, "sha256:"); hashed {
		sum := sha256.Sum256([]byte(body))
		return hex.EncodeToString(sum[:]) == digest
	}
	return body == want
}

// like tells whether a body has the members wanted; of an error the words are free.
func like(want map[string]any, body string) bool {
	var got map[string]any
	if json.Unmarshal([]byte(body), &got) != nil {
		return false
	}
	for name, value := range want {
		if name == "error" && got[name] != nil {
			continue
		}
		if !reflect.DeepEqual(got[name], value) {
			return false
		}
	}
	return true
}

// without is a body's tree less some members, each given as a path with dots.
func without(t *testing.T, body string, paths []string) map[string]any {
	var tree map[string]any
	if err := json.Unmarshal([]byte(body), &tree); err != nil {
		t.Errorf("%.200s: %v", body, err)
		return nil
	}
	for _, path := range paths {
		at, names := tree, strings.Split(path, ".")
		for _, name := range names[:len(names)-1] {
			at, _ = at[name].(map[string]any)
		}
		delete(at, names[len(names)-1])
	}
	return tree
}
