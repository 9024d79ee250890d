// Package systemd talks to the service manager: it takes the listener of a socket unit, and reports
// the state of the service. Without a service manager it does nothing.
package systemd

import (
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// notifyWithin is how long the service manager may take to receive a message. If it hangs, its
// queue is full.
const notifyWithin = time.Second

// Notify reports the state of the service to the service manager that has set NOTIFY_SOCKET
// (sd_notify(3)). After a handover the state must say which process is the main one, because
// otherwise systemd takes the end of the old process for the end of the service.
func Notify(state ...string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("systemd: NOTIFY_SOCKET: %w", err)
	}
	defer conn.Close()
	_ = conn.SetWriteDeadline(time.Now().Add(notifyWithin)) // fails only on a socket that is closed
	if _, err := conn.Write([]byte(strings.Join(state, "\n"))); err != nil {
		return fmt.Errorf("systemd: NOTIFY_SOCKET: %w", err)
	}
	return nil
}
