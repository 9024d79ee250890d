package main

import (
	"io"
	"strings"
	"testing"
)

// After a handover of the distributor, the log has its addresses again: the first ones stay.
func TestDemoLogAfterHandover(t *testing.T) {
	d := demonstration{dir: t.TempDir(), stderr: io.Discard, logged: make(chan struct{})}
	listening := make(chan struct{})
	d.readLog(strings.NewReader(`{"level":"INFO","msg":"distributing","address":"127.0.0.1:1"}
{"level":"INFO","msg":"admin listener","address":"127.0.0.1:2"}
{"level":"INFO","msg":"distributing","address":"127.0.0.1:3"}
{"level":"INFO","msg":"admin listener","address":"127.0.0.1:4"}
`), listening)
	select {
	case <-listening:
	default:
		t.Error("got no addresses, want both")
	}
	if d.address != "127.0.0.1:1" || d.admin != "127.0.0.1:2" {
		t.Errorf("got %s and %s, want those of the first process", d.address, d.admin)
	}
}
