package datalog

import "time"

// Stats is what an operator wants to know of a Follower. Counters count since NewFollower.
type Stats struct {
	Stream Stream
	File   string // name of the log being read, without "old-"; empty before the first
	Number uint32 // its number
	Offset uint64 // first byte of it not yet delivered

	// BytesBehind is what is not yet delivered of that log, as its size is now, and of later ones,
	// as their sizes were when the directory was last looked at.
	BytesBehind int64
	LastGrowth  time.Time // when the log being read was last seen to have grown, or a new one was begun
	Watching    bool      // inotify is at work; without it the Interval is the latency

	Records     uint64
	Bytes       uint64 // of records, without line ends
	Rotations   uint64 // logs begun after another one
	Truncations uint64 // logs found to be an older state of what had been read of them
	Rewrites    uint64 // logs found with other content before the place of reading, and read anew
	Oversized   uint64 // lines longer than MaxLine, not delivered
	Gaps        uint64 // times that something may not have been delivered
	GapBytes    uint64 // of data logs that are known to be lost in them; of deleted logs that is not known
	LastGap     Gap
	Errors      uint64 // failed looks; each is tried again

	Trouble Trouble // what keeps reading from going on now
}

// Trouble is what keeps reading from going on. It is tried again, and passes by itself.
type Trouble struct {
	Path  string    // file or directory
	Err   error     // nil: there is no trouble
	Since time.Time // when it was first met
}

// GapReason says how records may have been missed.
type GapReason string

const (
	// GapLogGone: the log of the Position to resume from, or a log that was being read, is no
	// longer there.
	GapLogGone GapReason = "log-gone"
	// GapLogsMissing: between the log that was read and the next one there is a number without a
	// log.
	GapLogsMissing GapReason = "logs-missing"
	// GapLateGrowth: records were appended to a log after it had been left for good.
	GapLateGrowth GapReason = "late-growth"
	// GapTruncated: a log was cut or overwritten that had more than was read of it, or holds zero
	// bytes where something had been written.
	GapTruncated GapReason = "truncated"
)

// Gap tells of a place in the stream where records may be missing.
type Gap struct {
	Reason GapReason
	After  Position // what was read last before it
	Next   uint32   // number of the log where reading goes on
	Bytes  uint64   // known to be lost; 0: that is not known
	Time   time.Time
}
