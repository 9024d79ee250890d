package problem

import (
	"io/fs"
	"syscall"
)

// Table has all problems, in the order of their declaration. Go keeps that order because the
// remedies, which they use, are declared before them.
var Table []*Entry

func entry(e Entry) *Entry {
	Table = append(Table, &e)
	return &e
}

// StateDir helps against errors of STATE_DIR.
var StateDir = Remedies{"STATE_DIR", []Remedy{
	{[]error{syscall.ENOSPC, syscall.EDQUOT}, "make room on the file system of STATE_DIR"},
	{[]error{syscall.EROFS}, "mount the file system of STATE_DIR for writing; if it was mounted so, " +
		"the kernel's log says why it is read-only now"},
	{[]error{fs.ErrPermission}, "let the distributor's user write to STATE_DIR and what is in it"},
	{[]error{syscall.EIO}, "look at the disk of STATE_DIR: the kernel's log has its errors"},
	{nil, "make STATE_DIR writable"},
}}

// DataLogs helps against errors of reading the data logs.
var DataLogs = Remedies{"DATA_LOG_DIR", []Remedy{
	{[]error{fs.ErrPermission}, "let the distributor's user read DATA_LOG_DIR and what is in it, and " +
		"enter the directories above"},
	{[]error{syscall.EIO}, "look at the disk of DATA_LOG_DIR: the kernel's log has its errors"},
	{[]error{syscall.ESTALE, syscall.ENOTCONN}, "mount the file system of DATA_LOG_DIR anew"},
	{[]error{syscall.ELOOP, syscall.ENOTDIR}, "see where DATA_LOG_DIR leads: a link in it makes a " +
		"circle, or a file stands where a directory is expected"},
	{nil, "see whether the archiver runs and writes to DATA_LOG_DIR; a relative path starts at the " +
		"directory in which the distributor was started"},
}}

// The problems.
var (
	FrameLogBlocked = entry(Entry{
		ID: "frame_log_blocked", Level: Critical, What: "the frame log takes no frames",
		Remedies: StateDir, Then: "distribution then continues by itself, and loses nothing as long " +
			"as the archiver keeps its data logs; do not remove single files of the frame log",
	})
	StateNotTakenBack = entry(Entry{
		ID: "state_not_taken_back", Level: Critical,
		What:     "no records are read since a handover failed",
		Remedies: StateDir, Then: "taking the state back is retried four times a second",
	})
	ProgressNotSaved = entry(Entry{
		ID: "progress_not_saved", Level: Warning, What: "progress is not saved",
		Remedies: StateDir, Then: "saving is retried every two seconds. Collectors get everything; " +
			"after a kill or a crash now, those that return without a position would get more records " +
			"twice, and new ones would start live",
	})
	NoWorker = entry(Entry{
		ID: "no_worker", Level: Critical, What: "no worker can start",
		Remedies: always("see the log for the workers' last words; check memory, the limits of " +
			"processes and descriptors, and whether the binary was replaced by a broken one"),
		Then: "starting is retried with growing pauses of up to ten seconds",
	})
	DataLogsUnreadable = entry(Entry{
		ID: "data_logs_unreadable", Level: Critical, What: "DATA_LOG_DIR cannot be read",
		Remedies: DataLogs, Then: "reading is retried every FILE_STREAM_INTERVAL_MS",
	})
	StreamWaits = entry(Entry{
		ID: "stream_waits", Level: Critical, What: "reading of the stream waits for a file",
		Remedies: DataLogs, Then: "reading is retried every FILE_STREAM_INTERVAL_MS; the other " +
			"streams continue",
	})
	NoGrowth = entry(Entry{
		ID: "no_growth", Level: Critical, What: "no stream has grown",
		Remedies: Remedies{"DATA_LOG_DIR", []Remedy{{Text: "see whether the archiver runs and writes " +
			"to DATA_LOG_DIR; DATA_LOG_STALE_MS sets how long silence is normal"}}},
	})
	NoQueryProcess = entry(Entry{
		ID: "no_query_process", Level: Warning,
		What:     "the process that reads the databases does not answer",
		Remedies: always("see the log for its last lines, which have process=query"),
		Then: "it is replaced, after seven seconds if it hangs, with growing pauses of up to ten " +
			"seconds; the firehose works without it",
	})
	DatabaseFailing = entry(Entry{
		ID: "database_failing", Level: Warning, What: "the database does not answer",
		Remedies: always("check ARCHIVER_DB_DIR, ARCHIVER_DATA or ARCHIVER_DB_PATH, that the " +
			"distributor's user may read the file, and that the archiver can open it: it creates the " +
			"tables when it starts"),
		Then: "the firehose and the other endpoints work without it, and it is retried every second",
	})
	HealthCheckHangs = entry(Entry{
		ID: "health_check_hangs", Level: Critical,
		What: "a health check does not come back, and what is said of other components is as old",
		Remedies: always("see whether a file system hangs (a network mount, a disk with errors): the " +
			"kernel's log says so"),
	})
)

func always(text string) Remedies { return Remedies{By: []Remedy{{Text: text}}} }
