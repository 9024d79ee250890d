package engine

import (
	"log/slog"
	"sync/atomic"
)

// saved is how it stands with one thing that is saved again and again. Each has its own: that one
// can be saved says nothing of another. Any goroutine may ask, one at a time may note.
type saved struct {
	file    string // its name in STATE_DIR
	failure atomic.Pointer[error]
}

// note takes the outcome of a save, and logs it if it differs from the one before.
func (s *saved) note(err error, log *slog.Logger) {
	switch {
	case err != nil && s.failure.Swap(&err) == nil:
		log.Error("progress not saved; it is tried again", "file", s.file, "error", err)
	case err == nil && s.failure.Swap(nil) != nil:
		log.Info("progress is saved again", "file", s.file)
	}
}

// trouble returns why the last save failed, nil if it did not.
func (s *saved) trouble() error {
	if err := s.failure.Load(); err != nil {
		return *err
	}
	return nil
}
