package supervisor

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"
)

// A profile's connection leads to the worker that was asked for, and leaves nothing behind: prepare
// checks for descriptors when the test has ended.
func TestProfile(t *testing.T) {
	f := start(t, "", 2, 2, 1)
	f.wantLayout("1:0 2:0")
	for number := 1; number <= 2; number++ {
		conn, err := f.Profile(number)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(patience))
		got, err := io.ReadAll(conn)
		if want := fmt.Sprint("profile of ", f.pid(number)); err != nil || string(got) != want {
			t.Errorf("%q %v, want %q", got, err, want)
		}
		conn.Close()
	}
	if _, err := f.Profile(3); !errors.Is(err, ErrNoWorker) {
		t.Fatalf("no such worker: %v", err)
	}
}
