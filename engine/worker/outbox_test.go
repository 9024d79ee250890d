package worker

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"distributor/engine/handoff"
)

// What the kernel will not send just now, whatever the error, is told later: no
// EPOLLOUT comes for it.
func TestOutboxIsKept(t *testing.T) {
	h := holdInHand(t)
	h.told(func(m handoff.Message) bool { return m.Ready != nil })
	if err := unix.SetsockoptInt(h.control, unix.SOL_SOCKET, unix.SO_SNDBUF, 1); err != nil {
		t.Fatal(err)
	}
	packet, err := handoff.Encode(handoff.Message{Closed: &handoff.Closed{ID: 7, Detail: strings.Repeat("x", 16<<10)}})
	if err != nil {
		t.Fatal(err)
	}
	if err := handoff.Send(h.control, packet); err == nil || err == handoff.ErrAgain {
		t.Fatalf("the kernel is to refuse it outright, not %v", err)
	}
	h.tell(handoff.Message{Closed: &handoff.Closed{ID: 7, Detail: strings.Repeat("x", 16<<10)}})
	h.tell(handoff.Message{Closed: &handoff.Closed{ID: 8}})
	if err := unix.SetsockoptInt(h.control, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<18); err != nil {
		t.Fatal(err)
	}
	if h.tick(); len(h.outbox) > 0 {
		t.Errorf("%d messages still wait", len(h.outbox))
	}
	for id := uint64(7); id <= 8; id++ {
		if m := h.told(func(m handoff.Message) bool { return m.Closed != nil }); m.Closed.ID != id {
			t.Errorf("the end of %d is told, not that of %d", m.Closed.ID, id)
		}
	}
}
