package admin

import (
	"net/http"
	"time"
)

const (
	// maxViewers is how many viewers may watch /events at a time.
	maxViewers = 256
	// writeWithin is how long a viewer may take to read an event.
	writeWithin = 5 * time.Second
	// heartbeat is how long the stream may be silent before the viewer gets a comment as a sign of
	// life. It is longer than the second between two events.
	heartbeat = 5 * time.Second
	// comeBack tells a browser after how many milliseconds to reconnect.
	comeBack = "retry: 2000\n\n"
)

// events pushes the status to a viewer: at once, and whenever it changes. A slow viewer gets the
// newest status next; the ones in between are not kept.
func (a *admin) events(w http.ResponseWriter, r *http.Request) {
	defer a.viewers.Add(-1)
	if a.viewers.Add(1) > maxViewers {
		w.Header().Set("Retry-After", "10")
		http.Error(w, "too many viewers", http.StatusServiceUnavailable)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // stops nginx from buffering
	if r.Method == http.MethodHead {
		return
	}
	control := http.NewResponseController(w)
	send := func(parts ...[]byte) bool {
		if control.SetWriteDeadline(time.Now().Add(a.within)) != nil {
			return false
		}
		for _, part := range parts {
			if _, err := w.Write(part); err != nil {
				return false
			}
		}
		return control.Flush() == nil
	}
	if !send([]byte(comeBack)) {
		return
	}
	for {
		text, over := a.Board.Watch()
		if !send([]byte("event: status\ndata: "), text, []byte("\n\n")) {
			return
		}
		for waiting := true; waiting; {
			select {
			case <-r.Context().Done():
				return
			case <-over:
				waiting = false
			case <-time.After(heartbeat):
				if !send([]byte(": still here\n\n")) {
					return
				}
			}
		}
	}
}
