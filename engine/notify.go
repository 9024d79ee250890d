package engine

import (
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// notifyWithin is how long the service manager may take to receive a message: its queue is full
// when it hangs.
const notifyWithin = time.Second

// notify tells systemd, or whoever else has set NOTIFY_SOCKET, how we are
// (sd_notify(3)). Which process is the main one is what it has to know after an
// upgrade: else it would take the old one's end for the end of the service.
func notify(state ...string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("engine: NOTIFY_SOCKET: %w", err)
	}
	defer conn.Close()
	_ = conn.SetWriteDeadline(time.Now().Add(notifyWithin)) // fails only on a socket that is closed
	if _, err := conn.Write([]byte(strings.Join(state, "\n"))); err != nil {
		return fmt.Errorf("engine: NOTIFY_SOCKET: %w", err)
	}
	return nil
}

// tell is notify for what nobody waits for.
func (p *primary) tell(state ...string) {
	if err := notify(state...); err != nil {
		p.log.Warn("the service manager is not told how we are", "state", strings.Join(state, " "), "error", err)
	}
}
