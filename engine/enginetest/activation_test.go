package enginetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"distributor/wsproto"
)

// socketUnit returns a distributor whose listening socket the test opens, as systemd does for
// deploy/distributor.socket.
func socketUnit(t *testing.T, settings Settings) *Distributor {
	t.Helper()
	d := New(t, settings)
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", d.Port))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if d.Socket, err = l.(*net.TCPListener).File(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Socket.Close() })
	return d
}

// ask sends a request on a connection of its own, and returns the status and body of the answer.
func (d *Distributor) status() (int, error) {
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", d.Port))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	if _, err := io.WriteString(conn, "GET /is-alive HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		return 0, err
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	return answer.StatusCode, answer.Body.Close()
}

// TestSocketActivation checks that with a socket unit no connection is refused, however the service
// ends. Connections that come while nothing runs must wait and be answered after the next start. A
// handover must pass the socket on.
func TestSocketActivation(t *testing.T) {
	t.Parallel()
	d := socketUnit(t, nil)
	var refused, answered atomic.Int64
	stop, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for stop.Err() == nil {
			switch status, err := d.status(); {
			case errors.Is(err, syscall.ECONNREFUSED):
				refused.Add(1)
			case status == http.StatusOK: // a kill may cut accepted connections
				answered.Add(1)
			}
		}
	}()
	// before a start: a connection that is made now is answered after the start
	waits := func(start func()) {
		t.Helper()
		outcome := make(chan error, 1)
		connected := make(chan struct{})
		go func() {
			conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", d.Port))
			close(connected)
			if err == nil {
				defer conn.Close()
				_, err = io.WriteString(conn, "GET /is-alive HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			}
			if err == nil {
				_, err = http.ReadResponse(bufio.NewReader(conn), nil)
			}
			outcome <- err
		}()
		<-connected
		start()
		if err := within(t, outcome, func() {}); err != nil {
			t.Errorf("a connection from before the start: %v", err)
		}
	}
	waits(d.Start)
	key := newKey(t)
	p := MustConnect(t, d.URL, PeerOptions{Key: key})
	d.Stop()
	p.WaitClosed(t, wsproto.ServerShutdown.Code)
	waits(d.Start)
	d.Kill()
	waits(d.Start)
	d.HandOver()
	d.Alone()
	d.HandOver()
	d.Alone()
	mustBeOurs(t, d)
	n := answered.Load()
	Until(t, "the last process answers", func() bool { return answered.Load() > n }, nil)
	d.Stop()
	waits(d.Start)
	d.Stop()
	waits(d.Start)
	cancel()
	<-done
	if n := refused.Load(); n > 0 {
		t.Errorf("%d connections were refused, want none; %d were answered", n, answered.Load())
	}
	d.Stop()
}

// mustBeOurs checks that the newest primary has the socket, that its child processes do not, and
// that none of them has the variables of socket activation.
func mustBeOurs(t *testing.T, d *Distributor) {
	t.Helper()
	info, err := d.Socket.Stat()
	if err != nil {
		t.Fatal(err)
	}
	socket := fmt.Sprintf("socket:[%d]", info.Sys().(*syscall.Stat_t).Ino)
	holds := func(pid int) (n int) {
		for _, target := range descriptors(pid) {
			if target == socket {
				n++
			}
		}
		return n
	}
	if n := holds(d.Pid()); n != 1 {
		t.Errorf("the primary has %d descriptors of the socket, want 1", n)
	}
	pids := []int{d.Pid()}
	for _, w := range append(d.Workers(), d.Query()) {
		pids = append(pids, w.Pid)
		if holds(w.Pid) > 0 {
			t.Errorf("child process %d has the socket", w.Pid)
		}
	}
	for _, pid := range pids {
		if env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); err != nil ||
			strings.Contains(string(env), "LISTEN_") {
			t.Errorf("the environment of process %d: %q, %v", pid, env, err)
		}
	}
}

