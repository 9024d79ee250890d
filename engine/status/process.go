package status

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
)

var ownPID = os.Getpid()

// ticksPerSecond is USER_HZ, which Linux has had at 100 on every architecture
// that Go runs on.
const ticksPerSecond = 100

// fdsEvery is how many looks apart descriptors are counted where that is dear.
const fdsEvery = 10

// processes reads what the kernel says of our processes.
type processes struct {
	looks int
	fds   map[int]int // by process, as last counted one by one
}

type named struct {
	name string
	pid  int
}

// look leaves out processes that are gone.
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

// read fills in what stands in the process's stat and status.
func (p *Process) read() error {
	dir := "/proc/" + strconv.Itoa(p.PID)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return err
	}
	// The name, second and in brackets, may hold anything; the state follows.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 18 {
		return fmt.Errorf("status: %s/stat: %d fields", dir, len(fields))
	}
	// proc(5): state is field 3 there and 0 here, utime 14, stime 15, num_threads 20.
	p.CPUSeconds = float64(number(fields[11])+number(fields[12])) / ticksPerSecond
	p.Threads = int(number(fields[17]))
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return err
	}
	p.RSS, p.Private = kilobytes(status, "VmRSS:"), kilobytes(status, "RssAnon:")
	return nil
}

// descriptors counts open ones. From Linux 6.2 on the folder's size tells; else
// its entries are counted, rarely, as there are as many as collectors.
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

// kilobytes finds "name:  123 kB" and returns bytes; 0 without it.
func kilobytes(status []byte, name string) int64 {
	_, rest, _ := bytes.Cut(status, []byte("\n"+name))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	fields := bytes.Fields(line)
	if len(fields) == 0 {
		return 0
	}
	return number(fields[0]) << 10
}

// number is 0 for what is none.
func number(text []byte) int64 {
	n, _ := strconv.ParseInt(string(text), 10, 64)
	return n
}
