package engine

import (
	"fmt"
	"log/slog"
	"os"

	"distributor/engine/config"
	"distributor/engine/gateway"
)

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
		access, err = gatewaySettings(old.Reloaded(next), p.hashKey)
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
	// Before all that could take time: it closes clients that are no subscribers now.
	p.workers.SetExpiry(p.gateway.Expiry)
	p.collectors.SetWindow(cfg.ResumeWindow)
	p.deflate.SetLevel(cfg.CompressionLevel)
	if err := p.api.Reload(querySettings(cfg, p.ports.at()), cfg.Level()); err != nil {
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

// setLevel changes the level of the log, in workers too, until the next reload.
func (p *primary) setLevel(level slog.Level) error {
	p.applying.Lock()
	defer p.applying.Unlock()
	l := limits(p.cfg.Load())
	l.Settings.LogLevel = level.String()
	if err := p.workers.Configure(l); err != nil {
		return err
	}
	p.api.SetLevel(level)
	p.o.Level.Set(level)
	p.log.Info("log level set until the next reload", "level", level.String())
	return nil
}
