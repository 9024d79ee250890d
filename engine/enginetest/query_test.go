package enginetest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"distributor/engine/query/querytest"
	"distributor/wsproto"
	"distributor/wsproto/shardus"
)

// totals asks /totalData with a signed request; an answer that is not signed as
// it should be ends the test.
func totals(t *testing.T, d *Distributor, key shardus.SecretKey) (status int, body string) {
	t.Helper()
	hashKey, err := shardus.ParseHashKey(querytest.HashKey)
	if err != nil {
		t.Fatal(err)
	}
	request, err := shardus.NewSigner(key, hashKey).AppendSigned(nil, shardus.ObjectValue(shardus.Member{Key: "sender", Value: shardus.TextValue(key.Public().String())}))
	if err != nil {
		t.Fatal(err)
	}
	status, body = ask(t, http.MethodPost, d.URL+"/totalData", string(request), "Content-Type", "application/json")
	if signed, err := querytest.Verify(body); err != nil || !signed {
		t.Fatalf("%d %s: signed %t, %v", status, body, signed, err)
	}
	return status, body
}

// The firehose does not notice when the process that reads the databases is
// killed or stopped; the API is back by itself, with the settings of the last
// reload.
func TestQueryProcessFails(t *testing.T) {
	t.Parallel()
	d := newHealthy(t, Settings{"ADMIN_ADDR": "off"})
	book := NewBook()
	archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Sizes: []int{300}})
	d.Start()
	fleet := NewFleet(t, FleetOptions{URL: d.URL, Size: 3, Book: book})
	subscriber, stranger := newKey(t), newKey(t)
	if status, body := totals(t, d, stranger); status != http.StatusOK || !strings.Contains(body, `"totalCycles":0`) {
		t.Errorf("%d %s", status, body)
	}
	known := []shardus.SecretKey{subscriber}
	for _, m := range fleet.members {
		known = append(known, m.key)
	}
	d.Configure(Settings{"limitToSubscribersOnly": true, "subscribers": subscribers(known...)})
	d.Reload(syscall.SIGHUP)
	refused := func() bool {
		_, body := totals(t, d, stranger)
		return strings.Contains(body, "is not a subscriber")
	}
	if !refused() {
		t.Error("the reload did not come to the API")
	}

	before := d.Query()
	if err := syscall.Kill(before.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var status int
	var body string
	Until(t, "the API answers again", func() bool {
		status, body = totals(t, d, subscriber)
		return status == http.StatusOK
	}, func() string { return body })
	if d.Query().Pid == before.Pid {
		t.Error("it is the same process")
	}
	if !refused() {
		t.Error("the reload was forgotten")
	}
	if err := archiver.Write(100); err != nil {
		t.Fatal(err)
	}
	fleet.WaitTotal(100)
	well(t, d)

	if err := syscall.Kill(d.Query().Pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ill(t, d, "HTTP API", "deadline exceeded")
	if err := archiver.Write(100); err != nil {
		t.Fatal(err)
	}
	fleet.WaitTotal(200)
	if err := syscall.Kill(d.Query().Pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	well(t, d)
	fleet.CheckSame()
	if fleet.Cut() != 0 {
		t.Errorf("%d collectors were cut", fleet.Cut())
	}
	fleet.Stop()
	d.Stop()
}

// A reload closes clients that it revokes while the query process is stopped: it does not wait
// until that is killed, which comes seconds later. On a machine that is busy for as long, it is
// tried again.
func TestReloadWithAStoppedQueryProcess(t *testing.T) {
	t.Parallel()
	d := New(t, Settings{"ADMIN_ADDR": "off"})
	d.Start()
	for attempt := 1; ; attempt++ {
		d.Configure(Settings{"limitToSubscribersOnly": false})
		d.Reload(syscall.SIGHUP)
		query, revoked := d.Query(), MustConnect(t, d.URL, PeerOptions{Key: newKey(t)})
		if err := syscall.Kill(query.Pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		d.Configure(Settings{"limitToSubscribersOnly": true})
		d.Reload(syscall.SIGHUP)
		revoked.WaitClosed(t, wsproto.SubscriptionExpired.Code)
		if d.Query().Pid == query.Pid {
			break
		}
		if attempt == 3 {
			t.Fatal("the client was closed when the query process had been killed, three times")
		}
	}
	d.Stop()
}

// The primary keeps descriptors for the query process however many clients there are: while that is
// stopped, more requests than there are descriptors come, all that have a connection are answered
// when it goes on, and nothing was short of one.
func TestRequestsLeaveDescriptors(t *testing.T) {
	t.Parallel()
	d := New(t, Settings{"ADMIN_ADDR": "off"})
	d.Start()
	const limit = 1000
	if err := unix.Prlimit(d.Pid(), unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit}, nil); err != nil {
		t.Fatal(err)
	}
	query := d.Query()
	if err := syscall.Kill(query.Pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	request := "POST /receipt HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
	answers := make(map[string]int) // by status, or why there is none
	var mu sync.Mutex
	var clients sync.WaitGroup
	for range limit + 100 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(d.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		clients.Go(func() {
			defer conn.Close()
			_, sent := io.WriteString(conn, request)
			r, err := http.ReadResponse(bufio.NewReader(conn), nil)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				answers[fmt.Sprintf("%v, sent %v", err, sent)]++
				return
			}
			answers[r.Status]++
		})
	}
	if used := len(descriptors(d.Pid())); used >= limit {
		t.Errorf("%d descriptors of %d", used, limit)
	}
	_ = syscall.Kill(query.Pid, syscall.SIGCONT) // it may have been killed meanwhile
	clients.Wait()
	served, refused := answers["400 Bad Request"], answers["503 Service Unavailable"]
	if served == 0 || served+refused != limit+100 {
		t.Errorf("%v: want %d answers, 400 and 503", answers, limit+100)
	}
	if lines := d.Log(func(l Line) bool { return strings.Contains(fmt.Sprint(l.Attrs), "too many open files") }); len(lines) > 0 {
		t.Errorf("%d times: %v", len(lines), lines[0])
	}
	d.Stop()
}
