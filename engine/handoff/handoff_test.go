package handoff

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// receive waits for a message at the worker's end, which never blocks.
func receive(t *testing.T, fd int) (Message, int) {
	t.Helper()
	buf := make([]byte, MaxMessage)
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		m, client, err := Receive(fd, buf)
		if errors.Is(err, ErrAgain) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		return m, client
	}
	t.Fatal("nothing came")
	return Message{}, -1
}

func TestClientWithItsSocket(t *testing.T) {
	primary, worker, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer primary.Close()
	defer worker.Close()

	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	want := Client{ID: 7, Key: "ab", From: 1 << 40, Response: []byte("HTTP/1.1 101\r\n\r\n"),
		Early: []byte{0x89, 0x80, 1, 2, 3, 4}}
	if err := primary.SendClient(want, int(w.Fd()), time.Second); err != nil {
		t.Fatal(err)
	}
	w.Close() // the worker's duplicate lives on

	m, fd := receive(t, int(worker.Fd()))
	if m.Client == nil || m.Client.ID != want.ID || m.Client.From != want.From ||
		string(m.Client.Response) != string(want.Response) ||
		string(m.Client.Early) != string(want.Early) {
		t.Fatalf("got %+v", m.Client)
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Fatalf("descriptor is not close-on-exec (%v)", err)
	}
	if _, err := unix.Write(fd, []byte("x")); err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	if b, err := io.ReadAll(r); err != nil || string(b) != "x" {
		t.Fatalf("through the passed descriptor came %q, %v", b, err)
	}
}

// A process without free descriptors loses the socket that was passed, but gets its message, and
// the channel continues to work.
func TestNoDescriptorLeft(t *testing.T) {
	primary, worker, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer primary.Close()
	defer worker.Close()
	fd := int(worker.Fd())
	for id := range uint64(2) {
		if err := primary.SendClient(Client{ID: id}, fd, time.Second); err != nil {
			t.Fatal(err)
		}
	}
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	m, passed, err := Receive(fd, make([]byte, MaxMessage))
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, ErrNoDescriptor) || m.Client == nil || m.Client.ID != 0 || passed != -1 {
		t.Fatalf("%+v, %d, %v", m, passed, err)
	}
	m, passed = receive(t, fd)
	if m.Client == nil || m.Client.ID != 1 || passed < 0 {
		t.Fatalf("%+v, %d", m, passed)
	}
	unix.Close(passed)
}

func TestMessagesFromTheWorker(t *testing.T) {
	primary, worker, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer primary.Close()
	for _, m := range []Message{{Ready: &Ready{PID: 3}},
		{Closed: &Closed{ID: 9, Disconnect: "too-slow"}}, {Stats: &Stats{Clients: 2}}} {
		b, err := Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := Send(int(worker.Fd()), b); err != nil {
			t.Fatal(err)
		}
	}
	if m, err := primary.Receive(); err != nil || m.Ready == nil || m.Ready.PID != 3 {
		t.Fatalf("%+v %v", m, err)
	}
	if m, err := primary.Receive(); err != nil || m.Closed == nil ||
		m.Closed.Disconnect != "too-slow" {
		t.Fatalf("%+v %v", m, err)
	}
	if m, err := primary.Receive(); err != nil || m.Stats == nil || m.Stats.Clients != 2 {
		t.Fatalf("%+v %v", m, err)
	}
	worker.Close()
	if _, err := primary.Receive(); !errors.Is(err, io.EOF) {
		t.Fatalf("the worker's end is closed: %v", err)
	}
}

func TestPrimaryGone(t *testing.T) {
	primary, worker, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer worker.Close()
	buf := make([]byte, MaxMessage)
	if _, _, err := Receive(int(worker.Fd()), buf); !errors.Is(err, ErrAgain) {
		t.Fatalf("nothing sent yet: %v", err)
	}
	primary.Close()
	if _, _, err := Receive(int(worker.Fd()), buf); !errors.Is(err, io.EOF) {
		t.Fatalf("the primary's end is closed: %v", err)
	}
	if err := Send(int(worker.Fd()), []byte("{}")); !errors.Is(err, io.EOF) {
		t.Fatalf("send after the primary has ended: %v", err)
	}
}

func TestSendTimesOutWhenTheWorkerDoesNotRead(t *testing.T) {
	primary, worker, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer primary.Close()
	defer worker.Close()
	m := Message{Close: &Close{ID: 1, Disconnect: strings.Repeat("x", 1000)}}
	for range 1 << 14 {
		err = primary.Send(m, 20*time.Millisecond)
		if err != nil {
			break
		}
	}
	var ne net.Error
	if !errors.As(err, &ne) || !ne.Timeout() {
		t.Fatalf("want a timeout, got %v", err)
	}
}

func TestTooBig(t *testing.T) {
	if _, err := Encode(Message{Client: &Client{Early: make([]byte, MaxMessage)}}); !errors.Is(err,
		ErrTooBig) {
		t.Fatalf("got %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{}`, `{"client":{"id":1,"from":2,"response":"QQ=="}}`,
		`{"stats":{"clients":1}}`, `null`, `[`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil {
			return
		}
		packet, err := Encode(m)
		if err != nil {
			if !errors.Is(err, ErrTooBig) {
				t.Fatal(err)
			}
			return
		}
		again, err := Decode(packet)
		if err != nil {
			t.Fatalf("%q: %q is not read again: %v", b, packet, err)
		}
		if twice, err := Encode(again); err != nil || string(twice) != string(packet) {
			t.Fatalf("%q: %q, then %q, %v", b, packet, twice, err)
		}
	})
}

// Messages that a worker sent before its end are received, also if it has not read all of the
// primary's.
func TestLastWords(t *testing.T) {
	primary, worker, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer primary.Close()
	if err := primary.Send(Message{Close: &Close{ID: 1}}, time.Second); err != nil {
		t.Fatal(err)
	}
	packet, err := Encode(Message{Closed: &Closed{ID: 2}})
	if err != nil {
		t.Fatal(err)
	}
	if err := Send(int(worker.Fd()), packet); err != nil {
		t.Fatal(err)
	}
	worker.Close()
	if m, err := primary.Receive(); err != nil || m.Closed == nil || m.Closed.ID != 2 {
		t.Fatalf("got %+v, %v", m, err)
	}
	if _, err := primary.Receive(); !errors.Is(err, io.EOF) {
		t.Fatalf("then %v", err)
	}
}

// A send into a full channel fails with ErrAgain, and sends nothing. The same send works when the
// primary has read.
func TestSendWithoutRoom(t *testing.T) {
	primary, worker, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer primary.Close()
	defer worker.Close()
	packet := func(id uint64) []byte {
		b, err := Encode(Message{Closed: &Closed{ID: id, Detail: strings.Repeat("x", 30_000)}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	sent := uint64(0)
	for err == nil {
		if err = Send(int(worker.Fd()), packet(sent)); err == nil {
			sent++
		}
		if sent > 1000 {
			t.Fatal("the channel is never full")
		}
	}
	if !errors.Is(err, ErrAgain) {
		t.Fatalf("a send into a full channel: %v", err)
	}
	for id := range sent + 1 {
		m, err := primary.Receive()
		if err != nil || m.Closed == nil || m.Closed.ID != id {
			t.Fatalf("message %d is %+v, %v", id, m, err)
		}
		if id == 0 {
			if err := Send(int(worker.Fd()), packet(sent)); err != nil {
				t.Fatalf("a send into a channel that was read: %v", err)
			}
		}
	}
}
