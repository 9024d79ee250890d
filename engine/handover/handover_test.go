package handover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"distributor/engine/ipc"
)

func TestMain(m *testing.M) {
	if os.Getenv("HANDOVER_TEST_SUCCESSOR") != "" {
		os.Exit(beSuccessor())
	}
	os.Exit(m.Run())
}

// beSuccessor answers one request on each listener, then says so.
func beSuccessor() int {
	p, err := Inherit()
	if err != nil || p == nil {
		fmt.Fprintln(os.Stderr, "not the new process of a handover:", err)
		return 1
	}
	if os.Getenv(variable) != "" {
		fmt.Fprintln(os.Stderr, "the variable is left")
		return 1
	}
	if again, err := Inherit(); again != nil || err != nil {
		fmt.Fprintln(os.Stderr, "inherited twice:", err)
		return 1
	}
	if l := p.TakeAdmin("elsewhere"); l != nil {
		fmt.Fprintln(os.Stderr, "took what is another's")
		return 1
	}
	l := p.TakePublic(p.Offer.Public)
	if l == nil {
		fmt.Fprintln(os.Stderr, "no listener")
		return 1
	}
	go func() {
		_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "successor")
		}))
	}()
	if err := p.Send(Message{Serving: true}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for range p.Messages() {
	}
	return 7
}

func next(t *testing.T, c *conn) (Message, bool) {
	t.Helper()
	select {
	case m, ok := <-c.Messages():
		return m, ok
	case <-time.After(2 * time.Minute):
		t.Fatal("nothing is said")
		panic("unreachable")
	}
}

// A process inherits the listeners; ours goes on working, and theirs after it.
func TestSuccessor(t *testing.T) {
	t.Setenv("HANDOVER_TEST_SUCCESSOR", "1")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	public := newListener(t)
	admin, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	offer := Offer{StateDir: "/s", Public: "x:1", Admin: "y:2"}
	s, err := start(Options{
		Command: []string{exe}, Offer: offer, Listener: public, Admin: admin,
	})
	if err != nil {
		t.Fatal(err)
	}
	if m, ok := next(t, s.conn); !ok || !m.Serving {
		t.Fatalf("said %+v (%v)", m, ok)
	}
	accepted := make(chan error, 1)
	go func() { // a blocking descriptor would hold this up for ever
		c, err := public.Accept()
		if err == nil {
			c.Close()
		}
		accepted <- err
	}()
	public.Close()
	select {
	case <-accepted:
	case <-time.After(2 * time.Minute):
		t.Fatal("the listener cannot be closed any more")
	}
	r, err := http.Get("http://" + public.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(r.Body)
	r.Body.Close()
	if string(body) != "successor" {
		t.Errorf("answered %q", body)
	}
	admin.Close()
	if _, err := net.Dial("tcp", admin.Addr().String()); err == nil {
		t.Error("the new process holds the listener that it has not taken")
	}
	s.Close() // it ends by itself
	select {
	case <-s.exited:
	case <-time.After(2 * time.Minute):
		t.Fatal("the end of the channel is not noticed")
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 7 {
		t.Errorf("it ended with %v", s.cmd.ProcessState)
	}
}

func TestSuccessorKilled(t *testing.T) {
	o := Options{Command: []string{"/bin/sleep", "1000"}, Listener: newListener(t)}
	s, err := start(o)
	if err != nil {
		t.Fatal(err)
	}
	if state := s.Kill(); state != "signal: killed" {
		t.Errorf("it ended with %s", state)
	}
	if _, ok := next(t, s.conn); ok {
		t.Error("it has said something")
	}
	o.Command = []string{"/nowhere/to/be/found"}
	if _, err = start(o); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no binary: %v", err)
	}
}

// A killed process that does not end, because a disk keeps it, is not waited for any longer than
// killWithin.
func TestSuccessorThatDoesNotEnd(t *testing.T) {
	sleep := exec.Command("/bin/sleep", "1000")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		s := &Successor{
			conn: &conn{unix: &net.UnixConn{}, done: make(chan struct{})},
			cmd:  sleep, exited: make(chan struct{}),
		}
		if state := s.Kill(); !strings.Contains(state, "not ended") {
			t.Errorf("it ended with %s", state)
		}
		select {
		case <-s.done:
		default:
			t.Error("the channel is left")
		}
	})
	_ = sleep.Wait()
}

// other is the far end of a channel within this process.
func channel(t *testing.T) (one, other *conn) {
	t.Helper()
	one, f, err := pair()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := ipc.Conn(f)
	if err != nil {
		t.Fatal(err)
	}
	return one, newConn(theirs)
}

