package status

import (
	"encoding/json"
	"time"

	"distributor/engine/deflate"
	"distributor/engine/encoder"
	"distributor/engine/problem"
	"distributor/mmaplog/datalog"
	"distributor/mmaplog/framelog"
)

// Status is the state of the distributor: the answer of GET /status, the data of each event of GET
// /events, and the content of the page. Counters count since the start of the primary unless their
// comment says otherwise. Members are only ever added.
type Status struct {
	Time    time.Time `json:"time"`    // time of this snapshot
	Started time.Time `json:"started"` // start of the primary
	Version string    `json:"version"`
	Healthy bool      `json:"healthy"` // no Problems

	HealthSince time.Time `json:"healthSince"` // when Healthy last changed; initially the start

	Problems []problem.Problem `json:"problems"` // as in the answer of GET /is-healthy; never null
	Streams  []Stream          `json:"streams"`  // cycle, originalTx, receipt
	FrameLog FrameLog          `json:"frameLog"`
	Workers  []Worker          `json:"workers"` // by number
	Clients  Clients           `json:"clients"`
	// from the append to the frame log until the kernel has the frame; live clients
	Latency   Latency    `json:"latency"`
	API       []Endpoint `json:"api"` // by path
	Processes []Process  `json:"processes"`
	Events    []Event    `json:"events"` // newest last, the last 100; never null
	// upgrades and requests refused by the gateway, by reason, without zeros
	Refused Counts  `json:"refused"`
	Tables  []Table `json:"tables"` // tables that the API reads
	HTTP    HTTP    `json:"http"`
	Starts  Starts  `json:"starts"`
	// Compression is about collectors that negotiated permessage-deflate.
	Compression Compression `json:"compression"`
	Logged      Counts      `json:"logged"` // warnings and errors in the log, by level
}

// Counts are counters by label. Every label is present from the start. JSON omits zeros.
type Counts map[string]int64

// MarshalJSON omits zeros.
func (c Counts) MarshalJSON() ([]byte, error) {
	some := make(map[string]int64)
	for label, n := range c {
		if n != 0 {
			some[label] = n
		}
	}
	return json.Marshal(some)
}

// Histogram counts values by upper bound.
type Histogram struct {
	Bounds []float64 `json:"bounds"` // ascending
	// values up to each bound, since the start; one more than Bounds: the last counts all
	Counts []int64 `json:"counts"`
	Sum    float64 `json:"sum"` // sum of the values
}

// Stream holds the figures of one stream, from its source to the frame log.
type Stream struct {
	Name string `json:"name"`
	encoder.StreamStats
	datalog.Stats

	// SecondsBehind is for how long there have been unread bytes; 0 when caught up.
	SecondsBehind float64 `json:"secondsBehind"`
	LastGap       *Gap    `json:"lastGap,omitempty"` // absent if there was none since the start
}

// Gap is a place where records may be missing.
type Gap struct {
	Time   time.Time `json:"time"`   // when it was found
	Reason string    `json:"reason"` // log-gone, …: datalog.GapReason
	File   string    `json:"file"`   // data log that was read last before the gap
	Offset int64     `json:"offset"` // end of what was read of File
	Next   string    `json:"next"`   // data log from which reading continued
	Bytes  int64     `json:"bytes"`  // bytes that are known to be lost; 0: not known
}

// FrameLog is the state of the frame log.
type FrameLog struct {
	ID string `json:"id"`
	framelog.Stats
	DiskSize int64  `json:"diskSize"` // bytes allocated on disk
	Blocked  string `json:"blocked"`  // why it accepts no frames now; "" if it does
}

// Worker is one worker process.
type Worker struct {
	Number    int       `json:"number"`
	PID       int       `json:"pid"`
	State     string    `json:"state"` // starting, ready, …
	Since     time.Time `json:"since"`
	Clients   int       `json:"clients"`
	Blocked   int       `json:"blocked"`   // clients whose socket is full
	SentBytes int64     `json:"sentBytes"` // bytes sent since the start of the worker
	Sends     int64     `json:"sends"`     // system calls that sent
	Lag       int64     `json:"lag"`       // bytes that the slowest of its clients is behind
}

