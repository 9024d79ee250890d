package enginetest

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Settings are keys of distributor-config.json.
type Settings map[string]any

// Distributor is a directory with configuration, data logs and state, and a port, where the binary
// runs one or more times. It belongs to one goroutine.
type Distributor struct {
	Dir  string // working directory
	Logs string // DATA_LOG_DIR, which exists
	Port int
	URL  string // "http://127.0.0.1:<port>"

	// Binary is the path of the binary; by default the one that Build made.
	Binary string
	// Args are flags in addition to the settings in the file.
	Args []string
	// Env has NAME=value for the environment, in addition to the few variables that are always set.
	Env []string
	// Socket, if not nil, is passed on as a service manager does (sd_listen_fds(3)).
	Socket *os.File

	t          testing.TB
	settings   Settings
	out        *output // of the present run, or of the last one
	cmd        *exec.Cmd
	successors []*Process    // new processes of handovers, in order
	ended      chan struct{} // closed when the run has ended and all its output was read
}

// New makes the directory with its configuration. Nothing runs yet. Processes that still run at the
// end of the test are killed.
func New(t testing.TB, settings Settings) *Distributor {
	t.Helper()
	dir := t.TempDir()
	port := freePort(t)
	d := &Distributor{
		Dir: dir, Logs: filepath.Join(dir, "data-logs"), Port: port,
		URL: "http://127.0.0.1:" + strconv.Itoa(port), Binary: built, t: t,
		settings: Settings{
			"LISTEN_ADDR": "127.0.0.1", "DISTRIBUTOR_PORT": port, "LOG_FORMAT": "json",
			"NUMBER_OF_WORKERS": 1, "ADMIN_ADDR": "off",
			"DATA_LOG_DIR": filepath.Join(dir, "data-logs"),
			"STATE_DIR":    filepath.Join(dir, "state"),
		},
	}
	if err := os.Mkdir(d.Logs, 0o755); err != nil {
		t.Fatal(err)
	}
	d.Configure(settings)
	t.Cleanup(d.end)
	return d
}

// Configure changes settings in the file; a nil value removes its key. A running process reads them
// at the next Reload.
func (d *Distributor) Configure(settings Settings) {
	d.t.Helper()
	maps.Copy(d.settings, settings)
	maps.DeleteFunc(d.settings, func(_ string, v any) bool { return v == nil })
	text, err := json.MarshalIndent(d.settings, "", "  ")
	if err != nil {
		d.t.Fatal(err)
	}
	d.WriteConfig(string(text))
}

// ConfigFile returns the path of the configuration.
func (d *Distributor) ConfigFile() string { return filepath.Join(d.Dir, "distributor-config.json") }

// WriteConfig replaces the configuration by text, which need not be valid.
func (d *Distributor) WriteConfig(text string) {
	d.t.Helper()
	if err := os.WriteFile(d.ConfigFile(), []byte(text), 0o644); err != nil {
		d.t.Fatal(err)
	}
}

// Start starts the binary and waits until it distributes.
func (d *Distributor) Start() {
	d.t.Helper()
	d.Launch()
	d.WaitLog("distributing", func(l Line) bool { return l.Msg == "distributing" })
}

// Launch starts the binary and does not wait.
func (d *Distributor) Launch() {
	d.t.Helper()
	if d.Running() {
		d.t.Fatal("the distributor runs already")
	}
	d.successors = nil
	d.cmd = command(d.Binary, d.Dir, append([]string{"serve"}, d.Args...)...)
	if d.Socket != nil {
		const script = `LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=distributor.socket exec "$0" serve`
		d.cmd = command("/bin/sh", d.Dir, "-c", script, d.Binary)
		d.cmd.ExtraFiles = []*os.File{d.Socket}
	}
	d.cmd.Env = append(d.cmd.Env, d.Env...)
	stderr, err := d.cmd.StderrPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	out, cmd, ended := &output{more: make(chan struct{})}, d.cmd, make(chan struct{})
	d.out, d.ended = out, ended
	go func() {
		defer close(ended)
		out.read(stderr)
		_ = cmd.Wait() // ProcessState has it
	}()
}

// WaitEnd waits until the primary has ended by itself, and returns its status.
func (d *Distributor) WaitEnd() syscall.WaitStatus {
	d.t.Helper()
	within(d.t, d.ended, func() { _ = d.cmd.Process.Kill() })
	d.checkOutput()
	return d.cmd.ProcessState.Sys().(syscall.WaitStatus)
}

