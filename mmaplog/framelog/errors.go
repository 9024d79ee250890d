package framelog

import "errors"

var (
	// ErrLocked means that another process has the log open for writing. The error's text names its
	// process id.
	ErrLocked = errors.New("framelog: another writer has the log open")
	// ErrVersion means that the files have another format version. Nothing was changed.
	ErrVersion = errors.New("framelog: files are of another format version")
	// ErrNoLog means that the directory holds no log (yet): it has no head file.
	ErrNoLog = errors.New("framelog: no log here")
	// ErrBlocked means that the file system refuses writes now: no room, an I/O error, a read-only
	// file system. Nothing was appended or committed. The same call works once the file system
	// works again.
	ErrBlocked = errors.New("framelog: the file system takes no writes")
	// ErrNoSpace means that the file system has no room for the next segment. Append returns it
	// together with ErrBlocked.
	ErrNoSpace = errors.New("framelog: no space for the next segment")
	// ErrFrame means that the frame or its Meta cannot be stored: the frame is empty or longer than
	// MaxFrame, or its stream is not below MaxStreams.
	ErrFrame = errors.New("framelog: not a storable frame")
	// ErrBelowFloor means that the offset is older than what is kept: retention has overtaken the
	// reader.
	ErrBelowFloor = errors.New("framelog: offset is below the floor")
	// ErrBeyondHead means that the offset lies beyond the newest committed frame.
	ErrBeyondHead = errors.New("framelog: offset is beyond the head")
	// ErrReplaced means that the writer gave up this log's ID. The directory now holds, or soon
	// will hold, a log with a new ID: open it again.
	ErrReplaced = errors.New("framelog: the log has been replaced by one with a new ID")
	// ErrDamaged means that the log's files are damaged. Nothing from the damaged place was served.
	ErrDamaged = errors.New("framelog: files are damaged")
	// ErrClosed means that the Writer is closed.
	ErrClosed = errors.New("framelog: closed")
)
