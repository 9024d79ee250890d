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
	olderLog = "look at older log"
)

// nextLog is the subject of what has to come before the next log is begun.
const nextLog = "next log"

// complaint is an error in force.
type complaint struct {
	Trouble
	text   string
	logged bool
}

// complaints counts errors, and logs each subject's first one and its end, not every one of a
// series.
type complaints struct {
	log   *slog.Logger
	now   func() time.Time
	count uint64
	last  map[string]*complaint // by subject
}

// report tells of an operation that failed.
func (c *complaints) report(subject, path string, err error) {
	c.count++
	if now := c.note(subject, path, err); !now.logged {
		now.logged = true
		c.log.Warn("data log: "+subject+" failed; trying again", "error", err)
	}
}

// waiting tells of something that has to come before reading goes on. It is logged when it takes
// long.
func (c *complaints) waiting(subject, path string, err error) {
	if now := c.note(subject, path, err); !now.logged && c.now().Sub(now.Since) >= waitsLong {
		now.logged = true
		c.log.Warn("data log: waiting", "for", subject, "error", err)
	}
}

// note keeps the error, and since when the subject fails.
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

// clear says that a subject works.
func (c *complaints) clear(subject string) {
	if last, ok := c.last[subject]; ok {
		delete(c.last, subject)
		if last.logged {
			c.log.Info("data log: " + subject + " works again")
		}
	}
}

// trouble is the error that has been in force for longest.
func (c *complaints) trouble() (t Trouble) {
	for subject, one := range c.last {
		if subject != watching && subject != olderLog && (t.Err == nil || one.Since.Before(t.Since)) {
			t = one.Trouble
		}
	}
	return t
}