// command returns a command with a small environment that has nothing of the developer's. The
// process is killed when the test process ends.
func command(binary, dir string, args ...string) *exec.Cmd {
	cmd := exec.Command(binary, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GOTRACEBACK=all"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// Running reports whether the run has not ended.
func (d *Distributor) Running() bool {
	if d.ended == nil {
		return false
	}
	select {
	case <-d.ended:
		return false
	default:
		return true
	}
}

// Pid returns the process ID of the newest primary.
func (d *Distributor) Pid() int {
	if n := len(d.successors); n > 0 {
		return d.successors[n-1].Pid
	}
	return d.cmd.Process.Pid
}

// HandOver does a handover, as an operator does, and waits until the new process distributes. The
// old process may still have collectors.
func (d *Distributor) HandOver() {
	d.t.Helper()
	d.BeginHandOver()()
}

// BeginHandOver sends the signal for a handover. taken waits until the new process distributes.
func (d *Distributor) BeginHandOver() (taken func()) {
	d.t.Helper()
	mark := d.Mark()
	d.Signal(syscall.SIGUSR2)
	return func() {
		d.t.Helper()
		l := d.WaitLogAfter(mark, "distributing", func(l Line) bool {
			return l.Msg == "distributing" || l.Msg == handoverFailed ||
				strings.HasPrefix(l.Msg, "handover refused")
		})
		pid, _ := l.Attrs["pid"].(float64)
		if l.Msg != "distributing" {
			d.t.Fatalf("no handover: %s", l.Text)
		}
		d.successors = append(d.successors, OpenProcess(d.t, int(pid)))
	}
}

// Alone waits until the old process has ended.
func (d *Distributor) Alone() {
	d.t.Helper()
	Until(d.t, "the old primary has ended", func() bool {
		ended := d.Log(func(l Line) bool { return l.Msg == "the old process has ended" })
		return len(ended) == len(d.successors)
	}, nil)
}

// Workers returns the worker processes that run now.
func (d *Distributor) Workers() []*Process { return d.children("worker") }

// Query returns the query process, after it has started.
func (d *Distributor) Query() *Process {
	d.t.Helper()
	var found []*Process
	Until(d.t, "one query process runs", func() bool {
		found = d.children("query")
		return len(found) == 1
	}, nil)
	return found[0]
}

// children returns the child processes of the primary that run a command; "": all.
func (d *Distributor) children(command string) []*Process {
	d.t.Helper()
	var out []*Process
	for _, pid := range children(d.Pid(), command) {
		if p, err := openProcess(d.t, pid); err == nil { // else it has just ended
			out = append(out, p)
		}
	}
	return out
}

// WaitLog waits for a line of this run's log, and returns the first one that matches. what names
// the line in a failure.
func (d *Distributor) WaitLog(what string, match func(Line) bool) Line {
	d.t.Helper()
	return d.WaitLogAfter(0, what, match)
}

// Mark returns the number of log lines so far, for WaitLogAfter.
func (d *Distributor) Mark() int {
	lines, _, _ := d.out.since(0)
	return len(lines)
}

// WaitLogAfter is WaitLog for lines after a Mark.
func (d *Distributor) WaitLogAfter(mark int, what string, match func(Line) bool) Line {
	d.t.Helper()
	deadline := time.After(patience)
	for {
		lines, more, ended := d.out.since(mark)
		for _, l := range lines {
			if match(l) {
				return l
			}
		}
		mark += len(lines)
		if ended {
			d.t.Fatalf("the log ended without %q", what)
		}
		select {
		case <-more:
		case <-deadline:
			d.t.Fatalf("no %q in the log within %v", what, patience)
		}
	}
}

// Log returns all lines of this run so far that match.
func (d *Distributor) Log(match func(Line) bool) []Line {
	var out []Line
	lines, _, _ := d.out.since(0)
	for _, l := range lines {
		if match(l) {
			out = append(out, l)
		}
	}
	return out
}

// Signal sends a signal to the primary.
func (d *Distributor) Signal(s syscall.Signal) {
	d.t.Helper()
	if n := len(d.successors); n > 0 {
		d.successors[n-1].Signal(d.t, s)
		return
	}
	if err := d.cmd.Process.Signal(s); err != nil {
		d.t.Fatalf("%v to the primary: %v", s, err)
	}
}

// Reload sends the signal and returns the log line about the result.
func (d *Distributor) Reload(s syscall.Signal) Line {
	d.t.Helper()
	mark := d.Mark()
	d.Signal(s)
	return d.WaitLogAfter(mark, "configuration (not) reloaded", func(l Line) bool {
		return l.Msg == "configuration reloaded" ||
			l.Msg == "configuration not reloaded, nothing was changed"
	})
}

// Stop stops the distributor as an operator does, and returns how long it took.
func (d *Distributor) Stop() time.Duration {
	d.t.Helper()
	began := time.Now()
	d.finish(syscall.SIGTERM, 0)
	// The new processes of handovers are no children of the test, so they have no exit status here.
	stopped := d.Log(func(l Line) bool { return l.Msg == "stopped" && l.Level == "INFO" })
	if want := len(d.successors) + 1; len(stopped) != want {
		d.t.Errorf("got %d log lines \"stopped\", want %d, one of each process", len(stopped), want)
	}
	if code := d.cmd.ProcessState.ExitCode(); code != 0 {
		d.t.Errorf("after SIGTERM: got %v, want exit status 0", d.cmd.ProcessState)
	}
	return time.Since(began)
}

// Kill ends the primary by SIGKILL.
func (d *Distributor) Kill() {
	d.t.Helper()
	d.finish(syscall.SIGKILL, patience)
}

// finish ends the primary by a signal. It checks that all child processes end within orphans, and
// that the port is free then.
func (d *Distributor) finish(s syscall.Signal, orphans time.Duration) {
	d.t.Helper()
	all := d.children("")
	d.Signal(s)
	within(d.t, d.ended, d.killAll)
	for _, p := range all {
		if !p.Gone(orphans) {
			d.t.Errorf("process %d runs after the primary was ended by %v", p.Pid, s)
		}
	}
	if d.Socket != nil { // the port is the test's
		d.checkOutput()
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(d.Port))
	// A child that was being forked may still hold the port.
	for end := time.Now().Add(orphans); err != nil && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
		l, err = net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(d.Port))
	}
	if err != nil {
		d.t.Errorf("the port is not free after %v: %v", s, err)
		return
	}
	_ = l.Close()
	d.checkOutput()
}

