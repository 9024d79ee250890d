package framelog

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Holder returns the process that has the log in dir open for writing. It reads the kernel's list
// of locks. It does not try to take the lock, because that could make a starting writer fail. A
// process in another container, which this process must not see, is not found.
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
	// The device is not compared: on file systems with subvolumes, stat returns another device.
	inode := strconv.FormatUint(fi.Sys().(*syscall.Stat_t).Ino, 10)
	for line := range strings.Lines(string(locks)) {
		f := strings.Fields(line)
		if len(f) > 5 && f[1] == "FLOCK" && f[4] == strconv.Itoa(pid) &&
			strings.HasSuffix(f[5], ":"+inode) {
			return pid, true
		}
	}
	return pid, false
}
