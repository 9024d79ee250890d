package engine

import (
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"distributor/engine/config"
	"distributor/engine/deflate"
	"distributor/engine/encoder"
	"distributor/engine/gateway"
	"distributor/engine/handover"
	"distributor/engine/query"
	"distributor/engine/resume"
	"distributor/engine/status"
	"distributor/engine/supervisor"
	"distributor/engine/systemd"
	"distributor/mmaplog/bell"
	"distributor/mmaplog/datalog"
	"distributor/wsproto/shardus"
)

// Options are what a primary is started with.
type Options struct {
	Source config.Source // read again for a reload
	Config *config.Config
	Worker []string // command line of a worker process
	Query  []string // command line of the query process
	Log    *slog.Logger
	Level  *slog.LevelVar // follows the configuration
	// Version is shown to whoever operates the distributor.
	Version string
	// Binary is the command line that started this process. Each value from Handover asks for a new
	// process of it to take over.
	Binary   []string
	Handover <-chan os.Signal
}

// primary has the parts that open makes; the parts do not know it. After open its fields do not
// change, except the atomic ones, hangs, stopReading and stopCompressing.
type primary struct {
	o       Options
	log     *slog.Logger
	started time.Time
	cfg     atomic.Pointer[config.Config]

	hashKey     shardus.HashKey
	signer      *shardus.Signer
	ports       ports
	predecessor *handover.Predecessor // nil: no process has handed over to this one
	relay       *handover.Relay
	origin      origin
	logs        atomic.Pointer[logs]
	readers     *bell.Set // of the frame log
	compressed  *bell.Set // readers of the compressed log
	index       *index
	encoder     *encoder.Encoder
	deflate     *deflate.Compressor
	collectors  *resume.Store
	saver       *saver
	workers     *supervisor.Supervisor
	api         *query.Front
	counts      *recordCounts
	gateway     *gateway.Gateway
	hangs       bool                  // STATE_DIR does not answer while we stop
	untaken     atomic.Pointer[error] // why the state cannot be taken back at present
	health      *healthWatch

	// of serve, or of a handover while that is under way
	stopReading, stopCompressing func()

	events  *status.Events // of the log
	board   *status.Board
	metrics http.Handler

	applying sync.Mutex // held while settings are changed
}

func newPrimary(o Options) *primary {
	events := status.NewEvents()
	p := &primary{
		o: o, log: slog.New(events.Handler(o.Log.Handler())), events: events, started: time.Now(),
		readers: bell.NewSet(), compressed: bell.NewSet(),
	}
	p.cfg.Store(o.Config)
	p.origin = dataLogs{cfg: p.cfg.Load, stats: p.sourceStats, started: p.started, log: p.log}
	return p
}

// sourceStats returns what a stream's source has delivered, and what keeps it from going on.
func (p *primary) sourceStats(s datalog.Stream) datalog.Stats {
	return p.logs.Load().sources[s].Stats()
}

// notify tells the service manager the state of the service.
func (p *primary) notify(state ...string) {
	if err := systemd.Notify(state...); err != nil {
		p.log.Warn("sd_notify failed", "state", strings.Join(state, " "), "error", err)
	}
}