// Clients are the connected collectors.
type Clients struct {
	Connected   int      `json:"connected"`
	HandedOver  int64    `json:"handedOver"`  // connections given to workers
	Disconnects Counts   `json:"disconnects"` // by reason, without zeros
	Slowest     []Client `json:"slowest"`     // at most 20, furthest behind first; never null
	Waiting     int      `json:"waiting"`     // authenticated, without a worker so far
	Refused     Counts   `json:"refused"`     // hand-offs that failed, by reason
	SentBytes   int64    `json:"sentBytes"`   // bytes sent by all workers, former workers included
	Sends       int64    `json:"sends"`       // system calls that did
	Pings       int64    `json:"pings"`
	// bytes behind: one value per client and second, since the start
	Lags Histogram `json:"lags"`
}

// HTTP holds the figures of the public port.
type HTTP struct {
	Connections int   `json:"connections"` // open, not with a worker
	Waiting     int   `json:"waiting"`     // accepted, but without room so far
	Missed      int64 `json:"missed"`      // collectors that returned too late and miss records
	// connections ended because a request was not HTTP, too long, or not complete in time
	Malformed int64 `json:"malformed"`
}

// Compression is about collectors that negotiated permessage-deflate, and the frames that are
// compressed for them.
type Compression struct {
	Clients int `json:"clients"` // collectors that negotiated compression
	deflate.Stats
	SentBytes int64 `json:"sentBytes"` // bytes of compressed frames sent to them
	// bytes of plain frames sent to them, because no compressed frame was there in time
	PlainBytes int64  `json:"plainBytes"`
	Ends       Counts `json:"ends"` // times that compression was given up for a while, by reason
}

// Starts counts starts and ends of worker processes.
type Starts struct {
	Started int64  `json:"started"`
	Ended   int64  `json:"ended"`  // ends as requested: retired, stopped
	Failed  Counts `json:"failed"` // other ends, by reason
}

// Client is a collector that is behind.
type Client struct {
	Key     string  `json:"key"`
	Worker  int     `json:"worker"`
	Lag     int64   `json:"lag"`     // bytes behind the head
	Seconds float64 `json:"seconds"` // age of the next frame that the collector will get
	Blocked bool    `json:"blocked"` // its socket is full
}

// Latency is a histogram of seconds, with the percentiles of the last ten seconds; these are 0 if
// nothing was sent in them.
type Latency struct {
	P50    float64   `json:"p50"`
	P99    float64   `json:"p99"`
	Max    float64   `json:"max"`
	Bounds []float64 `json:"bounds"` // upper bounds, ascending
	// cumulative since the start; one more than Bounds: the last counts all
	Counts  []int64 `json:"counts"`
	SumSecs float64 `json:"sum"`
}

// API holds the figures that engine/query reports.
type API struct {
	PID       int // the query process; 0: not running
	Endpoints []Endpoint
	Tables    []Table
}

// Endpoint counts requests of one path of the HTTP API.
type Endpoint struct {
	Path     string           `json:"path"`
	Statuses map[string]int64 `json:"statuses"` // "200": …
	P50      float64          `json:"p50"`      // seconds, since the start
	P99      float64          `json:"p99"`
	Seconds  Histogram        `json:"seconds"` // P50 and P99 are estimated from these
}

// Table is one of the archiver's tables that the API reads.
type Table struct {
	Name    string `json:"name"`
	Rows    int64  `json:"rows"`    // rows that were answered
	Damaged int64  `json:"damaged"` // damaged rows left out of answers, counted each time
	Failing string `json:"failing"` // why the last query failed; "" if it did not
}

// Process holds the kernel's figures of one of our processes.
type Process struct {
	Name       string  `json:"name"` // primary, query, worker 1, …
	PID        int     `json:"pid"`
	CPUSeconds float64 `json:"cpuSeconds"` // user and system, since its start
	// resident bytes; most of a worker's are the shared, mapped frame log
	RSS int64 `json:"rss"`
	// resident bytes that the process shares with no other (RssAnon)
	Private int64 `json:"private"`
	FDs     int   `json:"fds"`
	Threads int   `json:"threads"`
}

// Event is something that happened: a rotation, a worker's end, a refusal, a warning or error of
// the log.
type Event struct {
	Time  time.Time `json:"time"`
	Level string    `json:"level"` // info, warn, error
	Text  string    `json:"text"`
	Count int       `json:"count"` // number of occurrences
}
