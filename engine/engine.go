package engine

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
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
	"distributor/mmaplog/bell"
	"distributor/mmaplog/datalog"
	"distributor/wsproto/shardus"
)

// ErrConfig is for settings that cannot be used as they are: the next start would end the same way.
var ErrConfig = errors.New("the configuration cannot be used")

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

// Run is the primary's life. It returns nil when ctx has ended and everything
// was stopped, or when a new process has taken over; an error when something
// could not start or failed for good.
// Each value from reload asks for the configuration to be read again.
func Run(ctx context.Context, o Options, reload <-chan os.Signal) error {
	events := status.NewEvents()
	p := &primary{
		o: o, log: slog.New(events.Handler(o.Log.Handler())), started: time.Now(),
		checkpointSaved: saved{file: checkpointFile},
		positionsSaved:  saved{file: "collectors.json"},
	}
	p.events = events
	p.origin, p.readers, p.compressed = dataLogs{p}, bell.NewSet(), bell.NewSet()
	p.relay = handover.NewRelay(collectors{p})
	p.cfg.Store(o.Config)
	defer p.close()
	if err := p.open(ctx); err != nil {
		if p.workers != nil {
			p.stopWorkers(p.cfg.Load().Drain) // those of a new process have been started
		}
		return err
	}
	return p.serve(ctx, reload)
}

// primary is what open has made. Its fields do not change after that, but the
// atomic ones and reading.
type primary struct {
	o       Options
	log     *slog.Logger
	started time.Time
	cfg     atomic.Pointer[config.Config]

	hashKey     shardus.HashKey
	signer      *shardus.Signer
	listener    *handover.Listener
	activated   bool                  // the service manager has opened the listener, and keeps it
	predecessor *handover.Predecessor // nil: no process has handed over to this one
	relay       *handover.Relay
	origin      origin
	logs        atomic.Pointer[logs]
	reading     reading   // of serve, or of a handover while that is under way
	readers     *bell.Set // of the frame log
	compressed  *bell.Set // readers of the compressed log
	index       *index
	encoder     *encoder.Encoder
	deflate     *deflate.Compressor
	collectors  *resume.Store
	workers     *supervisor.Supervisor
	api         *query.Front
	gateway     *gateway.Gateway
	hangs       bool                  // STATE_DIR does not answer while we stop
	untaken     atomic.Pointer[error] // why the state cannot be taken back at present
	health      *healthWatch

	events  *status.Events // of the log
	board   *status.Board
	metrics http.Handler
	admin   net.Listener // nil: off
	// stored is how many rows the archiver's tables had when this process began
	// to read, by stream; 0 until they are counted.
	stored datalog.PerStream[atomic.Int64]

	checkpointSaved, positionsSaved saved

	applying sync.Mutex // held while settings are changed
	saving   sync.Mutex // held while the checkpoint is written
}
