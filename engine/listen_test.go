package engine

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"
)

// A distributor that is killed while it starts a child leaves the port to that child for a moment.
func TestListenWaitsForThePort(t *testing.T) {
	held, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := held.Addr().String()
	if l, err := listenPublic(address); !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("the port is held for good: got %v, %v, want EADDRINUSE", l, err)
	}
	time.AfterFunc(5*bindPause, func() { _ = held.Close() })
	l, err := listenPublic(address)
	if err != nil {
		t.Fatalf("the port is held for %v: got %v, want a listener", 5*bindPause, err)
	}
	_ = l.Close()
}
