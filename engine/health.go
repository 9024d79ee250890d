package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"distributor/engine/gateway"
)

// health lists what an operator has to look at now; nothing when all is well.
// It answers /is-healthy.
func (p *primary) health() []gateway.Problem {
	var found []gateway.Problem
	if err := p.encoder.Blocked(); err != nil {
		found = append(found, gateway.Problem{
			Component: "frame log", Problem: err.Error(), Remedy: stateRemedy(err, p.cfg.Load().StateDir) + "; distribution goes on by itself",
		})
	}
	if err := p.untaken.Load(); err != nil {
		found = append(found, gateway.Problem{
			Component: "frame log", Problem: "no records are read since a handover failed: " + (*err).Error(),
			Remedy: stateRemedy(*err, p.cfg.Load().StateDir) + "; it is tried again four times a second",
		})
	}
	if err := p.unsaved.Load(); err != nil {
		found = append(found, gateway.Problem{
			Component: "progress", Problem: (*err).Error(),
			Remedy: stateRemedy(*err, p.cfg.Load().StateDir) + "; it is tried again every two seconds. Collectors get everything; if the distributor were killed now, those that come back would get more of it again",
		})
	}
	if s := p.workers.Snapshot(); s.Ready() == 0 && s.Backoff.Err != nil {
		found = append(found, gateway.Problem{
			Component: "workers", Problem: "no worker can start: " + s.Backoff.Err.Error(),
			Remedy: "see the log for the workers' last words; starting is tried again with growing pauses",
		})
	}
	found = append(found, p.databaseHealth()...)
	return append(found, p.dataLogHealth(time.Now())...)
}

// stateRemedy is what helps against an error of the file system of STATE_DIR.
func stateRemedy(err error, dir string) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "make room on the file system of STATE_DIR (" + dir + ")"
	case errors.Is(err, syscall.EROFS):
		return "mount the file system of STATE_DIR (" + dir + ") for writing; if it was mounted so, the kernel's log says why it is read-only now"
	case errors.Is(err, fs.ErrPermission):
		return "let the distributor's user write to STATE_DIR (" + dir + ") and what is in it"
	case errors.Is(err, syscall.EIO):
		return "look at the disk of STATE_DIR (" + dir + "): the kernel's log has its errors"
	}
	return "see to it that STATE_DIR (" + dir + ") can be written"
}

// databaseHealth concerns the HTTP API alone: distribution does not need the
// databases.
func (p *primary) databaseHealth() []gateway.Problem {
	ctx, cancel := context.WithTimeout(context.Background(), databaseLook)
	defer cancel()
	var found []gateway.Problem
	for _, problem := range p.api.Health(ctx) {
		found = append(found, gateway.Problem{
			Component: problem.Component, Problem: problem.Text,
			Remedy: "check ARCHIVER_DB_DIR, ARCHIVER_DATA or ARCHIVER_DB_PATH and permissions; the other endpoints answer, and the database is tried again every second",
		})
	}
	return found
}

// databaseLook is how long the databases may take to say that they are there.
const databaseLook = 3 * time.Second

// dataLogHealth: a directory that cannot be read is a problem at once; silence
// only when it concerns all streams and lasts, since cycles come every minute
// or so and the other streams with the traffic.
func (p *primary) dataLogHealth(now time.Time) []gateway.Problem {
	cfg := p.cfg.Load()
	if _, err := os.ReadDir(cfg.DataLogDir); err != nil {
		return []gateway.Problem{{
			Component: "data logs", Problem: err.Error(),
			Remedy: "check DATA_LOG_DIR and its permissions; it is tried again every FILE_STREAM_INTERVAL_MS",
		}}
	}
	newest := p.started
	for _, f := range p.logs.Load().followers {
		if t := f.Stats().LastGrowth; t.After(newest) {
			newest = t
		}
	}
	if silent := now.Sub(newest); cfg.DataLogStale > 0 && silent >= cfg.DataLogStale {
		return []gateway.Problem{{
			Component: "data logs", Problem: fmt.Sprintf("no stream in %s has grown for %s", cfg.DataLogDir, silent.Round(time.Second)),
			Remedy: "see whether the archiver runs and writes there (DATA_LOG_STALE_MS sets how long silence is normal)",
		}}
	}
	return nil
}
