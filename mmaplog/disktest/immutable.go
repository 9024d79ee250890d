// Package disktest makes real faults of a file system for tests. It knows nothing of the product.
package disktest

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// SetImmutable makes a file one that cannot be changed, also through descriptors and mappings that
// are open: a write is refused, and a store into a clean page faults, as on a file system that has
// gone read-only after an error. It skips the test where files cannot be made immutable, and on a
// tmpfs, which never protects its pages.
func SetImmutable(t testing.TB, path string, on bool) {
	t.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err == nil && fs.Type == unix.TMPFS_MAGIC {
		t.Skip("the file is on a tmpfs")
	}
	if err := Immutable(path, on); err != nil {
		t.Skipf("no file can be made immutable here: %v", err)
	}
}

// Immutable is SetImmutable without a look at the file system: on a tmpfs, writes are refused and
// stores are not.
func Immutable(path string, on bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	const immutable = 0x10 // FS_IMMUTABLE_FL
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil {
		return err
	}
	flags &^= immutable
	if on {
		flags |= immutable
		if err := f.Sync(); err != nil { // its pages are clean, and write-protected
			return err
		}
	}
	return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags)
}
