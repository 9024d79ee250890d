package enginetest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Process is a process that is no child of the test process. It is held by a pidfd, so another
// process that gets the same ID is never mistaken for it.
type Process struct {
	Pid int
	fd  int
}

// OpenProcess returns a running process; the test fails if it has ended.
func OpenProcess(t testing.TB, pid int) *Process {
	t.Helper()
	p, err := openProcess(t, pid)
	if err != nil {
		t.Fatalf("process %d: %v", pid, err)
	}
	return p
}

func openProcess(t testing.TB, pid int) (*Process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return &Process{pid, fd}, nil
}

// Kill sends SIGKILL.
func (p *Process) Kill(t testing.TB) { t.Helper(); p.Signal(t, unix.SIGKILL) }

// kill is Kill for a process that may have ended.
func (p *Process) kill() { _ = unix.PidfdSendSignal(p.fd, unix.SIGKILL, nil, 0) }

// Signal sends a signal.
func (p *Process) Signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := unix.PidfdSendSignal(p.fd, s, nil, 0); err != nil {
		t.Fatalf("%v to process %d: %v", s, p.Pid, err)
	}
}

// Gone waits at most wait for the end of the process, and reports whether it has ended.
func (p *Process) Gone(wait time.Duration) bool {
	for end := time.Now().Add(wait); ; {
		ready := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(ready, int(max(0, time.Until(end)).Milliseconds()))
		if !errors.Is(err, unix.EINTR) {
			return n == 1
		}
	}
}

// children returns the child processes of pid that run a command, such as "worker"; "": all.
func children(pid int, command string) []int {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	var out []int
	for _, list := range lists {
		text, _ := os.ReadFile(list) // the thread may have ended
		for word := range strings.FieldsSeq(string(text)) {
			args, _ := os.ReadFile("/proc/" + word + "/cmdline")
			matches := command == "" || strings.HasSuffix(string(args), "\x00"+command+"\x00")
			if child, err := strconv.Atoi(word); err == nil && matches {
				out = append(out, child)
			}
		}
	}
	return out
}

// descriptors returns the targets of pid's file descriptors, such as "socket:[12345]".
func descriptors(pid int) []string {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, _ := os.ReadDir(dir)
	var out []string
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			out = append(out, target)
		}
	}
	return out
}

// connections returns how many established connections to a local TCP port pid has accepted.
func connections(pid, port int) int {
	table, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", pid))
	const established = "01"
	served := make(map[string]bool)
	for line := range strings.Lines(string(table)) {
		// sl local_address rem_address st tx:rx tr:tm retrnsmt uid timeout inode
		f := strings.Fields(line)
		if len(f) > 9 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) && f[3] == established {
			served["socket:["+f[9]+"]"] = true
		}
	}
	n := 0
	for _, d := range descriptors(pid) {
		if served[d] {
			n++
		}
	}
	return n
}

// inMemory reports whether the private memory of a process contains any of the texts.
func inMemory(t testing.TB, pid int, texts ...[]byte) bool {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Skipf("memory of another process cannot be read here: %v", err)
	}
	defer memory.Close()
	for line := range strings.Lines(string(maps)) {
		var from, to uint64
		var access string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &access); err != nil {
			t.Fatalf("/proc/%d/maps: %q: %v", pid, line, err)
		}
		if access != "rw-p" || to-from > 1<<30 {
			continue
		}
		piece := make([]byte, to-from)
		n, _ := memory.ReadAt(piece, int64(from)) // fails at pages that are not there
		for _, text := range texts {
			if bytes.Contains(piece[:n], text) {
				return true
			}
		}
	}
	return false
}

// freeDescriptor returns the number that pid's next descriptor will have after a number of others.
func freeDescriptor(pid, others int) uint64 {
	for n := uint64(0); ; n++ {
		if exists(fmt.Sprintf("/proc/%d/fd/%d", pid, n)) {
			continue
		}
		if others == 0 {
			return n
		}
		others--
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// limitDescriptors sets RLIMIT_NOFILE of a running process. restore sets it back.
func limitDescriptors(t testing.TB, pid int, to uint64) (restore func()) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &before); err != nil {
		t.Fatal(err)
	}
	set := func(limit unix.Rlimit) {
		t.Helper()
		if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &limit, nil); err != nil {
			t.Fatal(err)
		}
	}
	set(unix.Rlimit{Cur: to, Max: before.Max})
	return func() { t.Helper(); set(before) }
}

// cpuTime returns the CPU time that pid has used.
func cpuTime(t testing.TB, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	f := strings.Fields(rest) // from the state on
	if len(f) < 13 {
		t.Fatalf("/proc/%d/stat: %q", pid, text)
	}
	var ticks int64
	for _, word := range f[11:13] { // utime, stime
		n, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100) // USER_HZ
}
