package framelog

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync/atomic"
	"unsafe"

	"github.com/edsrzf/mmap-go"
	"golang.org/x/sys/unix"
)

// mapFile maps the first size bytes of f with MAP_SHARED. A size of 0 maps nothing.
func mapFile(f *os.File, size int64, prot int, fault faults) (mmap.MMap, error) {
	if size == 0 {
		return nil, nil
	}
	err := fault.check(opMap, f.Name())
	if err == nil {
		var m mmap.MMap
		if m, err = mmap.MapRegion(f, int(size), prot, 0, 0); err == nil {
			return m, nil
		}
	}
	return nil, fmt.Errorf("framelog: map %s: %w", f.Name(), err)
}

func unmap(m *mmap.MMap) {
	if *m == nil {
		return
	}
	if err := m.Unmap(); err != nil {
		panic(fmt.Sprintf("framelog: unmap: %v", err)) // only a mapping that is not ours can fail
	}
}

// populate makes the pages of b present and writable, so that the first store into each does not
// fault (3–5 times the cost of the store). It reports false if the kernel cannot (before Linux
// 5.14).
func populate(b []byte) bool {
	return ignoringEINTR(func() error { return unix.Madvise(b, unix.MADV_POPULATE_WRITE) }) == nil
}

// touch does what populate does, with stores. Adding zero atomically changes nothing, even if
// another goroutine stores there.
func touch(b []byte) {
	for at := 0; at < len(b); at += pageSize {
		atomic.AddUint32((*uint32)(unsafe.Pointer(&b[at])), 0)
	}
}

// guarded runs f, which reads mapped files. If another program truncated such a file, or the disk
// cannot deliver a page, the kernel sends SIGBUS. guarded turns SIGBUS into ErrDamaged, so the
// process survives.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer recoverFault(&err)
	return f()
}

// recoverFault is deferred; it turns a memory fault into an error.
func recoverFault(err *error) {
	if p := recover(); p != nil {
		*err = faultError(p)
	}
}

// faultError returns the error for a recovered memory fault. It panics again for any other panic.
func faultError(p any) error {
	var addressed interface {
		error
		Addr() uintptr
	}
	if err, ok := p.(error); ok && errors.As(err, &addressed) {
		return fmt.Errorf("%w: a mapped file cannot be read (truncated, or the disk fails): %w",
			ErrDamaged, err)
	}
	panic(p)
}

// storeFault returns the error for a recovered fault of a store into m, the mapping of f at path,
// or nil if the fault was elsewhere. A truncated file is ErrDamaged. Otherwise the file system
// refuses to write a page that was clean (read-only after an error, an I/O error): ErrBlocked, and
// the same store works once the file system works again.
func storeFault(p any, m []byte, f *os.File, path string) error {
	var addressed interface{ Addr() uintptr }
	if err, ok := p.(error); !ok || !errors.As(err, &addressed) || len(m) == 0 {
		return nil
	}
	if at := addressed.Addr() - uintptr(unsafe.Pointer(&m[0])); at >= uintptr(len(m)) {
		return nil
	}
	if err := shortened(f, path, int64(len(m))); errors.Is(err, ErrDamaged) {
		return err
	}
	why := unix.EIO
	var on unix.Statfs_t
	if unix.Fstatfs(int(f.Fd()), &on) == nil && on.Flags&unix.ST_RDONLY != 0 {
		why = unix.EROFS
	}
	return fmt.Errorf("%w: write a page of %s: %w", ErrBlocked, path, why)
}

// shortened returns ErrDamaged if f has fewer than size bytes.
func shortened(f *os.File, path string, size int64) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("stat %s: %w", path, cause(err))
	}
	if info.Size() < size {
		return fmt.Errorf("%w: %s has %d bytes, not %d: another program has truncated it",
			ErrDamaged, path, info.Size(), size)
	}
	return nil
}

func roundToPage(n int64) int64 { return (n + pageSize - 1) &^ (pageSize - 1) }
