package ipc

import (
	"os"
	"runtime"
	"sync"
	"testing"
	"time"
)

// The kernel's figure of a process is read: this one has waited for a processor, and more if it
// competes for one.
func TestCPUWait(t *testing.T) {
	before, err := CPUWait(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	threads := 4 * runtime.NumCPU()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(threads))
	var busy sync.WaitGroup
	end := time.Now().Add(300 * time.Millisecond)
	for range threads {
		busy.Go(func() {
			for time.Now().Before(end) {
			}
		})
	}
	busy.Wait()
	if after, err := CPUWait(os.Getpid()); err != nil || before <= 0 || after <= before {
		t.Errorf("waited %v, then %v, %v; want more than before", before, after, err)
	}
	if got, err := CPUWait(1 << 30); err == nil {
		t.Errorf("a process that does not exist: got %v", got)
	}
}
