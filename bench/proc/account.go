package proc

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// CPU returns the time that all threads of a process have run, user and system.
func CPU(pid int) (time.Duration, error) {
	// The clock's number is made as clock_getcpuclockid(3) does: ~pid, and CPUCLOCK_SCHED in the
	// low bits.
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &ts); err != nil {
		return 0, fmt.Errorf("proc: CPU time of %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// Children returns the child processes of pid whose last argument is command; "": all.
func Children(pid int, command string) (pids []int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		text, _ := os.ReadFile(list) // the thread may have ended
		for number := range strings.FieldsSeq(string(text)) {
			args, _ := os.ReadFile("/proc/" + number + "/cmdline")
			child, err := strconv.Atoi(number)
			if err == nil && (command == "" || strings.HasSuffix(string(args), "\x00"+command+"\x00")) {
				pids = append(pids, child)
			}
		}
	}
	return pids
}

// Softirq lists the threads in which the kernel does network work of the CPUs that did not fit into
// the system calls and interrupts that the work belongs to. In a container it finds none.
func Softirq(cpus CPUs) (pids []int) {
	names, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, name := range names {
		text, _ := os.ReadFile(name) // the process may have ended
		for _, cpu := range cpus {
			if string(text) == fmt.Sprintf("ksoftirqd/%d\n", cpu) {
				pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// Busy returns the time that the CPUs have not been idle, together, in steps of 10 ms: what all
// processes, the kernel's threads, interrupts and the hypervisor took.
func Busy(cpus CPUs) (busy time.Duration, err error) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, fmt.Errorf("proc: busy time: %w", err)
	}
	stat, err := fs.Stat()
	if err != nil {
		return 0, fmt.Errorf("proc: busy time: %w", err)
	}
	for _, cpu := range cpus {
		c, ok := stat.CPU[int64(cpu)]
		if !ok {
			return 0, fmt.Errorf("proc: busy time: no CPU %d", cpu)
		}
		seconds := c.User + c.Nice + c.System + c.IRQ + c.SoftIRQ + c.Steal
		busy += time.Duration(seconds * float64(time.Second))
	}
	return busy, nil
}

// Memory returns the private memory of a process (heap and stacks), and all of its memory with
// mapped files, both in bytes.
func Memory(pid int) (private, resident float64, err error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return 0, 0, fmt.Errorf("proc: memory of %d: %w", pid, err)
	}
	status, err := p.NewStatus()
	if err != nil {
		return 0, 0, fmt.Errorf("proc: memory of %d: %w", pid, err)
	}
	return float64(status.RssAnon), float64(status.VmRSS), nil
}
