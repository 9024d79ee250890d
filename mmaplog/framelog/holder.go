package framelog

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Holder tells which process has the log in dir open for writing. It asks the kernel's list of locks and does not try
// the lock, which would be in the way of a writer that is just starting. A holder that this process must not see, in
// another container, is not told.
func Holder(dir string) (pid int, held bool) {
	path := filepath.Join(dir, lockName)
	fi, err := os.Stat(path)
	if err != nil {
		return 0, false
	}
	pid, err = strconv.Atoi(lockHolder(dir))
	if err != nil {
		return 0, false
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return pid, false
	}
	// 1: FLOCK  ADVISORY  WRITE 4711 fe:01:131084 0 EOF
	// The device is not compared: file systems with subvolumes tell stat another one.
	inode := strconv.FormatUint(fi.Sys().(*syscall.Stat_t).Ino, 10)
	for line := range strings.Lines(string(locks)) {
		f := strings.Fields(line)
		if len(f) > 5 && f[1] == "FLOCK" && f[4] == strconv.Itoa(pid) && strings.HasSuffix(f[5], ":"+inode) {
			return pid, true
		}
	}
	return pid, false
}
