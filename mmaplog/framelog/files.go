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
	copyName  = "copy" // of a segment that is written again

	// The files hold what any collector may have, but nobody else's processes need them.
	dirMode  = 0o750
	fileMode = 0o640
)

func segmentPath(dir string, base uint64, ext string) string {
	return filepath.Join(dir, fmt.Sprintf("%016x%s", base, ext))
}

// pair says which of the two files of a segment are there.
type pair struct {
	base          uint64
	frames, index bool
}

// listSegments returns what segment files a directory holds, by base.
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

// lockPatience is for how long a lock is waited for whose holder is no more. A child that it was about to start when it
// was killed has its descriptors, and so the lock, until it executes its program.
const lockPatience = time.Second

// lockDir takes the writer's lock. The kernel lets go of it with the process, however that ends.
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
	// Over what is there, so that it needs no room on a full disk.
	if _, err = f.WriteAt(fmt.Appendf(nil, "%-15d\n", os.Getpid()), 0); err != nil {
		f.Close()
		return nil, noSpace(fmt.Errorf("framelog: write process id into lock: %w", err))
	}
	return f, nil
}

// alive says whether there is a process of that id, as text; also true for a text that is none.
func alive(pid string) bool {
	n, err := strconv.Atoi(pid)
	return err != nil || !errors.Is(unix.Kill(n, 0), unix.ESRCH)
}

// unlock lets go of the lock, also where a child that is being started has a duplicate of it.
func unlock(f *os.File) {
	_ = unix.Flock(int(f.Fd()), unix.LOCK_UN)
	f.Close()
}

// lockHolder is the process id in the lock file, which says who took it last, not that it is still held.
func lockHolder(dir string) string {
	text, err := os.ReadFile(filepath.Join(dir, lockName))
	if pid := strings.TrimSpace(string(text)); err == nil && pid != "" {
		return pid
	}
	return "unknown"
}

// allocate gives f size bytes that are really there, so that a full disk is an error here and not a SIGBUS in a store.
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

// writeZeros is for file systems that cannot preallocate. It leaves what the file already holds.
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

// syncFile syncs f, which is at path now: an open file keeps the name it was opened by.
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

// cause is an error of an open file without the file's name, which may be another one by now.
func cause(err error) error {
	if named := (*fs.PathError)(nil); errors.As(err, &named) {
		return named.Err
	}
	return err
}

// syncDir makes names that were made, changed or removed last.
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

// unlinkSegment removes both files of a segment. The index goes last, and either alone is understood when the log is
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

// removeSpare removes what is left of a segment that never got its place.
func removeSpare(dir string, fault faults) error {
	return errors.Join(
		unlink(filepath.Join(dir, spareName+framesExt), fault),
		unlink(filepath.Join(dir, spareName+indexExt), fault))
}

// removeCopies removes what is left of a segment that was to be written again.
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
