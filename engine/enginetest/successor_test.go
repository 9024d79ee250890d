package enginetest

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"distributor/engine/handover"
	"distributor/mmaplog/framelog"
)

// failTakingOver does the steps of a new process up to one of them, and then fails.
func failTakingOver(mode string) int {
	if mode == toldByFile {
		text, err := os.ReadFile(badSuccessorFile) // in the distributor's working directory
		if err != nil {
			fmt.Fprintln(os.Stderr, "panic: ", err) // fails the test
			return 1
		}
		mode = string(text)
	}
	old, err := handover.Inherit()
	if err != nil || old == nil {
		fmt.Fprintln(os.Stderr, "not the new process of a handover", err)
		return 1
	}
	const status = 3
	switch mode {
	case "exits":
		return status
	case "talks":
		_ = old.Send(handover.Message{Serving: true})
		<-old.Messages()
		return status
	}
	_ = old.Send(handover.Message{Ready: true})
	if mode == "ready" {
		return status
	}
	<-old.Messages() // Released
	switch mode {
	case "released":
		return status
	case "fills": // uses the room that the old process has freed
		fill(old.Offer.StateDir)
		return status
	case "opens": // does not close the frame log, like a killed process
		if _, _, err := framelog.OpenWriter(framelog.Options{Dir: filepath.Join(old.Offer.StateDir,
			"frames"), SegmentBytes: 1 << 20, RetainBytes: 1 << 30}); err != nil {
			fmt.Fprintln(os.Stderr, "panic: ", err) // fails the test
		}
		return status
	}
	fmt.Fprintln(os.Stderr, `{"level":"INFO","msg":"the new process hangs"}`)
	select {}
}

// copied gives d a copy of the binary instead of a link.
func copied(t *testing.T, d *Distributor) {
	t.Helper()
	program, err := os.ReadFile(built)
	if err != nil {
		t.Fatal(err)
	}
	d.Binary = filepath.Join(d.Dir, "distributor")
	// A child that is forked meanwhile would have the file open for writing, and then the file
	// could not be executed.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(d.Binary, program, 0o755); err != nil {
		t.Fatal(err)
	}
}
