package systemd

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A service manager that receives nothing does not keep the primary waiting.
func TestNotifyDoesNotWait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	text := make([]byte, 100)
	if err := Notify("READY=1"); err != nil {
		t.Fatal(err)
	}
	if n, err := l.Read(text); err != nil || string(text[:n]) != "READY=1" {
		t.Errorf("%q %v", text[:n], err)
	}
	told := make(chan error, 1)
	go func() { // until its queue is full, and once more
		for {
			if err := Notify("READY=1"); err != nil {
				told <- err
				return
			}
		}
	}()
	select {
	case err := <-told:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	case <-time.After(2 * time.Minute):
		t.Error("it waits")
		l.Close() // which ends that
		<-told
	}
}
