package supervisor

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"distributor/engine/handoff"
	"distributor/wsproto"
)

// The limits of logging.Forward: bytes of a line, and lines per second.
const (
	maxLine        = 16 << 10
	linesPerSecond = 200
)

// The test binary is its own worker process: small, with poll(2) and one thread, and with faults on
// demand.
const (
	roleVar = "SUPERVISOR_TEST_ROLE" // worker, primary
	modeVar = "SUPERVISOR_TEST_MODE" // of a worker; mode@n: only of worker n
)

func TestMain(m *testing.M) {
	switch os.Getenv(roleVar) {
	case "worker":
		if err := testWorker(os.Getenv(modeVar)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(4)
		}
	case "primary":
		testPrimary()
	default:
		os.Exit(m.Run())
	}
}

func workerEnv(mode string) []string {
	// Without this, the race detector would make each process sleep for a second at its exit.
	return []string{roleVar + "=worker", modeVar + "=" + mode, "GORACE=atexit_sleep_ms=0"}
}

const (
	control, wake = 3, 4
	beat          = 20 * time.Millisecond // interval of Stats, and of the supervisor's checks
)

type testClients struct {
	mode  string
	fds   map[uint64]int
	stats handoff.Stats
	beat  time.Time
}

// testWorker writes a client's response to it, and "close <name>" when it gets a Close. Its Stats
// count wake-ups as Pings. They show the ping interval of later Settings as Sends, the worker
// number as MinCursor and the length of the compressed log's name as CompressedBytes. Deflate
// counts clients, including those that have left.
func testWorker(mode string) error {
	mode, only, _ := strings.Cut(mode, "@")
	if len(os.Environ()) != len(workerEnv("")) {
		return fmt.Errorf("inherited an environment: %q", os.Environ())
	}
	t := &testClients{fds: make(map[uint64]int)}
	buf := make([]byte, handoff.MaxMessage)
	for {
		if err := t.poll(); err != nil {
			return err
		}
		for {
			m, fd, err := handoff.Receive(control, buf)
			if errors.Is(err, handoff.ErrAgain) {
				break
			}
			if err != nil {
				return err
			}
			switch {
			case m.Settings != nil && t.beat.IsZero():
				if only == "" || only == strconv.Itoa(m.Settings.Worker) {
					t.mode = mode
				}
				if err := t.begin(); err != nil {
					return err
				}
			case m.Settings != nil:
				t.stats.CompressedBytes = uint64(len(m.Settings.CompressedLog))
				t.stats.Sends, t.stats.MinCursor = uint64(m.Settings.PingIntervalMS), uint64(m.Settings.Worker)
			case m.Client != nil && t.mode == "acknowledge": // in benchmarks
				_ = unix.Close(fd)
				t.tell(handoff.Message{Closed: &handoff.Closed{ID: m.Client.ID,
					Disconnect: wsproto.ClientGone.Name}})
			case m.Client != nil:
				if m.Client.Deflate {
					t.stats.Deflate++
				}
				t.fds[m.Client.ID] = fd
				_, _ = unix.Write(fd, m.Client.Response)
				t.tell(handoff.Message{Confirmed: []handoff.Confirmed{{ID: m.Client.ID,
					Offset: m.Client.From + 7}, {ID: 1 << 60, Offset: 1}}})
			case m.Profile != nil:
				_, _ = unix.Write(fd, fmt.Append(nil, "profile of ", os.Getpid()))
				_ = unix.Close(fd)
			case m.Close != nil:
				t.end(m.Close.ID, m.Close.Disconnect)
			case m.Drain != nil && t.mode != "stubborn":
				if t.mode == "tell-drain" {
					fmt.Fprintf(os.Stderr, "within %d spread %d\n", m.Drain.WithinMS, m.Drain.SpreadMS)
				}
				for id := range t.fds {
					t.end(id, m.Drain.Disconnect)
				}
				os.Exit(0)
			}
		}
		if t.mode == "crash-soon" && len(t.fds) > 0 {
			os.Exit(3)
		}
	}
}

// begin answers the first Settings.
func (t *testClients) begin() error {
	t.beat = time.Now()
	switch t.mode {
	case "crash":
		panic("told to crash")
	case "not-ready":
		select {}
	case "nonsense":
		return handoff.Send(control, []byte("[1,2"))
	case "say":
		slog.New(slog.NewJSONHandler(os.Stderr, nil)).Warn("hello", "n", 1)
		fmt.Fprintln(os.Stderr, strings.Repeat("x", 3*maxLine))
		fmt.Println("to standard output")
		for i := range 3 * linesPerSecond {
			fmt.Println("flood", i)
		}
	}
	if t.mode == "room" {
		t.stats.Slots = 2
	}
	t.tell(handoff.Message{Ready: &handoff.Ready{PID: os.Getpid(), Slots: t.stats.Slots}})
	if t.mode == "deaf" { // it reports, but reads no more
		for range time.Tick(beat) {
			t.tell(handoff.Message{Stats: &t.stats})
		}
	}
	return nil
}

// poll waits for something to do, and handles everything except the control channel.
func (t *testClients) poll() error {
	fds := []unix.PollFd{{Fd: control, Events: unix.POLLIN}, {Fd: wake, Events: unix.POLLIN}}
	ids := []uint64{0, 0}
	for id, fd := range t.fds {
		fds, ids = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}), append(ids, id)
	}
	if _, err := unix.Poll(fds, int(beat.Milliseconds())); err != nil && err != unix.EINTR {
		return err
	}
	var b [8]byte
	if fds[1].Revents != 0 {
		if _, err := unix.Read(wake, b[:]); err != nil {
			return err
		}
		if flags, err := unix.FcntlInt(wake, unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
			return fmt.Errorf("the eventfd is a blocking one: %v", err)
		}
		t.stats.Pings++
	}
	for i := 2; i < len(fds); i++ {
		if fds[i].Revents != 0 {
			if n, _ := unix.Read(int(fds[i].Fd), b[:]); n <= 0 {
				t.end(ids[i], wsproto.ClientGone.Name)
			}
		}
	}
	if !t.beat.IsZero() && time.Since(t.beat) >= beat {
		t.beat = time.Now()
		t.stats.Clients = len(t.fds)
		t.tell(handoff.Message{Stats: &t.stats})
	}
	return nil
}

func (t *testClients) end(id uint64, why string) {
	fd, ok := t.fds[id]
	if !ok {
		return
	}
	_, _ = unix.Write(fd, []byte("close "+why))
	_ = unix.Close(fd)
	delete(t.fds, id)
	t.stats.SentBytes++
	t.tell(handoff.Message{Closed: &handoff.Closed{ID: id, Disconnect: why, Acked: 42}})
}

func (t *testClients) tell(m handoff.Message) {
	b, err := handoff.Encode(m)
	if err != nil {
		panic(err)
	}
	for {
		switch err := handoff.Send(control, b); {
		case err == nil:
			return
		case errors.Is(err, handoff.ErrAgain):
			time.Sleep(time.Millisecond)
		case errors.Is(err, io.EOF):
			os.Exit(0)
		default:
			panic(err)
		}
	}
}
