package proc

import (
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The CPU time of a process agrees with that of its CPUs.
func TestBooks(t *testing.T) {
	pid := os.Getpid()
	start, err := CPU(pid)
	if err != nil {
		t.Fatal(err)
	}
	var ran time.Duration
	for end := time.Now().Add(time.Minute); ran < 50*time.Millisecond; {
		now, err := CPU(pid)
		if err != nil || time.Now().After(end) {
			t.Fatal("the CPU clock does not move:", ran, err)
		}
		ran = now - start
	}
	cpus, err := Allowed()
	if err != nil {
		t.Fatal(err)
	}
	if busy, err := Busy(cpus); err != nil || busy < ran {
		t.Errorf("CPUs were busy for %v, %v; this process ran for %v", busy, err, ran)
	}
	if _, err := Busy(CPUs{1 << 20}); err == nil {
		t.Error("a CPU that is not there was found")
	}
	if private, resident, err := Memory(pid); err != nil || private < 1<<16 || resident < private {
		t.Error("memory:", private, resident, err)
	}
	for _, pid := range Softirq(cpus) { // none in a container
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
	_, cpuErr := CPU(cmd.Process.Pid)
	_, _, memoryErr := Memory(cmd.Process.Pid)
	if cpuErr == nil || memoryErr == nil {
		t.Error("it has books:", cpuErr, memoryErr)
	}
}

// A child runs on its CPUs when it answers. Its parent stays where it is.
func TestCommandPinsTheChild(t *testing.T) {
	before, err := Allowed()
	if err != nil {
		t.Fatal(err)
	}
	last := before[len(before)-1:]
	child, err := StartProgram(last.Command(t.Context(), "cat"), "cat")
	if err != nil {
		t.Fatal(err)
	}
	var answer string
	if err := child.Ask("hello", &answer); err != nil || answer != "hello" {
		t.Error(answer, err)
	}
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(child.PID(), &set); err != nil {
		t.Fatal(err)
	}
	after, err := Allowed()
	if set.Count() != 1 || !set.IsSet(last[0]) || !slices.Equal(before, after) {
		t.Errorf("the child is on %v, not on %v; we are on %v, %v", set, last, after, err)
	}
	if !slices.Contains(Children(os.Getpid(), ""), child.PID()) {
		t.Error("it is no child")
	}
	if err := child.Close(); err != nil {
		t.Error(err)
	}
}
