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

// failTakingOver goes some way of a new process's, and then not on.
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
	case "fills": // what the old process has let go of
		fill(old.Offer.StateDir)
		return status
	case "opens": // and is killed, as far as the frame log is concerned
		if _, _, err := framelog.OpenWriter(framelog.Options{Dir: filepath.Join(old.Offer.StateDir,
			"frames"), SegmentBytes: 1 << 20, RetainBytes: 1 << 30}); err != nil {
			fmt.Fprintln(os.Stderr, "panic: ", err) // fails the test
		}
		return status
	}
	fmt.Fprintln(os.Stderr, `{"level":"INFO","msg":"the new process hangs"}`)
	select {}
}

// copied gives d a binary of its own that is no link.
func copied(t *testing.T, d *Distributor) {
	t.Helper()
	program, err := os.ReadFile(built)
	if err != nil {
		t.Fatal(err)
	}
	d.Binary = filepath.Join(d.Dir, "distributor")
	// Whoever is forked meanwhile would hold the file open for writing, and such a
	// one cannot be executed.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(d.Binary, program, 0o755); err != nil {
		t.Fatal(err)
	}
}
