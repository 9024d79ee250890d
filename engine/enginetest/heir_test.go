package enginetest

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"distributor/engine/succession"
	"distributor/mmaplog/framelog"
)

// failTakingOver goes some way of an heir's, and then not on.
func failTakingOver(mode string) int {
	if mode == toldByFile {
		text, err := os.ReadFile(badHeirFile) // in the distributor's working directory
		if err != nil {
			fmt.Fprintln(os.Stderr, "panic: ", err) // fails the test
			return 1
		}
		mode = string(text)
	}
	elder, err := succession.Inherit()
	if err != nil || elder == nil {
		fmt.Fprintln(os.Stderr, "not an heir", err)
		return 1
	}
	const status = 3
	switch mode {
	case "exits":
		return status
	case "talks":
		_ = elder.Send(succession.Message{Serving: true})
		<-elder.Messages()
		return status
	}
	_ = elder.Send(succession.Message{Ready: true})
	if mode == "ready" {
		return status
	}
	<-elder.Messages() // Yours
	switch mode {
	case "yours":
		return status
	case "fills": // what the old process has let go of
		fill(elder.Estate.StateDir)
		return status
	case "opens": // and is killed, as far as the frame log is concerned
		if _, _, err := framelog.OpenWriter(framelog.Options{Dir: filepath.Join(elder.Estate.StateDir, "frames"), SegmentBytes: 1 << 20, RetainBytes: 1 << 30}); err != nil {
			fmt.Fprintln(os.Stderr, "panic: ", err) // fails the test
		}
		return status
	}
	fmt.Fprintln(os.Stderr, `{"level":"INFO","msg":"heir hangs"}`)
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
