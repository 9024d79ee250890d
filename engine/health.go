package engine

import (
	"errors"
	"io/fs"
	"syscall"
	"time"
)

// problem is something that an operator has to look at now.
type problem struct {
	component string // names the problem: a component has one at a time
	details   words  // for the operator: the admin listener, the log
	public    words  // the same for everybody: no paths, no addresses
	kind      string // the check that has found it
}

type words struct{ problem, remedy string }

// checks ask the parts for what an operator has to look at now.
func (p *primary) checks() []check {
	return []check{
		{"frame log", func(time.Time) []problem { return p.frameLogHealth() }},
		{"progress", func(time.Time) []problem { return p.progressHealth() }},
		{"workers", func(time.Time) []problem { return p.workerHealth() }},
		{"databases", func(time.Time) []problem { return p.databaseHealth() }},
		{"data logs", p.origin.health},
	}
}

func (p *primary) frameLogHealth() []problem {
	if err := p.untaken.Load(); err != nil {
		return []problem{p.stateProblem("frame log", "no records are read since a handover failed",
			"; it is tried again four times a second", *err)}
	}
	if err := p.encoder.Blocked(); err != nil {
		return []problem{p.stateProblem("frame log", "the frame log takes no frames",
			"; distribution goes on by itself", err)}
	}
	return nil
}

func (p *primary) progressHealth() []problem {
	err := p.saver.trouble()
	if err == nil {
		return nil
	}
	return []problem{p.stateProblem("progress", "progress is not saved",
		"; it is tried again every two seconds. Collectors get everything; if the distributor were "+
			"killed now, those that come back would get more of it again", err)}
}

// stateProblem is what the file system of STATE_DIR does to a component; then stands behind the
// remedy.
func (p *primary) stateProblem(component, what, then string, err error) problem {
	dir := p.cfg.Load().StateDir
	return problem{
		component: component,
		details:   words{what + ": " + err.Error(), stateRemedy(err, dir) + then},
		public:    words{what + cause(err), stateRemedy(err, "") + then},
	}
}

func (p *primary) workerHealth() []problem {
	s := p.workers.Snapshot()
	if s.Ready() > 0 || s.Backoff.Err == nil {
		return nil
	}
	const what = "no worker can start"
	const remedy = "see the log for the workers' last words; starting is tried again with growing pauses"
	err := s.Backoff.Err
	return []problem{{
		component: "workers",
		details:   words{what + ": " + err.Error(), remedy},
		public:    words{what + cause(err), remedy},
	}}
}

// cause is what everybody may know of an error: the kernel's words, without the paths around them.
func cause(err error) string {
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		return ": " + errno.Error()
	}
	return ""
}

// stateRemedy is what helps against an error of the file system of STATE_DIR. It names the path,
// unless that is "".
func stateRemedy(err error, path string) string {
	dir := "STATE_DIR"
	if path != "" {
		dir += " (" + path + ")"
	}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "make room on the file system of " + dir
	case errors.Is(err, syscall.EROFS):
		return "mount the file system of " + dir +
			" for writing; if it was mounted so, the kernel's log says why it is read-only now"
	case errors.Is(err, fs.ErrPermission):
		return "let the distributor's user write to " + dir + " and what is in it"
	case errors.Is(err, syscall.EIO):
		return "look at the disk of " + dir + ": the kernel's log has its errors"
	}
	return "see to it that " + dir + " can be written"
}

// databaseHealth concerns the HTTP API alone: distribution does not need the
// databases.
func (p *primary) databaseHealth() []problem {
	var found []problem
	for _, one := range p.api.Health() {
		const remedy = "check ARCHIVER_DB_DIR, ARCHIVER_DATA or ARCHIVER_DB_PATH and permissions; " +
			"the other endpoints answer, and the database is tried again every second"
		found = append(found, problem{
			component: one.Component,
			details:   words{one.Text, remedy},
			public:    words{"it does not answer", remedy},
		})
	}
	return found
}
