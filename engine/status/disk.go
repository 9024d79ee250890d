package status

import (
	"os"
	"syscall"
	"time"
)

// diskEvery is how often a folder's size on disk is looked at: the frame log
// may have thousands of files, and grows a segment at a time.
const diskEvery = 10 * time.Second

type disk struct {
	looked time.Time
	bytes  int64
}

// used is what the files of dir, which has no folders in it, take on disk.
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
		info, err := e.Info() // fails for what retention has just removed
		if err != nil {
			continue
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			d.bytes += st.Blocks * 512
		}
	}
	return d.bytes
}
