package datalog

import "time"

// Stats is what an operator wants to know of a Follower. Counters count since NewFollower. GET
// /status of the distributor shows the members that have a JSON name.
type Stats struct {
	Stream Stream `json:"-"`
	File   string `json:"file"` // log being read, without "old-"; empty before the first
	Number uint32 `json:"-"`    // its number
	Offset uint64 `json:"-"`    // first byte of it not yet delivered

	// BytesBehind is what is not yet delivered of that log, as its size is now, and of later ones,
	// as their sizes were when the directory was last looked at.
	BytesBehind int64 `json:"bytesBehind"`
	// LastGrowth is when the log being read was last seen to have grown, or a new one was begun.
	LastGrowth time.Time `json:"lastGrowth"`
	// Watching says that inotify is at work; without it the Interval is the latency.
	Watching bool `json:"watching"`

	Records     uint64 `json:"-"`
	Bytes       uint64 `json:"-"`           // of records, without line ends
	Rotations   uint64 `json:"rotations"`   // logs begun after another one
	Truncations uint64 `json:"truncations"` // logs found to be an older state of what was read
	// Rewrites counts logs found with other content before the place of reading, and read anew.
	Rewrites  uint64 `json:"rewrites"`
	Oversized uint64 `json:"oversized"` // lines longer than MaxLine, not delivered
	Gaps      uint64 `json:"gaps"`      // times that something may not have been delivered
	// GapBytes counts bytes of data logs that are known to be lost in gaps; of deleted logs that is
	// not known.
	GapBytes uint64 `json:"gapBytes"`
	LastGap  Gap    `json:"-"`
	Errors   uint64 `json:"errors"` // failed looks; each is tried again

	Trouble Trouble `json:"-"` // what keeps reading from going on now
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
