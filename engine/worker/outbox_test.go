package worker

import (
	"errors"
	"strings"
	"testing"

	gnet "github.com/panjf2000/gnet/v2/pkg/errors"
	"github.com/panjf2000/gnet/v2/pkg/netpoll"
	"golang.org/x/sys/unix"

	"distributor/engine/handoff"
)

// A message that the kernel refuses, with any error, is sent later. No EPOLLOUT follows in this
// case.
func TestOutboxIsKept(t *testing.T) {
	h := newManualLoop(t)
	h.sentToPrimary(isReady)
	if err := unix.SetsockoptInt(h.control, unix.SOL_SOCKET, unix.SO_SNDBUF, 1); err != nil {
		t.Fatal(err)
	}
	packet, err := handoff.Encode(handoff.Message{Closed: &handoff.Closed{ID: 7,
		Detail: strings.Repeat("x", 16<<10)}})
	if err != nil {
		t.Fatal(err)
	}
	if err := handoff.Send(h.control, packet); err == nil || errors.Is(err, handoff.ErrAgain) {
		t.Fatalf("the kernel is to refuse it outright, not %v", err)
	}
	h.sendToPrimary(handoff.Message{Closed: &handoff.Closed{ID: 7,
		Detail: strings.Repeat("x", 16<<10)}})
	h.sendToPrimary(handoff.Message{Closed: &handoff.Closed{ID: 8}})
	if err := unix.SetsockoptInt(h.control, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<18); err != nil {
		t.Fatal(err)
	}
	if h.tick(); len(h.outbox) > 0 {
		t.Errorf("%d messages are still queued", len(h.outbox))
	}
	for id := uint64(7); id <= 8; id++ {
		if m := h.sentToPrimary(isClosed); m.Closed.ID != id {
			t.Errorf("the end of %d is told, not that of %d", m.Closed.ID, id)
		}
	}
}

// fill sends the primary, which does not read, reports of ended clients until the channel is full.
// It returns their number.
func (h *manualLoop) fill() (ends uint64) {
	h.t.Helper()
	h.sentToPrimary(isReady)
	for len(h.outbox) == 0 {
		if ends++; ends > 10_000 {
			h.t.Fatal("the channel is never full")
		}
		detail := strings.Repeat("x", 10_000)
		h.sendToPrimary(handoff.Message{Closed: &handoff.Closed{ID: ends, Detail: detail}})
	}
	return ends
}

// receiveNext waits for the next message to the primary.
func (h *manualLoop) receiveNext() (m handoff.Message) {
	h.t.Helper()
	b := make([]byte, handoff.MaxMessage)
	until(h.t, func() bool {
		var err error
		if m, _, err = handoff.Receive(h.primary, b); err != nil && !errors.Is(err, handoff.ErrAgain) {
			h.t.Fatal(err)
		}
		return err == nil
	})
	return m
}

// Messages that the channel could not take are sent in order when it takes more, without a tick:
// reports of ended clients, and confirmations.
func TestOutboxIsSentWhenWritable(t *testing.T) {
	h := newManualLoop(t)
	ends := h.fill()
	for offset := range uint64(3) {
		h.confirm(&client{id: 7, acked: offset})
		h.sendConfirmed()
	}
	if err := setTimer(h.timer, 0); err != nil { // no ticks
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- h.poller.Polling(h.loop.event) }()
	t.Cleanup(func() { // the end of the channel ends the loop
		if err := unix.Shutdown(h.primary, unix.SHUT_RDWR); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, gnet.ErrEngineShutdown) {
			t.Error(err)
		}
	})
	for id := range ends {
		if m := h.receiveNext(); m.Closed == nil || m.Closed.ID != id+1 {
			t.Errorf("instead of the end of %d: %+v", id+1, m)
		}
	}
	for offset := range uint64(3) {
		m := h.receiveNext()
		if len(m.Confirmed) != 1 || m.Confirmed[0] != (handoff.Confirmed{ID: 7, Offset: offset}) {
			t.Errorf("instead of the confirmation of %d: %+v", offset, m)
		}
	}
}

// A drained worker stays until all its messages have been sent to the primary.
func TestDrainWaitsForTheOutbox(t *testing.T) {
	h := newManualLoop(t)
	ends := h.fill()
	packet, err := handoff.Encode(handoff.Message{Drain: &handoff.Drain{}})
	if err == nil {
		err = handoff.Send(h.primary, packet)
	}
	if err == nil {
		err = h.event(h.control, netpoll.ReadEvents, 0)
	}
	if err != nil || h.drain == nil {
		t.Fatalf("draining: %v, %v", h.drain != nil, err)
	}
	for id := uint64(1); id < ends; id++ {
		h.receiveNext()
	}
	err = h.event(h.control, netpoll.WriteEvents, 0)
	if !errors.Is(err, gnet.ErrEngineShutdown) {
		t.Errorf("all is told, and it goes on: %v", err)
	}
	if m := h.receiveNext(); m.Closed == nil || m.Closed.ID != ends {
		t.Errorf("the last word is %+v, not the end of %d", m, ends)
	}
}

// The poller reports once that messages of the primary have arrived. All of them are handled, one
// batch per turn.
func TestControlIsReadToItsEnd(t *testing.T) {
	h := newManualLoop(t)
	h.armed = false
	settings := h.settings
	for n := range 4*controlBatch + 1 {
		settings.InputRate = 1<<20 + n
		packet, err := handoff.Encode(handoff.Message{Settings: &settings})
		if err == nil {
			err = handoff.Send(h.primary, packet)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := h.event(h.control, netpoll.ReadEvents, 0); err != nil {
		t.Fatal(err)
	}
	for turns := 1; h.armed; turns++ {
		if got, most := h.settings.InputRate, 1<<20+turns*controlBatch; got > most {
			t.Fatalf("%d messages in %d turns", got-1<<20, turns)
		}
		if err := h.event(h.wake, netpoll.ReadEvents, 0); err != nil {
			t.Fatal(err)
		}
	}
	if h.settings.InputRate != settings.InputRate {
		t.Errorf("%d messages are left, and no turn follows", settings.InputRate-h.settings.InputRate)
	}
}
