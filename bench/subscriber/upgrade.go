package subscriber

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"distributor/wsproto/collector"
	"distributor/wsproto/shardus"
)

// UpgradeRequest returns the request of a client: a collector's with a new key pair, or an unsigned
// one.
func UpgradeRequest(t Target, now time.Time) ([]byte, error) {
	uri := "/"
	if !t.Unsigned {
		_, keys, err := shardus.GenerateKey()
		if err != nil {
			return nil, fmt.Errorf("subscriber: %w", err)
		}
		signed, err := collector.RequestURL(collector.Options{
			URL: "http://" + t.Address + "/?from=" + url.QueryEscape(t.From), Keys: keys, HashKey: t.HashKey,
		}, now)
		if err != nil {
			return nil, fmt.Errorf("subscriber: %w", err)
		}
		uri = strings.TrimPrefix(signed, "ws://"+t.Address)
	}
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\n"+
		"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", uri, t.Address), nil
}