func (d *Distributor) checkOutput() {
	if fault := d.out.fault(); fault != "" {
		d.t.Errorf("in the distributor's output:\n%s", fault)
	}
}

// killAll kills the processes of this run and their child processes. The end of the output is
// reached when the last of them has ended.
func (d *Distributor) killAll() {
	all := append(children(d.Pid(), ""), children(d.cmd.Process.Pid, "")...)
	_ = d.cmd.Process.Kill()
	for _, h := range d.successors {
		_ = unix.PidfdSendSignal(h.fd, unix.SIGKILL, nil, 0)
	}
	for _, pid := range all {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	// New processes of handovers whose end no test waited for:
	for _, l := range d.Log(func(l Line) bool { return l.Msg == "distributing" }) {
		pid, _ := l.Attrs["pid"].(float64)
		if dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", int(pid))); err == nil && dir == d.Dir {
			_ = syscall.Kill(int(pid), syscall.SIGKILL)
		}
	}
}

// end cleans up at the end of the test.
func (d *Distributor) end() {
	if d.Running() {
		d.killAll()
		<-d.ended
	}
	if d.out == nil {
		return
	}
	d.checkOutput()
	if d.t.Failed() {
		d.t.Logf("end of the distributor's log:\n%s", d.out.last(40))
	}
}

// Health requests /is-healthy.
func (d *Distributor) Health() (status int, body string) {
	d.t.Helper()
	return d.Get("/is-healthy")
}

// Get sends a GET request on a connection of its own.
func (d *Distributor) Get(path string) (status int, body string) {
	d.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	r, err := client.Get(d.URL + path)
	if err != nil {
		d.t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return r.StatusCode, string(text)
}

// Ports of tests are below those that the kernel gives to outgoing connections. Else an outgoing
// connection could take a port between two runs.
const (
	firstPort = 20000
	portCount = 10000
)

var portTurn atomic.Uint32

func freePort(t testing.TB) int {
	t.Helper()
	start := uint32(os.Getpid()) * 97 // so that two test processes begin far apart
	for range portCount {
		port := firstPort + int((start+portTurn.Add(1))%portCount)
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no free port")
	panic("unreachable")
}