// The wire between versions stays as it is: a running version hands over to a newer one.
func TestWire(t *testing.T) {
	since := time.Date(2026, 11, 30, 1, 2, 3, 0, time.UTC)
	for _, c := range []struct {
		m    Message
		want string
	}{
		{Message{Offer: &Offer{
			StateDir: "/s", Public: ":1", Admin: ":2", Activated: true,
			Problems: map[string]time.Time{"progress": since},
		}}, `{"estate":{"stateDir":"/s","public":":1","admin":":2","activated":true,` +
			`"problems":{"progress":"2026-11-30T01:02:03Z"}}}`},
		{Message{Released: true}, `{"yours":true}`},
		{Message{Ready: true}, `{"ready":true}`},
		{Message{Serving: true}, `{"serving":true}`},
		{Message{Stop: &Stop{WithinMS: 5}}, `{"stop":{"withinMS":5}}`},
		{Message{Positions: []Position{{Key: "a", Offset: 7, Begins: true}, {Key: "b"}}},
			`{"positions":[{"k":"a","o":7,"b":true},{"k":"b","o":0}]}`},
		{Message{Release: []string{"a"}}, `{"release":["a"]}`},
	} {
		if got, err := json.Marshal(c.m); err != nil || string(got) != c.want {
			t.Errorf("%s (%v), want %s", got, err, c.want)
		}
	}
	if variable != "DISTRIBUTOR_HEIR" || channelFD != 3 || publicFD != 4 || adminFD != 5 {
		t.Error(variable, channelFD, publicFD, adminFD)
	}
}

// The last messages of a process arrive, also if it had not read all that was sent to it.
func TestLastMessages(t *testing.T) {
	one, other := channel(t)
	defer one.Close()
	for range 5 { // one is in the goroutine's hand, the others in the socket
		if err := one.Send(Message{Ready: true}); err != nil {
			t.Fatal(err)
		}
	}
	if err := other.Send(Message{Serving: true}); err != nil {
		t.Fatal(err)
	}
	other.Close()
	if m, ok := next(t, one); !ok || !m.Serving {
		t.Errorf("heard %+v (%v)", m, ok)
	}
	if m, ok := next(t, one); ok {
		t.Errorf("then %+v", m)
	}
	if err := one.Send(Message{Ready: true}); err != io.EOF {
		t.Errorf("said to nobody: %v", err)
	}
}

// The newest position of each collector is sent, and that one of its connections has begun, however
// many collectors there are and whenever run is ended.
func TestSpool(t *testing.T) {
	one, other := channel(t)
	defer one.Close()
	defer other.Close()
	s := newSpool()
	const keys = 3*batch + 7
	for round := range 3 {
		for i := range keys {
			offset := uint64(1<<60 + round*keys + i)
			s.add(Position{Key: fmt.Sprintf("%064d", i), Offset: offset, Begins: round == 1})
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	done := make(chan struct{})
	go func() { defer close(done); s.run(ctx, one) }()
	for n := 0; n < keys; {
		m, ok := next(t, other)
		if !ok || len(m.Positions) == 0 {
			t.Fatalf("%+v after %d", m, n)
		}
		for _, p := range m.Positions {
			var i int
			_, err := fmt.Sscanf(p.Key, "%d", &i)
			if err != nil || p.Offset != uint64(1<<60+2*keys+i) || !p.Begins {
				t.Fatalf("%+v", p)
			}
		}
		n += len(m.Positions)
	}
	<-done
	if left := s.take(); len(left.Positions)+len(left.Release) != 0 {
		t.Errorf("%+v is left", left)
	}
}

// While the other side does not read, nothing is dropped: it gets all when it reads again, and of
// each collector the newest.
func TestSpoolOutlivesTimeouts(t *testing.T) {
	one, other := channel(t)
	defer one.Close()
	defer other.Close()
	one.within = 10 * time.Millisecond
	s := newSpool()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	go func() { defer close(done); s.run(ctx, one) }()
	// More than the channel holds, so that sends fail.
	const keys = 40 * batch
	add := func(round int) {
		for i := range keys {
			s.add(Position{Key: fmt.Sprintf("%064d", i), Offset: uint64(round*keys + i), Begins: round == 0})
		}
	}
	waiting := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.byKey)
	}
	add(0)
	s.free("the last")
	for before := -1; before != waiting(); time.Sleep(5 * one.within) { // it is stuck
		before = waiting()
	}
	if waiting() == 0 {
		t.Fatal("the channel holds all of it")
	}
	add(1)
	reached, begun, released := make(map[string]uint64), make(map[string]bool), false
	for !released {
		m, ok := next(t, other)
		if !ok {
			t.Fatalf("run has given up, with %d waiting", waiting())
		}
		for _, p := range m.Positions {
			if p.Offset < reached[p.Key] {
				t.Fatalf("%s is at %d after %d", p.Key, p.Offset, reached[p.Key])
			}
			reached[p.Key], begun[p.Key] = p.Offset, begun[p.Key] || p.Begins
		}
		released = len(m.Release) > 0
	}
	for i := range keys {
		if key := fmt.Sprintf("%064d", i); reached[key] != uint64(keys+i) || !begun[key] {
			t.Fatalf("%s: %d, begun %v", key, reached[key], begun[key])
		}
	}
	cancel()
	<-done
}