// TestSocketAndSettingsDiffer checks that a start fails with status 78 if the socket does not match
// the settings, with a message that names the key and the unit.
func TestSocketAndSettingsDiffer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		settings Settings
		says     []string
	}{
		"port": {Settings{"DISTRIBUTOR_PORT": 1}, []string{"DISTRIBUTOR_PORT is 1,",
			"distributor.socket listens on 127.0.0.1:"}},
		"address": {Settings{"LISTEN_ADDR": "127.0.0.2"},
			[]string{"LISTEN_ADDR is 127.0.0.2,", "distributor.socket listens on 127.0.0.1:"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := socketUnit(t, c.settings)
			d.Launch()
			if how := d.WaitEnd(); how.ExitStatus() != exitConfig {
				t.Errorf("it ended with %v", how)
			}
			for _, words := range append(c.says, "ListenStream=") {
				d.WaitLog(words, func(l Line) bool {
					return l.Msg == "stopped" && strings.Contains(l.Text, words)
				})
			}
		})
	}
	t.Run("no matter", func(t *testing.T) {
		t.Parallel()
		d := socketUnit(t, Settings{"LISTEN_ADDR": nil, "DISTRIBUTOR_PORT": 0})
		d.Start()
		if status, err := d.status(); status != http.StatusOK {
			t.Errorf("answered %d, %v", status, err)
		}
		d.Configure(Settings{"DISTRIBUTOR_PORT": freePort(t)})
		d.Signal(syscall.SIGUSR2)
		d.WaitLog("a refusal", func(l Line) bool {
			return l.Msg == "handover failed; this process continues"
		})
		d.WaitLog("why", func(l Line) bool {
			return strings.Contains(l.Text, "distributor.socket has the port")
		})
		if status, err := d.status(); status != http.StatusOK {
			t.Errorf("after a refused handover: answered %d, %v", status, err)
		}
		d.Stop()
	})
	t.Run("another's variables", func(t *testing.T) {
		t.Parallel()
		d := New(t, nil)
		d.Env = []string{"LISTEN_PID=1", "LISTEN_FDS=1"}
		d.Start()
		d.Stop()
	})
	for name, open := range map[string]func(*testing.T) (*os.File, error){
		"not listening": func(t *testing.T) (*os.File, error) {
			fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
			if err != nil {
				return nil, err
			}
			_ = syscall.Close(fds[1])
			return os.NewFile(uintptr(fds[0]), "socket"), nil
		},
		"no TCP": func(t *testing.T) (*os.File, error) {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: t.TempDir() + "/socket", Net: "unix"})
			if err != nil {
				return nil, err
			}
			t.Cleanup(func() { _ = l.Close() })
			return l.File()
		},
		"no socket": func(*testing.T) (*os.File, error) { return os.Open(os.DevNull) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := New(t, nil)
			var err error
			if d.Socket, err = open(t); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = d.Socket.Close() })
			d.Launch()
			if how := d.WaitEnd(); how.ExitStatus() != exitConfig {
				t.Errorf("it ended with %v", how)
			}
			d.WaitLog("why", func(l Line) bool {
				return strings.Contains(l.Text, "distributor.socket cannot be used")
			})
		})
	}
}

// TestSocketUnit checks that the shipped socket unit matches the default settings, and that its
// backlog is large enough for the connections of a restart.
func TestSocketUnit(t *testing.T) {
	t.Parallel()
	socket := readUnit(t, "distributor.socket")["Socket"]
	for key, want := range map[string]string{"ListenStream": "6100", "Accept": "no"} {
		if got := socket[key]; len(got) != 1 || got[0] != want {
			t.Errorf("%s=%v, want %s", key, got, want)
		}
	}
	var backlog int
	if _, err := fmt.Sscan(strings.Join(socket["Backlog"], " "), &backlog); err != nil ||
		backlog < 4096 {
		t.Errorf("Backlog=%v, want at least 4096", socket["Backlog"])
	}
}
