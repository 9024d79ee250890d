package engine

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"distributor/engine/config"
	"distributor/engine/deflate"
	"distributor/engine/gateway"
	"distributor/engine/handoff"
	"distributor/engine/query"
	"distributor/engine/supervisor"
	"distributor/wsproto/shardus"
)

// What each part is told of the configuration.

// ErrConfig is for settings that cannot be used as they are: the next start would end the same way.
var ErrConfig = errors.New("the configuration cannot be used")

func frameLogDir(cfg *config.Config) string { return filepath.Join(cfg.StateDir, "frames") }

// compression is what the compressed log may take: an eighth of what the
// frame log has, which holds about a third of the same records, on disk, and a
// backlog that lasts some tens of milliseconds.
func compression(cfg *config.Config) deflate.Options {
	segment := min(cfg.FrameLogSegmentBytes, compressedSegment)
	return deflate.Options{
		Dir: filepath.Join(cfg.StateDir, "deflate"), Frames: frameLogDir(cfg),
		Level: cfg.CompressionLevel, SegmentBytes: segment,
		RetainBytes: max(segment, cfg.FrameLogBytes/8),
		Backlog:     min(compressedBacklog, cfg.FrameLogBytes/2),
	}
}

const (
	compressedSegment = 16 << 20
	compressedBacklog = 8 << 20
)

func limits(cfg *config.Config) supervisor.Limits {
	return supervisor.Limits{
		Warm: cfg.NumberOfWorkers, Max: cfg.MaxWorkers, MaxClients: cfg.MaxClientsPerChild,
		Settings: handoff.Settings{
			FrameLog: frameLogDir(cfg), Notices: cfg.StateDir,
			PingIntervalMS: cfg.PingInterval.Milliseconds(), PingTimeoutMS: cfg.PingTimeout.Milliseconds(),
			InputBytes: cfg.ClientInputBytes, InputRate: cfg.ClientInputRate,
			SlowLag: uint64(cfg.SlowLagBytes), SlowRate: uint64(cfg.SlowRate),
			SlowWindowMS: cfg.SlowWindow.Milliseconds(),
			LingerMS:     cfg.Linger.Milliseconds(), LogLevel: cfg.Level().String(),
		},
	}
}

// Descriptors returns how many descriptors clients of the primary may make it need, with that limit
// of them: their connections, and those to the query process.
func Descriptors(cfg *config.Config, limit uint64) int {
	connections := gateway.Descriptors(gateway.Settings{
		MaxConnections: cfg.MaxHTTPConnections, UpgradeRateLimit: cfg.UpgradeRateLimit,
	})
	return connections + query.Descriptors(limit)
}

func descriptorLimit() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return limit.Cur
}

// childEnvironment is what our other processes get of the primary's environment:
// what the Go runtime looks at, and nothing that could be a secret.
func childEnvironment(all []string) []string {
	var env []string
	for _, v := range all {
		switch name, _, _ := strings.Cut(v, "="); name {
		case "GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "GOTRACEBACK", "TZ":
			env = append(env, v)
		}
	}
	return env
}

func gatewaySettings(cfg *config.Config, hashKey shardus.HashKey) (gateway.Settings, error) {
	s := gateway.Settings{
		LimitToSubscribersOnly: cfg.LimitToSubscribersOnly, HandshakeWindow: cfg.HandshakeWindow,
		HashKey: hashKey, RateLimit: cfg.RateLimit, UpgradeRateLimit: cfg.UpgradeRateLimit,
		MaxConnections: cfg.MaxHTTPConnections, Deflate: cfg.CompressionLevel > 0,
	}
	for i, sub := range cfg.Subscribers {
		key, err := shardus.ParsePublicKey(sub.PublicKey)
		if err != nil {
			return gateway.Settings{}, fmt.Errorf("engine: subscribers[%d].publicKey: %w", i, err)
		}
		out := gateway.Subscriber{Key: key, Type: sub.SubscriptionType}
		if sub.ExpirationTimestamp != 0 {
			out.Expires = time.UnixMilli(sub.ExpirationTimestamp)
		}
		s.Subscribers = append(s.Subscribers, out)
	}
	return s, nil
}

func databases(cfg *config.Config) query.Databases {
	if one := cfg.ArchiverDBPath; one != "" {
		return query.Databases{
			Cycles: one, Accounts: one, Transactions: one, Receipts: one, OriginalTxs: one,
		}
	}
	in := func(name string) string { return filepath.Join(cfg.ArchiverDBDir, name) }
	d := cfg.ArchiverData
	return query.Databases{
		Cycles: in(d.CycleDB), Accounts: in(d.AccountDB), Transactions: in(d.TransactionDB),
		Receipts: in(d.ReceiptDB), OriginalTxs: in(d.OriginalTxDataDB),
	}
}

// querySettings is what the HTTP API is told, which is reached at an address.
func querySettings(cfg *config.Config, at net.Addr) query.Settings {
	s := query.Settings{
		IP: cfg.DistributorIP, Port: cfg.DistributorPort, PublicKey: cfg.PublicKey,
		LimitToSubscribersOnly: cfg.LimitToSubscribersOnly, HideSubscribers: cfg.HideSubscribers,
		StopAtCycle: cfg.StopAtCycle, RequestTime: cfg.APITimeout, Memory: cfg.APIMemory,
	}
	if listening, ok := at.(*net.TCPAddr); ok {
		s.Port = listening.Port // where 0 was asked for
	}
	for _, sub := range cfg.Subscribers {
		s.Subscribers = append(s.Subscribers, query.Subscriber{
			PublicKey: sub.PublicKey, ExpirationTimestamp: sub.ExpirationTimestamp,
			SubscriptionType: sub.SubscriptionType,
		})
	}
	return s
}

// keys turns the configured keys into usable ones. Package config has checked most of them.
func keys(cfg *config.Config) (hashKey shardus.HashKey, signer *shardus.Signer, err error) {
	if hashKey, err = shardus.ParseHashKey(cfg.HashKey); err != nil {
		return hashKey, nil, fmt.Errorf("engine: DISTRIBUTOR_HASH_KEY: %w", err)
	}
	secret, err := shardus.ParseSecretKey(string(cfg.SecretKey))
	if err != nil {
		return hashKey, nil, fmt.Errorf("engine: DISTRIBUTOR_SECRET_KEY: %w", err)
	}
	public, err := shardus.ParsePublicKey(cfg.PublicKey)
	if err != nil {
		return hashKey, nil, fmt.Errorf("engine: DISTRIBUTOR_PUBLIC_KEY: %w", err)
	}
	signer = shardus.NewSigner(secret, hashKey)
	if signer.PublicKey() != public {
		return hashKey, nil, fmt.Errorf("engine: DISTRIBUTOR_SECRET_KEY is the key of %s, not of "+
			"DISTRIBUTOR_PUBLIC_KEY %s: set both from one `distributor keygen`",
			signer.PublicKey(), public)
	}
	return hashKey, signer, nil
}
