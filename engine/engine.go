package engine

import (
	"context"
	"os"
)

// Run is the primary's life. It returns nil when ctx has ended and everything
// was stopped, or when a new process has taken over; an error when something
// could not start or failed for good.
// Each value from reload asks for the configuration to be read again.
func Run(ctx context.Context, o Options, reload <-chan os.Signal) error {
	p := newPrimary(o)
	defer p.close()
	if err := p.open(ctx); err != nil {
		if p.workers != nil {
			p.stopWorkers(p.cfg.Load().Drain) // those of a new process have been started
		}
		return err
	}
	return p.serve(ctx, reload)
}
