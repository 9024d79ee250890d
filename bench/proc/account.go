package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of /proc/stat and /proc/<pid>/stat: USER_HZ, 100 a second
// on every Linux.
const tick = time.Second / 100

// CPU is the time that all threads of a process have run so far.
func CPU(pid int) (time.Duration, error) {
	// The clock's number is made as clock_getcpuclockid(3) does: ~pid, and
	// CPUCLOCK_SCHED in the low bits.
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &ts); err != nil {
		return 0, fmt.Errorf("proc: CPU time of %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// Children are the processes whose parent is pid and whose last argument is
// command; with "" all.
func Children(pid int, command string) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("proc: children: %w", err)
	}
	var children []int
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // it has ended
		}
		s, err := parseStat(text)
		if err != nil {
			return nil, err
		}
		args, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline") // it may have ended
		if s.parent == pid && (command == "" || strings.HasSuffix(string(args), "\x00"+command+"\x00")) {
			children = append(children, child)
		}
	}
	return children, nil
}

// Softirq finds the threads in which the kernel does network work of the CPUs
// that did not fit into the system calls and interrupts that it belongs to.
func Softirq(cpus CPUs) (pids []int, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("proc: ksoftirqd: %w", err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		name, err := os.ReadFile("/proc/" + e.Name() + "/comm")
		if err != nil {
			continue // it has ended
		}
		for _, cpu := range cpus {
			if string(name) == fmt.Sprintf("ksoftirqd/%d\n", cpu) {
				pids = append(pids, pid)
			}
		}
	}
	return pids, nil // none in a container, where they cannot be seen
}

// stat is what we need of /proc/<pid>/stat.
type stat struct {
	parent       int
	user, system time.Duration
}

func parseStat(text []byte) (stat, error) {
	// The name, in parentheses, may hold anything, parentheses too.
	_, rest, ok := bytes.Cut(text[bytes.LastIndexByte(text, ')')+1:], []byte(" "))
	fields := strings.Fields(string(rest))
	if !ok || len(fields) < 13 {
		return stat{}, fmt.Errorf("proc: not a stat line: %.80q", text)
	}
	var n [3]int64
	for i, field := range []int{1, 11, 12} { // ppid, utime, stime: 4, 14 and 15 in proc(5)
		var err error
		if n[i], err = strconv.ParseInt(fields[field], 10, 64); err != nil {
			return stat{}, fmt.Errorf("proc: not a stat line: %w", err)
		}
	}
	return stat{int(n[0]), time.Duration(n[1]) * tick, time.Duration(n[2]) * tick}, nil
}

// Shares is the same time as CPU gives, divided into user and system, in steps
// of 10 ms.
func Shares(pid int) (user, system time.Duration, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("proc: stat: %w", err)
	}
	s, err := parseStat(text)
	return s.user, s.system, err
}

// Busy is the time that the CPUs have not been idle, together, in steps of
// 10 ms: what all processes, the kernel's threads and interrupts took, and the
// hypervisor.
func Busy(cpus CPUs) (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("proc: busy time: %w", err)
	}
	return parseBusy(string(text), cpus)
}

func parseBusy(text string, cpus CPUs) (time.Duration, error) {
	var busy time.Duration
	found := 0
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		for _, cpu := range cpus {
			if len(fields) < 9 || fields[0] != fmt.Sprintf("cpu%d", cpu) {
				continue
			}
			found++
			for _, i := range []int{1, 2, 3, 6, 7, 8} { // user, nice, system, irq, softirq, steal; not idle, iowait
				n, err := strconv.ParseInt(fields[i], 10, 64)
				if err != nil {
					return 0, fmt.Errorf("proc: busy time: %w", err)
				}
				busy += time.Duration(n) * tick
			}
		}
	}
	if found != len(cpus) {
		return 0, fmt.Errorf("proc: busy time: %d of the CPUs %v found", found, cpus)
	}
	return busy, nil
}

// PrivateBytes is the memory that a process shares with no file: its heap and
// stacks, not what it has mapped.
func PrivateBytes(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("proc: memory: %w", err)
	}
	return parseMemory(string(text), "RssAnon")
}

func parseMemory(text, name string) (int64, error) {
	for line := range strings.Lines(text) {
		if kib, ok := strings.CutPrefix(line, name+":"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kib), "kB")), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("proc: memory: %w", err)
			}
			return n << 10, nil
		}
	}
	return 0, fmt.Errorf("proc: memory: no %s", name)
}

// Files is how many descriptors a process may have open.
func Files(pid int) (uint64, error) {
	var limit unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &limit); err != nil {
		return 0, fmt.Errorf("proc: limit of open files: %w", err)
	}
	return limit.Cur, nil
}

// ResidentBytes is all the memory of a process, what it has mapped included.
func ResidentBytes(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("proc: memory: %w", err)
	}
	return parseMemory(string(text), "VmRSS")
}

// SocketBytes is what the kernel has in use for all TCP sockets, together: data
// that waits, in whole pages, and not the sockets themselves.
func SocketBytes() (int64, error) {
	text, err := os.ReadFile("/proc/net/sockstat")
	if err != nil {
		return 0, fmt.Errorf("proc: sockets: %w", err)
	}
	return parseSockets(string(text))
}

func parseSockets(text string) (int64, error) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "TCP:" {
			continue
		}
		for i := 1; i+1 < len(fields); i += 2 {
			if fields[i] == "mem" {
				pages, err := strconv.ParseInt(fields[i+1], 10, 64)
				return pages * int64(os.Getpagesize()), err
			}
		}
	}
	return 0, fmt.Errorf("proc: sockets: no memory of TCP in %.80q", text)
}
