package engine

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"distributor/engine/config"
)

// openAdmin opens the listener for whoever operates the distributor; nothing
// on it is meant for the public.
func (p *primary) openAdmin(cfg *config.Config) error {
	if cfg.AdminAddr == "" {
		return nil
	}
	var err error
	if p.admin, err = net.Listen("tcp", cfg.AdminAddr); err != nil {
		return fmt.Errorf("engine: listen (ADMIN_ADDR): %w", err)
	}
	if !loopback(p.admin.Addr()) {
		p.log.Warn("ADMIN_ADDR is reachable from beyond this machine; profiles tell a lot", "address", p.admin.Addr().String())
	}
	return nil
}

// serveAdmin answers /debug/pprof until ctx ends.
func (p *primary) serveAdmin(ctx context.Context) {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	p.log.Info("admin listener", "address", p.admin.Addr().String())
	if err := server.Serve(p.admin); ctx.Err() == nil {
		p.log.Error("admin listener failed", "error", err)
	}
}

func loopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
