package doctor

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"distributor/engine"
	"distributor/engine/config"
	"distributor/mmaplog/framelog"
)

const (
	// ownDescriptors are the descriptors of a process that belong to no client: files of the frame
	// log, channels, the Go runtime's.
	ownDescriptors = 128
	// descriptorsPerWorker are the descriptors of the primary for each worker.
	descriptorsPerWorker = 4
)

// descriptors compares the limit on open files with what the configuration may need.
func descriptors(_ context.Context, v visit) []Finding {
	const name = "descriptors"
	limit, whose := uint64(0), "of this shell; the service may have another limit"
	if pid, running := framelog.Holder(engine.FrameLogDir(v.cfg)); running {
		if n, ok := limitOf(pid); ok {
			limit, whose = n, fmt.Sprintf("of the running distributor, %d", pid)
		}
	}
	if limit == 0 {
		var r unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
			return []Finding{warning(name, "the limit on open files cannot be read: "+err.Error(),
				"check ulimit -Hn")}
		}
		limit = r.Max // the Go runtime raises the soft limit to the hard limit
	}
	worker := uint64(v.cfg.MaxClientsPerChild) + ownDescriptors
	primary := uint64(engine.Descriptors(v.cfg, limit) + descriptorsPerWorker*v.cfg.MaxWorkers +
		ownDescriptors)
	const remedy = "raise the limit on open files (LimitNOFILE= of a systemd unit, ulimit -Hn, --ulimit nofile= of a container)"
	switch {
	case limit < worker:
		return []Finding{problem(name,
			fmt.Sprintf("a limit of %d open files (%s) is too low for MAX_CLIENTS_PER_CHILD %d", limit,
				whose, v.cfg.MaxClientsPerChild), remedy+", or lower MAX_CLIENTS_PER_CHILD")}
	case limit < primary:
		text := fmt.Sprintf("a limit of %d open files (%s), but the primary may need %d: it refuses connections that could wait for a worker", limit, whose, primary)
		return []Finding{warning(name, text,
			remedy+", or lower MAX_HTTP_CONNECTIONS and UPGRADE_RATE_LIMIT")}
	}
	shown := strconv.FormatUint(limit, 10)
	if limit > 1<<40 {
		shown = "no limit"
	}
	return []Finding{fine(name, "open files: %s (%s); a worker may need %d, the primary %d", shown,
		whose, worker, primary)}
}

// limitOf reads the hard limit on open files of a process.
func limitOf(pid int) (uint64, bool) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "Max open files"); ok {
			if words := strings.Fields(rest); len(words) > 1 {
				n, err := strconv.ParseUint(words[1], 10, 64)
				return n, err == nil
			}
		}
	}
	return 0, false
}

// littleMemory is the memory in bytes that a few workers and their page cache need.
const littleMemory = 512 << 20

func machine(context.Context, visit) []Finding {
	var found []Finding
	cpus := runtime.GOMAXPROCS(0) // respects the CPU limit of a container
	if cpus < 2 {
		found = append(found, warning("processors",
			"there is one processor: signing and sending share it",
			"give the machine two processors: bursts of records are then signed while others are sent"))
	} else {
		found = append(found, fine("processors", "%d", cpus))
	}
	total, available := config.Memory()
	if total == 0 {
		return append(found, warning("memory",
			"the size of the memory is unknown: /proc/meminfo cannot be read",
			"check that /proc is mounted"))
	}
	text := fmt.Sprintf("%s, %s available", size(total), size(available))
	if available < littleMemory {
		return append(found, warning("memory", text,
			"have 512 MiB available: frames for collectors that lag behind are read from the page cache"))
	}
	return append(found, fine("memory", "%s", text))
}

func kernel(context.Context, visit) []Finding {
	const name = "kernel"
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return []Finding{warning(name, "the kernel's version is unknown: "+err.Error(),
			"run the distributor on Linux")}
	}
	var found []Finding
	release := unix.ByteSliceToString(u.Release[:])
	var major, minor int
	_, _ = fmt.Sscanf(release, "%d.%d", &major, &minor)
	if major < 5 || major == 5 && minor < 14 { // MADV_POPULATE_WRITE
		found = append(found, warning(name,
			"Linux "+release+" works, but prepares the pages of the frame log one by one",
			"use Linux 5.14 or newer, which is faster"))
	} else {
		found = append(found, fine(name, "Linux %s", release))
	}
	if n, ok := number("/proc/sys/fs/inotify/max_user_instances"); ok && n < 16 {
		found = append(found, warning(name,
			fmt.Sprintf("fs.inotify.max_user_instances is %d; a distributor needs 3", n),
			"sysctl fs.inotify.max_user_instances=128; without inotify, records are sent up to FILE_STREAM_INTERVAL_MS late"))
	}
	if n, ok := number("/proc/sys/net/core/somaxconn"); ok && n < 1024 {
		found = append(found, warning(name,
			fmt.Sprintf("net.core.somaxconn is %d: of more simultaneous connections the rest is dropped and retried a second later", n), "sysctl net.core.somaxconn=4096"))
	}
	return found
}

// number reads a file that contains one number. ok is false also for "max".
func number(path string) (int64, bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil
}
