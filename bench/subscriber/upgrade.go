package subscriber

import (
	"bytes"
	"fmt"
	"net/netip"
	"net/url"
	"time"

	"golang.org/x/sys/unix"

	"distributor/wsproto/shardus"
)

// patience is how long a server may take to answer an upgrade request.
var patience = unix.Timeval{Sec: 10}

// dial connects one client and returns its socket, from which nothing beyond
// the 101 has been read.
func dial(t Target) (fd int, err error) {
	address, err := netip.ParseAddrPort(t.Address)
	if err != nil || !address.Addr().Is4() {
		return -1, fmt.Errorf("subscriber: address %q: %w", t.Address, err)
	}
	if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return -1, fmt.Errorf("subscriber: socket: %w", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: address.Addr().As4(), Port: int(address.Port())}); err != nil {
		return -1, fmt.Errorf("subscriber: connect: %w", err)
	}
	if !t.Bare {
		if err := upgrade(fd, t); err != nil {
			return -1, err
		}
		if err := greet(fd, t.Greeting); err != nil {
			return -1, err
		}
	}
	return fd, unix.SetNonblock(fd, true)
}

func upgrade(fd int, t Target) error {
	request, err := UpgradeRequest(t, time.Now())
	if err != nil {
		return err
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
		return fmt.Errorf("subscriber: upgrade: %w", err)
	}
	if n, err := unix.Write(fd, request); err != nil || n < len(request) {
		return fmt.Errorf("subscriber: upgrade: %d of %d bytes written: %w", n, len(request), err)
	}
	// Looked at before it is taken, so that what follows the answer is left where
	// it is.
	var answer [4096]byte
	for want := 1; ; want++ {
		n, err := recv(fd, answer[:], unix.MSG_PEEK)
		if err != nil || n == 0 {
			return fmt.Errorf("subscriber: upgrade: no answer: %w", err)
		}
		end := bytes.Index(answer[:n], []byte("\r\n\r\n"))
		if end < 0 {
			if n == len(answer) || want > 1000 {
				return fmt.Errorf("subscriber: upgrade: %.300q", answer[:n])
			}
			time.Sleep(time.Millisecond) // the rest of the answer is on its way
			continue
		}
		if _, err := recv(fd, answer[:end+4], 0); err != nil {
			return fmt.Errorf("subscriber: upgrade: %w", err)
		}
		if !bytes.HasPrefix(answer[:], []byte("HTTP/1.1 101 ")) {
			return fmt.Errorf("subscriber: upgrade refused: %.300q", answer[:n])
		}
		if t.Compress && !bytes.Contains(answer[:end], []byte("permessage-deflate")) {
			return fmt.Errorf("subscriber: compression was not negotiated: %.300q", answer[:end])
		}
		return nil
	}
}

// recv goes on after signals: where a time-out is set the kernel does not.
func recv(fd int, p []byte, flags int) (n int, err error) {
	for {
		if n, _, err = unix.Recvfrom(fd, p, flags); err != unix.EINTR {
			return n, err
		}
	}
}

// Greeting is the frame of a text of 125 bytes at most, masked with zeros.
func Greeting(text string) []byte {
	return append([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...)
}

// greet says the greeting, and takes the frame that answers it.
func greet(fd int, text string) error {
	if text == "" {
		return nil
	}
	frame := Greeting(text)
	if n, err := unix.Write(fd, frame); err != nil || n < len(frame) {
		return fmt.Errorf("subscriber: greeting: %d of %d bytes written: %w", n, len(frame), err)
	}
	read := func(p []byte) error {
		if n, err := recv(fd, p, unix.MSG_WAITALL); err != nil || n < len(p) {
			return fmt.Errorf("subscriber: greeting: no answer: %w", err)
		}
		return nil
	}
	var header [4]byte
	if err := read(header[:2]); err != nil {
		return err
	}
	size := int(header[1])
	if size == 126 {
		if err := read(header[2:]); err != nil {
			return err
		}
		size = int(header[2])<<8 | int(header[3])
	}
	return read(make([]byte, size))
}

// UpgradeRequest is that of a collector with a new key pair.
func UpgradeRequest(t Target, now time.Time) ([]byte, error) {
	if t.Unsigned {
		return fmt.Appendf(nil, upgradeText, "", t.Address, t.extensions()), nil
	}
	public, secret, err := shardus.GenerateKey()
	if err != nil {
		return nil, fmt.Errorf("subscriber: %w", err)
	}
	signed, err := shardus.NewSigner(secret, t.HashKey).AppendSigned(nil, shardus.ObjectValue(
		shardus.Member{Key: "collectorInfo", Value: shardus.ObjectValue(
			shardus.Member{Key: "subscriptionType", Value: shardus.TextValue("FIREHOSE")},
			shardus.Member{Key: "timestamp", Value: shardus.NumberValue(float64(now.UnixMilli()))},
		)},
		shardus.Member{Key: "sender", Value: shardus.TextValue(public.String())},
	))
	if err != nil {
		return nil, fmt.Errorf("subscriber: %w", err)
	}
	return fmt.Appendf(nil, upgradeText, "?data="+url.QueryEscape(string(signed))+"&from="+url.QueryEscape(t.From), t.Address, t.extensions()), nil
}

func (t Target) extensions() string {
	if !t.Compress {
		return ""
	}
	return "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n"
}

// upgradeText is a request with a query, for a host, and with further headers.
const upgradeText = "GET /%s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n"
