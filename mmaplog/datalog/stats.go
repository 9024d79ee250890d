package datalog

import "time"

// Stats are figures of a Follower for operators. Counters count since NewFollower. GET /status of
// the distributor shows the members that have a JSON name.
type Stats struct {
	Stream Stream `json:"-"`
	File   string `json:"file"` // log being read, without "old-"; empty before the first
	Number uint32 `json:"-"`    // its number
	Offset uint64 `json:"-"`    // first byte of it not yet delivered

	// BytesBehind is how many bytes are not yet delivered: of that log, by its present size, and of
	// later ones, by their sizes when the directory was last read.
	BytesBehind int64 `json:"bytesBehind"`
	// LastGrowth is when the log being read was last seen to have grown, or a new one was begun.
	LastGrowth time.Time `json:"lastGrowth"`
	// Watching says that inotify works; without it the Interval is the latency.
	Watching bool `json:"watching"`

	Records     uint64 `json:"-"`
	Bytes       uint64 `json:"-"`           // of records, without line ends
	Rotations   uint64 `json:"rotations"`   // logs begun after another one
	Truncations uint64 `json:"truncations"` // logs found to be an older state of what was read
	// Rewrites counts logs found with other content before the place of reading; they are read from
	// their beginning.
	Rewrites  uint64 `json:"rewrites"`
	Oversized uint64 `json:"oversized"` // lines longer than MaxLine, not delivered
	Gaps      uint64 `json:"gaps"`      // times that something may not have been delivered
	// GapBytes counts bytes of data logs that are known to be lost in gaps; of deleted logs that is
	// not known.
	GapBytes uint64 `json:"gapBytes"`
	LastGap  Gap    `json:"-"`
	Errors   uint64 `json:"errors"` // failed polls; each is retried

	Trouble Trouble `json:"-"` // what keeps reading from going on now
}

// Trouble is the error that keeps reading from going on. The Follower retries; it passes by itself.
type Trouble struct {
	Path  string    // file or directory
	Err   error     // nil: there is no trouble
	Since time.Time // when it was first met
}

// GapReason says how records may have been missed.
type GapReason string

const (
	// GapLogGone means that the log of the Position to resume from, or the log that was being read,
	// no longer exists.
	GapLogGone GapReason = "log-gone"
	// GapLogsMissing means that a number between the log that was read and the next one has no log.
	GapLogsMissing GapReason = "logs-missing"
	// GapLateGrowth means that records were appended to a log after it had been left for good.
	GapLateGrowth GapReason = "late-growth"
	// GapTruncated means that a log with unread bytes was cut or overwritten, or holds zero bytes
	// where something had been written.
	GapTruncated GapReason = "truncated"
)

// Gap describes a place in the stream where records may be missing.
type Gap struct {
	Reason GapReason
	After  Position // what was read last before it
	Next   uint32   // number of the log where reading goes on
	Bytes  uint64   // bytes known to be lost; 0: not known
	Time   time.Time
}
