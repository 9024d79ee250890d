package status

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
)

var ownPID = os.Getpid()

// ticksPerSecond is USER_HZ, which is 100 on every architecture that Go supports on Linux.
const ticksPerSecond = 100

// fdsEvery is after how many calls of look descriptors are counted again where counting is
// expensive.
const fdsEvery = 10

// processes reads figures of our processes from the kernel.
type processes struct {
	looks int
	fds   map[int]int // by process, as last counted
}

type named struct {
	name string
	pid  int
}

// look returns the figures of the processes in list. It leaves out processes that are gone.
func (p *processes) look(list []named) []Process {
	if p.looks%fdsEvery == 0 {
		p.fds = make(map[int]int)
	}
	p.looks++
	out := make([]Process, 0, len(list))
	for _, n := range list {
		one := Process{Name: n.name, PID: n.pid}
		if one.read() == nil {
			one.FDs = p.descriptors(n.pid)
			out = append(out, one)
		}
	}
	return out
}

// read fills in the figures of the process's stat and status files.
func (p *Process) read() error {
	dir := "/proc/" + strconv.Itoa(p.PID)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return err
	}
	// The second field, the name in brackets, may contain any character. The state follows it.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 18 {
		return fmt.Errorf("status: %s/stat: %d fields", dir, len(fields))
	}
	// In proc(5), state is field 3 (here 0), utime 14, stime 15, num_threads 20.
	p.CPUSeconds = float64(number(fields[11])+number(fields[12])) / ticksPerSecond
	p.Threads = int(number(fields[17]))
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return err
	}
	p.RSS, p.Private = kilobytes(status, "VmRSS:"), kilobytes(status, "RssAnon:")
	return nil
}

// descriptors returns the number of open descriptors. From Linux 6.2 on, the size of the directory
// is that number. On older kernels its entries are counted, rarely, because there are as many as
// collectors.
func (p *processes) descriptors(pid int) int {
	path := "/proc/" + strconv.Itoa(pid) + "/fd"
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err == nil && st.Size > 0 {
		return int(st.Size)
	}
	n, known := p.fds[pid]
	if !known {
		if dir, err := os.Open(path); err == nil {
			names, _ := dir.Readdirnames(-1)
			_ = dir.Close()
			n = len(names)
		}
		p.fds[pid] = n
	}
	return n
}

// kilobytes finds "name:  123 kB" and returns bytes, or 0 if there is no such line.
func kilobytes(status []byte, name string) int64 {
	_, rest, _ := bytes.Cut(status, []byte("\n"+name))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	fields := bytes.Fields(line)
	if len(fields) == 0 {
		return 0
	}
	return number(fields[0]) << 10
}

// number parses text, and returns 0 if it is not a number.
func number(text []byte) int64 {
	n, _ := strconv.ParseInt(string(text), 10, 64)
	return n
}
