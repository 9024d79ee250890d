package proc

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestParseStat(t *testing.T) {
	for _, c := range []struct {
		text string
		want stat
	}{
		{"1478 (distributor) S 1470 1478 1470 0 -1 4194560 3201 0 4 0 1234 66 0 0 20 0 7 0 313 1 2 3\n", stat{1470, 12340 * time.Millisecond, 660 * time.Millisecond}},
		{"7 (a) b (c)) R 1 7 7 0 -1 0 0 0 0 0 1 2 0 0 20 0 1 0 0 0 0", stat{1, 10 * time.Millisecond, 20 * time.Millisecond}},
	} {
		if got, err := parseStat([]byte(c.text)); err != nil || got != c.want {
			t.Errorf("%q: %+v, %v", c.text, got, err)
		}
	}
	for _, bad := range []string{"", "7", "7 (x) R 1", "7 (x) R x 7 7 0 -1 0 0 0 0 0 1 2 0 0 20", "7 (x) R 1 7 7 0 -1 0 0 0 0 0 1 y 0 0 20"} {
		if got, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q was taken for %+v", bad, got)
		}
	}
}

func TestParseBusy(t *testing.T) {
	const text = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 2 4 1000 2000 8 16 32 64 0\ncpu1 100 0 0 5 5 0 0 0 0 0\ncpu10 7 0 0 0 0 0 0 0 0 0\nintr 5\n"
	for _, c := range []struct {
		cpus CPUs
		want time.Duration
	}{{CPUs{0}, 630 * time.Millisecond}, {CPUs{1}, time.Second}, {CPUs{1, 10}, 1070 * time.Millisecond}, {nil, 0}} {
		if got, err := parseBusy(text, c.cpus); err != nil || got != c.want {
			t.Errorf("%v: %v, %v", c.cpus, got, err)
		}
	}
	if got, err := parseBusy(text, CPUs{0, 2}); err == nil {
		t.Error("a CPU that is not there was found:", got)
	}
}

func TestParseMemory(t *testing.T) {
	const text = "VmRSS:\t  900 kB\nRssAnon:\t    128 kB\nRssFile:\t 4 kB\n"
	for name, want := range map[string]int64{"RssAnon": 128 << 10, "VmRSS": 900 << 10} {
		if got, err := parseMemory(text, name); err != nil || got != want {
			t.Error(name, got, err)
		}
	}
	for _, bad := range []string{"", "RssAnon:\n", "RssAnon: many kB\n"} {
		if got, err := parseMemory(bad, "RssAnon"); err == nil {
			t.Errorf("%q was taken for %d", bad, got)
		}
	}
}

func TestParseSockets(t *testing.T) {
	const text = "sockets: used 7\nTCP: inuse 5 orphan 0 tw 3 alloc 9 mem 12\nUDP: inuse 1 mem 4\n"
	if got, err := parseSockets(text); err != nil || got != 12*int64(os.Getpagesize()) {
		t.Error(got, err)
	}
	for _, bad := range []string{"", "UDP: inuse 1 mem 4\n", "TCP: inuse 5\n", "TCP: mem x\n"} {
		if got, err := parseSockets(bad); err == nil {
			t.Errorf("%q was taken for %d", bad, got)
		}
	}
	if n, err := SocketBytes(); err != nil || n < 0 {
		t.Error(n, err)
	}
}

// The books of a process that has worked agree with each other, and with the
// CPU's.
func TestCPUAgreesWithStat(t *testing.T) {
	start, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	var ran time.Duration
	for x, end := 0, time.Now().Add(10*time.Second); ran < 50*time.Millisecond; x++ {
		if time.Now().After(end) {
			t.Fatal("the CPU clock does not move:", ran)
		}
		now, err := CPU(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		ran = now - start
	}
	total, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	user, system, err := Shares(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if d := user + system - total; d.Abs() > 30*time.Millisecond {
		t.Errorf("stat says %v + %v, the clock %v", user, system, total)
	}
	cpus, err := Allowed()
	if err != nil {
		t.Fatal(err)
	}
	if busy, err := Busy(cpus); err != nil || busy < ran {
		t.Errorf("CPUs were busy for %v, %v; this process ran for %v", busy, err, ran)
	}
	if n, err := PrivateBytes(os.Getpid()); err != nil || n < 1<<16 {
		t.Error("private memory:", n, err)
	}
	if n, err := Files(os.Getpid()); err != nil || n < 16 {
		t.Error("open files:", n, err)
	}
}

// Where the kernel's threads can be seen, there is one a CPU, and it has books.
func TestSoftirq(t *testing.T) {
	cpus, err := Allowed()
	if err != nil {
		t.Fatal(err)
	}
	pids, err := Softirq(cpus)
	if err != nil || len(pids) != 0 && len(pids) != len(cpus) {
		t.Errorf("%v for %v, %v", pids, cpus, err)
	}
	for _, pid := range pids {
		if _, err := CPU(pid); err != nil {
			t.Error(err)
		}
	}
}

func TestOfAProcessThatIsNotThere(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if d, err := CPU(cmd.Process.Pid); err == nil {
		t.Error("CPU time of nobody:", d)
	}
	if _, err := PrivateBytes(cmd.Process.Pid); err == nil {
		t.Error("memory of nobody")
	}
}

func TestStartOnPinsTheChildAndNotUs(t *testing.T) {
	before, err := Allowed()
	if err != nil {
		t.Fatal(err)
	}
	last := before[len(before)-1:]
	cmd := exec.Command("sleep", "60")
	if err := StartOn(cmd, last); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(cmd.Process.Pid, &set); err != nil {
		t.Fatal(err)
	}
	if set.Count() != 1 || !set.IsSet(last[0]) {
		t.Errorf("runs on %v, not on %v", set, last)
	}
	if after, err := Allowed(); err != nil || !slices.Equal(before, after) {
		t.Error("we run on", after, err)
	}
	children, err := Children(os.Getpid(), "")
	if err != nil || !slices.Contains(children, cmd.Process.Pid) {
		t.Error("children:", children, err)
	}
}

func TestStartOnSaysWhenItCannot(t *testing.T) {
	cmd := exec.Command("true")
	if err := StartOn(cmd, nil); err == nil || !strings.Contains(err.Error(), "pin") {
		t.Error("started on no CPU:", err)
	}
	if cmd.Process != nil {
		t.Error("a process was started")
	}
}
