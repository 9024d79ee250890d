package datalog

import (
	"errors"
	"io/fs"
	"log/slog"
	"time"
)

// waitsLong is how long reading may wait for a file before that is logged: rotations take
// milliseconds, and a copy of a log of the usual size a second or two.
const waitsLong = 5 * time.Second

// Reading goes on while one of these subjects fails.
const (
	watching = "inotify"
	olderLog = "check older log"
)

// nextLog is the subject while the Follower waits for the next log.
const nextLog = "next log"

// complaint is an error that persists.
type complaint struct {
	Trouble
	text   string
	logged bool
}

// complaints counts errors. It logs each subject's first error and the end of the errors, not every
// error of a series.
type complaints struct {
	log   *slog.Logger
	now   func() time.Time
	count uint64
	last  map[string]*complaint // by subject
}

// report counts an operation that failed, and logs the first failure.
func (c *complaints) report(subject, path string, err error) {
	c.count++
	if now := c.note(subject, path, err); !now.logged {
		now.logged = true
		c.log.Warn("data log: "+subject+" failed; trying again", "error", err)
	}
}

// waiting records what must happen before reading goes on. It logs this after waitsLong.
func (c *complaints) waiting(subject, path string, err error) {
	if now := c.note(subject, path, err); !now.logged && c.now().Sub(now.Since) >= waitsLong {
		now.logged = true
		c.log.Warn("data log: waiting", "for", subject, "error", err)
	}
}

// note stores the error, and since when the subject fails.
func (c *complaints) note(subject, path string, err error) *complaint {
	text := err.Error()
	last, ok := c.last[subject]
	if !ok {
		last = &complaint{Trouble: Trouble{Since: c.now()}}
		c.last[subject] = last
	}
	if last.text != text {
		last.text, last.logged = text, false
	}
	var failed *fs.PathError
	if errors.As(err, &failed) {
		path = failed.Path // one of the files in the directory
	}
	last.Path, last.Err = path, err
	return last
}

// clear records that a subject works.
func (c *complaints) clear(subject string) {
	if last, ok := c.last[subject]; ok {
		delete(c.last, subject)
		if last.logged {
			c.log.Info("data log: " + subject + " works again")
		}
	}
}

// trouble returns the error that has persisted longest.
func (c *complaints) trouble() (t Trouble) {
	for subject, one := range c.last {
		if subject != watching && subject != olderLog && (t.Err == nil || one.Since.Before(t.Since)) {
			t = one.Trouble
		}
	}
	return t
}
