package engine

import (
	"errors"
	"fmt"
	"io"
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
	var found []gateway.Problem
	for _, problem := range p.api.Health() {
		found = append(found, gateway.Problem{
			Component: problem.Component, Problem: problem.Text,
			Remedy: "check ARCHIVER_DB_DIR, ARCHIVER_DATA or ARCHIVER_DB_PATH and permissions; the other endpoints answer, and the database is tried again every second",
		})
	}
	return found
}

// troubleGrace is how long a follower may have trouble before it is a problem: a rotation, or a log
// that is being copied, is over by then.
const troubleGrace = 2 * time.Second

// dataLogHealth reports a directory, and a log or an active file of a stream, that keeps reading
// from going on. Silence is a problem only when it concerns all streams and lasts, since cycles
// come every minute or so and the other streams with the traffic.
func (p *primary) dataLogHealth(now time.Time) []gateway.Problem {
	cfg := p.cfg.Load()
	if err := readable(cfg.DataLogDir); err != nil {
		return []gateway.Problem{{
			Component: "data logs", Problem: err.Error(), Remedy: dataLogRemedy(err, "DATA_LOG_DIR ("+cfg.DataLogDir+")"),
		}}
	}
	var found []gateway.Problem
	newest := p.started
	for _, f := range p.logs.Load().followers {
		s := f.Stats()
		if t := s.Trouble; t.Err != nil && now.Sub(t.Since) >= troubleGrace {
			found = append(found, gateway.Problem{
				Component: "data logs: " + s.Stream.String(), Problem: t.Err.Error(), Remedy: dataLogRemedy(t.Err, t.Path),
			})
		}
		if t := s.LastGrowth; t.After(newest) {
			newest = t
		}
	}
	if silent := now.Sub(newest); len(found) == 0 && cfg.DataLogStale > 0 && silent >= cfg.DataLogStale {
		return []gateway.Problem{{
			Component: "data logs", Problem: fmt.Sprintf("no stream in %s has grown for %s", cfg.DataLogDir, silent.Round(time.Second)),
			Remedy: "see whether the archiver runs and writes there (DATA_LOG_STALE_MS sets how long silence is normal)",
		}}
	}
	return found
}

// readable reports why a directory cannot be read. It reads no more than one name: there may be
// many.
func readable(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err = f.Readdirnames(1); errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// dataLogRemedy is what helps against an error of reading the data logs.
func dataLogRemedy(err error, path string) string {
	remedy := "see whether the archiver runs and writes to " + path
	switch {
	case errors.Is(err, fs.ErrPermission):
		remedy = "let the distributor's user read " + path + ", and enter the directories above"
	case errors.Is(err, syscall.EIO):
		remedy = "look at the disk of " + path + ": the kernel's log has its errors"
	case errors.Is(err, syscall.ESTALE), errors.Is(err, syscall.ENOTCONN):
		remedy = "mount the file system of " + path + " anew"
	case errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.ENOTDIR):
		remedy = "see where " + path + " leads: a link in it makes a circle, or a file stands where a directory is expected"
	}
	return remedy + "; it is tried again every FILE_STREAM_INTERVAL_MS"
}
