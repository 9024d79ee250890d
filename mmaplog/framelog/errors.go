package framelog

import "errors"

var (
	// ErrLocked: another process holds the log open for writing. The error's text names its process id.
	ErrLocked = errors.New("framelog: another writer has the log open")
	// ErrVersion: the files were written by another version of this format. Nothing was changed.
	ErrVersion = errors.New("framelog: files are of another format version")
	// ErrNoLog: the directory holds no log (yet): no head file.
	ErrNoLog = errors.New("framelog: no log here")
	// ErrBlocked: the file system takes no write now: no room, an I/O error, a read-only file system. Nothing was appended or
	// committed. The same call works once the file system does.
	ErrBlocked = errors.New("framelog: the file system takes no writes")
	// ErrNoSpace: the file system has no room for the next segment. From Append it comes with ErrBlocked.
	ErrNoSpace = errors.New("framelog: no space for the next segment")
	// ErrFrame: the frame or its Meta cannot be stored: empty, over MaxFrame, or its stream is not below MaxStreams.
	ErrFrame = errors.New("framelog: not a storable frame")
	// ErrBelowFloor: the offset is older than what is kept. The reader was overtaken.
	ErrBelowFloor = errors.New("framelog: offset is below the floor")
	// ErrBeyondHead: nothing is committed at the offset yet, and nothing before it ends there.
	ErrBeyondHead = errors.New("framelog: offset is beyond the head")
	// ErrReplaced: the writer gave this log's ID up; the directory now holds, or soon will, a log with a new one. Open it again.
	ErrReplaced = errors.New("framelog: the log has been replaced by one with a new ID")
	// ErrDamaged: the log's own files are not what they must be. Nothing from the damaged place was served.
	ErrDamaged = errors.New("framelog: files are damaged")
	// ErrClosed: the Writer is closed.
	ErrClosed = errors.New("framelog: closed")
)
