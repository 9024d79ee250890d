package datalog

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// watch wakes a Follower when its stream's files change. It only shortens latency and may miss
// events, because the Follower polls at every Interval anyway.
type watch struct {
	dir    string
	stream Stream
	wake   chan struct{} // holds one token

	notify *fsnotify.Watcher // nil: not watching
	id     fileID            // of the directory that is watched
	ended  chan struct{}     // closed by the goroutine that belongs to notify
}

func newWatch(dir string, s Stream) *watch {
	return &watch{dir: dir, stream: s, wake: make(chan struct{}, 1)}
}

// keep makes sure that the directory of this name is watched; it may have appeared or been
// replaced.
func (w *watch) keep() error {
	var st unix.Stat_t
	if err := unix.Stat(w.dir, &st); err != nil {
		w.close()
		return fmt.Errorf("datalog: watch %s: %w", w.dir, err)
	}
	// The list is empty after the directory was deleted: a new one may have the same inode number.
	if w.notify != nil && w.id == idOfStat(&st) && len(w.notify.WatchList()) > 0 {
		return nil
	}
	w.close()
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("datalog: watch %s: %w", w.dir, err)
	}
	if err := notify.Add(w.dir); err != nil {
		notify.Close()
		return fmt.Errorf("datalog: watch %s: %w", w.dir, err)
	}
	w.notify, w.id, w.ended = notify, idOfStat(&st), make(chan struct{})
	go w.run(notify, w.ended)
	w.nudge() // the files may have changed before the watch was set up
	return nil
}

// run ends when notify is closed.
func (w *watch) run(notify *fsnotify.Watcher, ended chan struct{}) {
	defer close(ended)
	for {
		select {
		case e, ok := <-notify.Events:
			if !ok {
				return
			}
			if w.concerns(e.Name) {
				w.nudge()
			}
		case _, ok := <-notify.Errors:
			if !ok {
				return
			}
			w.nudge() // an overflow: events are lost, so there were some
		}
	}
}

// concerns reports whether a path is one of our stream's files, or may be the directory itself.
func (w *watch) concerns(path string) bool {
	name := filepath.Base(path)
	if !strings.HasSuffix(name, ".txt") {
		return path == filepath.Clean(w.dir)
	}
	if name == w.stream.pointerName() {
		return true
	}
	_, _, ok := w.stream.parseLogName(name)
	return ok
}

func (w *watch) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *watch) close() {
	if w.notify != nil {
		w.notify.Close()
		<-w.ended
		w.notify = nil
	}
}
