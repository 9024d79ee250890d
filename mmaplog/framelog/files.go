package framelog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"distributor/mmaplog/crashpoint"
)

const (
	headName  = "head"
	lockName  = "lock"
	tempHead  = "head.new"
	framesExt = ".frames"
	indexExt  = ".index"
	spareName = "spare"
	copyName  = "copy" // copies of a segment that is written again

	// Any collector may have the content of the files, but no other user's processes need them.
	dirMode  = 0o750
	fileMode = 0o640
)

func segmentPath(dir string, base uint64, ext string) string {
	return filepath.Join(dir, fmt.Sprintf("%016x%s", base, ext))
}

// pair says which of the two files of a segment exist.
type pair struct {
	base          uint64
	frames, index bool
}

// listSegments returns the segment files of a directory, by base.
func listSegments(dir string) ([]pair, error) {
	names, err := readNames(dir)
	if err != nil {
		return nil, fmt.Errorf("framelog: list segments: %w", err)
	}
	byBase := map[uint64]pair{}
	for _, name := range names {
		ext := filepath.Ext(name)
		base, ok := parseBase(strings.TrimSuffix(name, ext))
		if !ok || ext != framesExt && ext != indexExt {
			continue
		}
		p := byBase[base]
		p.base, p.frames, p.index = base, p.frames || ext == framesExt, p.index || ext == indexExt
		byBase[base] = p
	}
	pairs := make([]pair, 0, len(byBase))
	for _, p := range byBase {
		pairs = append(pairs, p)
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		if a.base < b.base {
			return -1
		}
		return 1
	})
	return pairs, nil
}

func readNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

// parseBase accepts exactly what segmentPath writes.
func parseBase(name string) (uint64, bool) {
	if len(name) != 16 || strings.ToLower(name) != name {
		return 0, false
	}
	base, err := strconv.ParseUint(name, 16, 64)
	return base, err == nil && base < goneFloor
}

// lockPatience is how long lockDir retries a lock whose holder no longer exists. If the holder was
// killed while it was forking a child, the child has its descriptors, and so the lock, until it
// executes its program.
const lockPatience = time.Second

// lockDir takes the writer's lock. The kernel releases the lock when the process ends, however it
// ends.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, fmt.Errorf("framelog: open lock: %w", err)
	}
	for end := time.Now().Add(lockPatience); ; time.Sleep(10 * time.Millisecond) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) || alive(lockHolder(dir)) || time.Now().After(end) {
			break
		}
	}
	if err != nil {
		defer f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s is held by process %s", ErrLocked, path, lockHolder(dir))
		}
		return nil, fmt.Errorf("framelog: lock %s: %w", path, err)
	}
	// Overwrite the old text, so that the write needs no room on a full disk.
	if _, err = f.WriteAt(fmt.Appendf(nil, "%-15d\n", os.Getpid()), 0); err != nil {
		f.Close()
		return nil, noSpace(fmt.Errorf("framelog: write process id into lock: %w", err))
	}
	return f, nil
}

// alive reports whether a process with this id exists. It is also true if pid is no number.
func alive(pid string) bool {
	n, err := strconv.Atoi(pid)
	return err != nil || !errors.Is(unix.Kill(n, 0), unix.ESRCH)
}

// unlock releases the lock, also if a child that is being forked has a duplicate of the descriptor.
func unlock(f *os.File) {
	_ = unix.Flock(int(f.Fd()), unix.LOCK_UN)
	f.Close()
}

// lockHolder returns the process id in the lock file: the process that took the lock last. The lock
// may no longer be held.
func lockHolder(dir string) string {
	text, err := os.ReadFile(filepath.Join(dir, lockName))
	if pid := strings.TrimSpace(string(text)); err == nil && pid != "" {
		return pid
	}
	return "unknown"
}

// allocate allocates size bytes of f on disk, so that a full disk is an error here and not a SIGBUS
// in a store.
func allocate(f *os.File, path string, size int64, fault faults) error {
	err := fault.check(opAllocate, path)
	if err == nil {
		err = ignoringEINTR(func() error { return unix.Fallocate(int(f.Fd()), 0, 0, size) })
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = writeZeros(f, size)
	}
	if err != nil {
		return fmt.Errorf("framelog: allocate %d bytes for %s: %w", size, path, cause(err))
	}
	return nil
}

// noSpace marks an error of a full disk (or quota, or directory) as ErrNoSpace.
func noSpace(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}

// writeZeros extends f to size bytes on file systems that cannot preallocate. It keeps the bytes
// that the file already has.
func writeZeros(f *os.File, size int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	zeros := make([]byte, 1<<20)
	for at := info.Size(); at < size; {
		n, err := f.WriteAt(zeros[:min(size-at, int64(len(zeros)))], at)
		if err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}

var errSync = errors.New("framelog: sync")

// syncFile syncs f. path is its current path: an open file keeps the name it was opened by.
func syncFile(f *os.File, path string, fault faults) error {
	err := fault.check(opSync, path)
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return fmt.Errorf("%w %s: %w", errSync, path, cause(err))
	}
	return nil
}

// cause returns the error of an open file without the file's name, which may have changed since.
func cause(err error) error {
	if named := (*fs.PathError)(nil); errors.As(err, &named) {
		return named.Err
	}
	return err
}

// syncDir brings names that were made, changed or removed in a directory to disk.
func syncDir(dir string, fault faults) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("framelog: sync directory: %w", err)
	}
	defer d.Close()
	return syncFile(d, dir, fault)
}

func rename(from, to string, fault faults) error {
	err := fault.check(opRename, to)
	if err == nil {
		err = os.Rename(from, to)
	}
	if err != nil {
		return fmt.Errorf("framelog: name %s: %w", to, err)
	}
	return nil
}

// unlinkSegment removes both files of a segment. The index is removed last. OpenWriter understands
// a segment of which only one file is left, so a crash in between does no harm when the log is
// opened again.
func unlinkSegment(dir string, base uint64, fault faults) error {
	err := unlink(segmentPath(dir, base, framesExt), fault)
	crashpoint.Pass(crashpoint.FramesUnlinked)
	err = errors.Join(err, unlink(segmentPath(dir, base, indexExt), fault))
	crashpoint.Pass(crashpoint.SegmentUnlinked)
	return err
}

func unlink(path string, fault faults) error {
	err := fault.check(opUnlink, path)
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("framelog: unlink: %w", err)
	}
	return nil
}

// removeSpare removes the files of a spare that never became part of the log.
func removeSpare(dir string, fault faults) error {
	return errors.Join(
		unlink(filepath.Join(dir, spareName+framesExt), fault),
		unlink(filepath.Join(dir, spareName+indexExt), fault))
}

// removeCopies removes the copies of a segment that was to be written again.
func removeCopies(dir string, fault faults) error {
	return errors.Join(
		unlink(filepath.Join(dir, copyName+framesExt), fault),
		unlink(filepath.Join(dir, copyName+indexExt), fault))
}

func ignoringEINTR(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
