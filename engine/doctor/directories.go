package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"distributor/engine"
	problems "distributor/engine/problem"
)

func directories(_ context.Context, v visit) []Finding {
	found := append(dataLogDir(v), stateDir(v)...)
	if v.cfg.LogTo != "stderr" {
		const name, remedy = "DISTRIBUTOR_LOGS",
			"make the directory writable, or set LOG_TO=stderr; until then the log goes to standard error"
		if err := writable(v.cfg.DistributorLogs); err != nil {
			found = append(found, warning(name, err.Error(), remedy))
		} else {
			found = append(found, fine(name, "%s can be written to", v.cfg.DistributorLogs))
		}
	}
	return found
}

func dataLogDir(v visit) []Finding {
	const name = "DATA_LOG_DIR"
	dir := v.cfg.DataLogDir
	unusable := func(found string, err error) []Finding {
		return []Finding{problem(name, found, problems.DataLogs.For(err, absolute(dir)))}
	}
	fi, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return unusable(absolute(dir)+" is not there", err)
	case err != nil:
		return unusable(err.Error(), err)
	case !fi.IsDir():
		return unusable(absolute(dir)+" is no directory", unix.ENOTDIR)
	}
	if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.R_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return unusable(fmt.Sprintf("%s cannot be read by this user (%d)", absolute(dir), os.Geteuid()),
			err)
	}
	if kind, remote := fileSystem(dir); remote {
		return []Finding{warning(name,
			fmt.Sprintf("%s is on %s: changes made on another machine may be seen late or torn",
				absolute(dir), kind), "run the distributor on the archiver's machine")}
	}
	return []Finding{fine(name, "%s can be read", absolute(dir))}
}

func stateDir(v visit) []Finding {
	const name = "STATE_DIR"
	dir := v.cfg.StateDir
	if err := writable(dir); err != nil {
		return []Finding{problem(name, err.Error(), problems.StateDir.For(err, absolute(dir)))}
	}
	there := existing(dir)
	kind, remote := fileSystem(there)
	if remote {
		return []Finding{problem(name,
			fmt.Sprintf("%s is on %s, where memory-mapped files are not safe", absolute(dir), kind),
			"set STATE_DIR to a local disk")}
	}
	var found []Finding
	if kind == "tmpfs" {
		found = append(found, warning(name,
			absolute(dir)+" is in memory: a reboot loses the frame log and the positions, and the frame log takes memory", "set STATE_DIR to a directory on a local disk"))
	}
	var st unix.Statfs_t
	if err := unix.Statfs(there, &st); err != nil {
		return append(found, warning(name, "the free space of "+there+" cannot be read: "+err.Error(),
			"check the free space with df"))
	}
	// The frame log needs room for the retained frames, the segment being written and the prepared
	// one, and for their indexes, each 1/16 of its frames.
	need := v.cfg.FrameLogBytes + 2*v.cfg.FrameLogSegmentBytes
	need += need / 16
	have := int64(st.Bavail) * st.Bsize
	used := sizeOf(engine.FrameLogDir(v.cfg))
	switch missing := need - used - have; {
	case missing > 0:
		found = append(found, problem(name,
			fmt.Sprintf("%s has %s free, the frame log will need %s more", absolute(dir), size(have),
				size(need-used)),
			problems.StateDir.For(unix.ENOSPC, absolute(dir))+", or lower FRAME_LOG_BYTES ("+
				size(v.cfg.FrameLogBytes)+"); distribution stops while the disk is full"))
	case -missing < need/10:
		found = append(found, warning(name,
			fmt.Sprintf("%s has %s free, and the frame log will need %s of it", absolute(dir), size(have),
				size(max(need-used, 0))), problems.StateDir.For(unix.ENOSPC, absolute(dir))+
				", or lower FRAME_LOG_BYTES; distribution stops while the disk is full"))
	default:
		found = append(found, fine(name, "%s can be written to, %s free; the frame log takes %s of %s",
			absolute(dir), size(have), size(used), size(need)))
	}
	return found
}

// writable returns why a directory cannot be written to or created, or nil.
func writable(dir string) error {
	there := existing(dir)
	fi, err := os.Stat(there)
	if err != nil {
		return err
	}
	if !fi.IsDir() {
		return fmt.Errorf("%s is no directory", absolute(there))
	}
	err = unix.Faccessat(unix.AT_FDCWD, there, unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	switch {
	case err == nil:
		return nil
	case there == dir:
		return fmt.Errorf("%s cannot be written to by this user (%d): %w", absolute(dir), os.Geteuid(),
			err)
	}
	return fmt.Errorf("%s is not there and cannot be created in %s by this user (%d): %w",
		absolute(dir), absolute(there), os.Geteuid(), err)
}

// existing returns dir, or its nearest parent that exists.
func existing(dir string) string {
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return dir
		}
	}
}

// sizeOf returns the disk space that the files of a directory take.
func sizeOf(dir string) (sum int64) {
	names, _ := os.ReadDir(dir)
	for _, n := range names {
		var st unix.Stat_t
		if unix.Lstat(filepath.Join(dir, n.Name()), &st) == nil {
			sum += st.Blocks * 512
		}
	}
	return sum
}

// fileSystem names the file system of path if it is one that doctor reports.
func fileSystem(path string) (kind string, remote bool) {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return "", false
	}
	switch uint32(st.Type) {
	case unix.TMPFS_MAGIC:
		return "tmpfs", false
	case unix.NFS_SUPER_MAGIC:
		return "NFS", true
	case unix.CIFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC:
		return "SMB", true
	case unix.FUSE_SUPER_MAGIC:
		return "FUSE", true
	case unix.CEPH_SUPER_MAGIC:
		return "Ceph", true
	case unix.V9FS_MAGIC:
		return "9P", true
	case unix.AFS_SUPER_MAGIC:
		return "AFS", true
	}
	return "", false
}

func absolute(path string) string {
	if a, err := filepath.Abs(path); err == nil {
		return a
	}
	return path
}
