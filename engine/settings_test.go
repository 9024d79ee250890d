package engine

import (
	"strings"
	"testing"
	"time"

	"distributor/engine/config"
	"distributor/wsproto/shardus"
)

// What the gateway is told is what the configuration says.
func TestAccess(t *testing.T) {
	cfg := config.Default()
	cfg.RateLimit, cfg.LimitToSubscribersOnly, cfg.HandshakeWindow = 77, true, time.Minute
	cfg.UpgradeRateLimit, cfg.MaxHTTPConnections = 78, 79
	cfg.Subscribers = []config.Subscriber{{PublicKey: strings.Repeat("ab", 32), ExpirationTimestamp: 1500, SubscriptionType: config.Firehose}, {PublicKey: strings.Repeat("AC", 32)}}
	got, err := gatewaySettings(cfg, shardus.HashKey{})
	if err != nil || got.RateLimit != 77 || got.UpgradeRateLimit != 78 || got.MaxConnections != 79 || !got.LimitToSubscribersOnly || got.HandshakeWindow != time.Minute || len(got.Subscribers) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	if s := got.Subscribers[0]; s.Key.String() != cfg.Subscribers[0].PublicKey || s.Type != config.Firehose || !s.Expires.Equal(time.UnixMilli(1500)) {
		t.Errorf("%+v", s)
	}
	if s := got.Subscribers[1]; !s.Expires.IsZero() {
		t.Errorf("%+v", s)
	}
	cfg.Subscribers[1].PublicKey = "x"
	if _, err := gatewaySettings(cfg, shardus.HashKey{}); err == nil || !strings.Contains(err.Error(), "subscribers[1].publicKey") {
		t.Error(err)
	}
}

// Workers are told in milliseconds.
func TestLimits(t *testing.T) {
	cfg := config.Default()
	if s := limits(cfg).Settings; s.LingerMS != 0 {
		t.Errorf("without being asked, %+v", s)
	}
	cfg.Linger, cfg.SlowWindow, cfg.PingTimeout = 50*time.Millisecond, 3*time.Second, 4*time.Second
	if s := limits(cfg).Settings; s.LingerMS != 50 || s.SlowWindowMS != 3000 || s.PingTimeoutMS != 4000 {
		t.Errorf("%+v", s)
	}
}

// What clients can make the primary need: connections that are open, wait, or were turned away, the
// spare descriptors, and what the query process takes.
func TestDescriptors(t *testing.T) {
	cfg := config.Default()
	cfg.MaxHTTPConnections, cfg.UpgradeRateLimit = 100, 10
	for limit, query := range map[uint64]int{1 << 20: 266, 800: 110} {
		if got, want := Descriptors(cfg, limit), 100+20*10+1024+64+query; got != want {
			t.Errorf("of %d: %d, want %d", limit, got, want)
		}
	}
}
