package status

import (
	"os"
	"syscall"
	"time"
)

// diskEvery is how often the size of a directory is measured. The frame log may have thousands of
// files, and grows by one segment at a time.
const diskEvery = 10 * time.Second

type disk struct {
	looked time.Time
	bytes  int64
}

// used returns the disk space of the files of dir, which has no subdirectories.
func (d *disk) used(now time.Time, dir string) int64 {
	if !d.looked.IsZero() && now.Sub(d.looked) < diskEvery {
		return d.bytes
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return d.bytes
	}
	d.looked, d.bytes = now, 0
	for _, e := range entries {
		info, err := e.Info() // fails if retention has just removed the file
		if err != nil {
			continue
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			d.bytes += st.Blocks * 512
		}
	}
	return d.bytes
}
