package engine

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"distributor/engine/config"
	"distributor/engine/deflate"
	"distributor/engine/gateway"
	"distributor/engine/handoff"
	"distributor/engine/query"
	"distributor/engine/supervisor"
	"distributor/mmaplog/framelog"
	"distributor/wsproto/shardus"
)

// What each part is told of the configuration.

func frameLogDir(cfg *config.Config) string { return filepath.Join(cfg.StateDir, "frames") }

// compression is what the twin of the frame log may take: an eighth of what the
// frame log has, which holds about a third of the same records, on disk, and a
// backlog that lasts some tens of milliseconds.
func (p *primary) compression(cfg *config.Config) deflate.Options {
	segment := min(cfg.FrameLogSegmentBytes, twinSegment)
	return deflate.Options{
		Dir: filepath.Join(cfg.StateDir, "deflate"), Frames: frameLogDir(cfg), Level: cfg.CompressionLevel,
		SegmentBytes: segment, RetainBytes: max(segment, cfg.FrameLogBytes/8), Backlog: min(twinBacklog, cfg.FrameLogBytes/2),
		Announce: p.workers.SetTwin, Grown: p.readers.Listen(), Readers: p.twin,
		Blocked: func() error { return p.encoder.Blocked() }, Log: p.log,
	}
}

const (
	twinSegment = 16 << 20
	twinBacklog = 8 << 20
)

func limits(cfg *config.Config) supervisor.Limits {
	return supervisor.Limits{
		Warm: cfg.NumberOfWorkers, Max: cfg.MaxWorkers, MaxClients: cfg.MaxClientsPerChild,
		Settings: handoff.Settings{
			FrameLog: frameLogDir(cfg), Notices: cfg.StateDir,
			PingIntervalMS: cfg.PingInterval.Milliseconds(), PingTimeoutMS: cfg.PingTimeout.Milliseconds(),
			InputBytes: cfg.ClientInputBytes, InputRate: cfg.ClientInputRate,
			SlowLag: uint64(cfg.SlowLagBytes), SlowRate: uint64(cfg.SlowRate), SlowWindowMS: cfg.SlowWindow.Milliseconds(),
			LingerMS: cfg.Linger.Milliseconds(), LogLevel: cfg.Level().String(),
		},
	}
}

// Descriptors returns how many descriptors clients of the primary may make it need, with that limit
// of them: their connections, and those to the query process.
func Descriptors(cfg *config.Config, limit uint64) int {
	connections := gateway.Descriptors(gateway.Settings{MaxConnections: cfg.MaxHTTPConnections, UpgradeRateLimit: cfg.UpgradeRateLimit})
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

func (p *primary) access(cfg *config.Config) (gateway.Settings, error) {
	s := gateway.Settings{LimitToSubscribersOnly: cfg.LimitToSubscribersOnly, HandshakeWindow: cfg.HandshakeWindow, HashKey: p.hashKey,
		RateLimit: cfg.RateLimit, UpgradeRateLimit: cfg.UpgradeRateLimit, MaxConnections: cfg.MaxHTTPConnections, Deflate: cfg.CompressionLevel > 0}
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
		return query.Databases{Cycles: one, Accounts: one, Transactions: one, Receipts: one, OriginalTxs: one}
	}
	in := func(name string) string { return filepath.Join(cfg.ArchiverDBDir, name) }
	d := cfg.ArchiverData
	return query.Databases{
		Cycles: in(d.CycleDB), Accounts: in(d.AccountDB), Transactions: in(d.TransactionDB), Receipts: in(d.ReceiptDB), OriginalTxs: in(d.OriginalTxDataDB),
	}
}

func (p *primary) querySettings(cfg *config.Config) query.Settings {
	s := query.Settings{
		IP: cfg.DistributorIP, Port: cfg.DistributorPort, PublicKey: cfg.PublicKey,
		LimitToSubscribersOnly: cfg.LimitToSubscribersOnly, HideSubscribers: cfg.HideSubscribers, StopAtCycle: cfg.StopAtCycle,
		RequestTime: cfg.APITimeout, Memory: cfg.APIMemory,
	}
	if listening, ok := p.listener.Addr().(*net.TCPAddr); ok {
		s.Port = listening.Port // where 0 was asked for
	}
	for _, sub := range cfg.Subscribers {
		s.Subscribers = append(s.Subscribers, query.Subscriber{
			PublicKey: sub.PublicKey, ExpirationTimestamp: sub.ExpirationTimestamp, SubscriptionType: sub.SubscriptionType,
		})
	}
	return s
}

// reload reads the configuration again and applies what can be applied. A
// configuration that is wrong in any way changes nothing.
func (p *primary) reload(sig os.Signal) {
	p.applying.Lock()
	defer p.applying.Unlock()
	log := p.log.With("signal", sig.String())
	next, warnings, err := config.Load(p.o.Source)
	for _, w := range warnings {
		log.Warn("configuration", "key", w.Key, "warning", w.Text)
	}
	old := p.cfg.Load()
	if err == nil && next.File == "" && old.File != "" {
		err = fmt.Errorf("engine: %s is no longer there", old.File)
	}
	var access gateway.Settings
	if err == nil {
		access, err = p.access(old.Reloaded(next))
	}
	if err == nil {
		err = p.workers.Configure(limits(old.Reloaded(next)))
	}
	if err != nil {
		log.Error("configuration not reloaded, nothing was changed", "error", err)
		return
	}
	cfg := old.Reloaded(next)
	p.cfg.Store(cfg)
	p.o.Level.Set(cfg.Level())
	p.gateway.Reload(access)
	p.workers.SetExpiry(p.gateway.Expiry) // before all that could take time: it closes clients that are no subscribers now
	p.collectors.SetWindow(cfg.ResumeWindow)
	p.deflate.SetLevel(cfg.CompressionLevel)
	if err := p.api.Reload(p.querySettings(cfg), cfg.Level()); err != nil {
		panic("engine: " + err.Error()) // access has read the same keys
	}

	applied, refused := config.Diff(old, next)
	for _, c := range applied {
		log.Info("configuration changed", "change", c.String())
	}
	for _, c := range refused {
		log.Warn("configuration change needs a restart", "change", c.String())
	}
	log.Info("configuration reloaded", "applied", len(applied), "refused", len(refused))
}

// index is the frame log as the gateway sees it. A framelog.Reader is for one
// goroutine at a time.
type index struct {
	mu     sync.Mutex
	reader *framelog.Reader
}

func (i *index) ID() [16]byte  { return i.reader.ID() }
func (i *index) Head() uint64  { return i.reader.Head() }
func (i *index) Floor() uint64 { return i.reader.Floor() }

// Ancestor tells up to where an offset means the same under an earlier ID of the frame log.
func (i *index) Ancestor(id [16]byte) (end uint64, ok bool) {
	for _, a := range i.reader.Ancestors() {
		if a.ID == id {
			return a.End, true
		}
	}
	return 0, false
}

// translate gives the place in the frame log for an offset under another of its IDs, as text: everything behind that
// place is what came later, or comes again. Of an ID that is not known it is all that there is.
func (i *index) translate(log string, offset uint64) uint64 {
	for _, a := range i.reader.Ancestors() {
		if a.ID.String() == log {
			return min(offset, a.End)
		}
	}
	return i.Floor()
}

func (i *index) FrameEnd(offset uint64) (uint64, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.reader.FrameEnd(offset)
}

// release lets go of segments that were removed, and the disk they take.
func (i *index) release() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if head := i.reader.Head(); head > 0 {
		_, _ = i.reader.Frames(head-1, 1)
	}
}
