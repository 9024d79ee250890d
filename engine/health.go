package engine

import (
	"errors"
	"time"

	"distributor/engine/problem"
)

// checks ask the parts for what an operator has to look at now.
func (p *primary) checks() []check {
	return []check{
		{"frame log", func(time.Time) []problem.Found { return p.frameLogHealth() }},
		{"progress", func(time.Time) []problem.Found { return p.progressHealth() }},
		{"workers", func(time.Time) []problem.Found { return p.workerHealth() }},
		{"databases", func(time.Time) []problem.Found { return p.databaseHealth() }},
		{"data logs", p.origin.health},
	}
}

func (p *primary) frameLogHealth() []problem.Found {
	dir := p.cfg.Load().StateDir
	if err := p.untaken.Load(); err != nil {
		return []problem.Found{problem.StateNotTakenBack.Found("frame log", *err, dir)}
	}
	if err := p.encoder.Blocked(); err != nil {
		return []problem.Found{problem.FrameLogBlocked.Found("frame log", err, dir)}
	}
	return nil
}

func (p *primary) progressHealth() []problem.Found {
	err := p.saver.trouble()
	if err == nil {
		return nil
	}
	dir := p.cfg.Load().StateDir
	return []problem.Found{problem.ProgressNotSaved.Found("progress", err, dir)}
}

func (p *primary) workerHealth() []problem.Found {
	s := p.workers.Snapshot()
	if s.Ready() > 0 || s.Backoff.Err == nil {
		return nil
	}
	return []problem.Found{problem.NoWorker.Found("workers", s.Backoff.Err, "")}
}

// databaseHealth concerns the HTTP API alone: distribution does not need the
// databases.
func (p *primary) databaseHealth() (found []problem.Found) {
	for _, one := range p.api.Health() {
		component, entry := "database "+one.Table, problem.DatabaseFailing
		if one.Table == "" {
			component, entry = "HTTP API", problem.NoQueryProcess
		}
		found = append(found, entry.Found(component, errors.New(one.Text), ""))
	}
	return found
}
