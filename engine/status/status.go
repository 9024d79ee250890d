package status

import (
	"encoding/json"
	"time"

	"distributor/engine/deflate"
	"distributor/engine/encoder"
	"distributor/engine/handoff"
	"distributor/mmaplog/datalog"
	"distributor/mmaplog/framelog"
)

// Status is what the distributor says of itself: GET /status, each event of
// GET /events, and the page. Counters count since the start of the primary
// unless said otherwise. Members are only ever added.
type Status struct {
	Time    time.Time `json:"time"`    // of this snapshot
	Started time.Time `json:"started"` // of the primary
	Version string    `json:"version"`
	Healthy bool      `json:"healthy"` // no Problems

	HealthSince time.Time `json:"healthSince"` // when Healthy last changed; at first the start

	Problems  []Problem  `json:"problems"` // what GET /is-healthy answers; never null
	Streams   []Stream   `json:"streams"`  // cycle, originalTx, receipt
	FrameLog  FrameLog   `json:"frameLog"`
	Workers   []Worker   `json:"workers"` // by number
	Clients   Clients    `json:"clients"`
	Latency   Latency    `json:"latency"` // append to the frame log → given to the kernel, live clients
	API       []Endpoint `json:"api"`     // by path
	Processes []Process  `json:"processes"`
	Events    []Event    `json:"events"`  // newest last, the last 100; never null
	Refused   Counts     `json:"refused"` // upgrades and requests that the gateway refused, by reason; those that are not 0
	Tables    []Table    `json:"tables"`  // what the API reads
	HTTP      HTTP       `json:"http"`
	Starts    Starts     `json:"starts"`
	// Compression is about collectors that negotiated permessage-deflate.
	Compression Compression `json:"compression"`
	Logged      Counts      `json:"logged"` // lines of the log that were warnings and errors, by level
}

// Counts are counters by label. Every label is there from the start; in JSON
// only those that are not 0.
type Counts map[string]int64

// MarshalJSON leaves out what is 0.
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
	Counts []int64   `json:"counts"` // values up to the bound, since the start; one more than Bounds: the last is all
	Sum    float64   `json:"sum"`    // of the values
}

// Problem is something that an operator has to look at now.
type Problem struct {
	Component string    `json:"component"`
	Problem   string    `json:"problem"`
	Remedy    string    `json:"remedy"`
	Since     time.Time `json:"since"` // when it was first found
}

// Stream is one of the three, from its source to the frame log.
type Stream struct {
	Name string `json:"name"`
	encoder.StreamStats
	datalog.Stats

	// SecondsBehind is for how long there has been something to read; 0 when caught up.
	SecondsBehind float64 `json:"secondsBehind"`
	LastGap       *Gap    `json:"lastGap,omitempty"` // not there: none since the start
}

// Gap is a place where records may be missing.
type Gap struct {
	Time   time.Time `json:"time"`   // when it was found
	Reason string    `json:"reason"` // log-gone, …: datalog.GapReason
	File   string    `json:"file"`   // data log read last before it,
	Offset int64     `json:"offset"` // up to here
	Next   string    `json:"next"`   // data log where reading went on
	Bytes  int64     `json:"bytes"`  // known to be lost; 0: that is not known
}

// FrameLog is the state of the frame log.
type FrameLog struct {
	ID string `json:"id"`
	framelog.Stats
	DiskSize int64  `json:"diskSize"` // bytes allocated on disk
	Blocked  string `json:"blocked"`  // why it takes no frames now; "" when it does
}

// Worker is one worker process.
type Worker struct {
	Number    int       `json:"number"`
	PID       int       `json:"pid"`
	State     string    `json:"state"` // starting, ready, …
	Since     time.Time `json:"since"`
	Clients   int       `json:"clients"`
	Blocked   int       `json:"blocked"`   // clients whose socket is full
	SentBytes int64     `json:"sentBytes"` // since the start of the worker
	Sends     int64     `json:"sends"`     // system calls that did
	Lag       int64     `json:"lag"`       // bytes that the slowest of its clients is behind

	Stats handoff.Stats `json:"-"` // all that it has reported, for the metrics
}

// Clients are the connected collectors.
type Clients struct {
	Connected   int       `json:"connected"`
	HandedOver  int64     `json:"handedOver"`  // connections given to workers
	Disconnects Counts    `json:"disconnects"` // by reason; those that are not 0
	Slowest     []Client  `json:"slowest"`     // at most 20, furthest behind first; never null
	Waiting     int       `json:"waiting"`     // authenticated, no worker yet
	Refused     Counts    `json:"refused"`     // hand-offs that failed, by reason
	SentBytes   int64     `json:"sentBytes"`   // to all, by all workers, past ones included
	Sends       int64     `json:"sends"`       // system calls that did
	Pings       int64     `json:"pings"`
	Lags        Histogram `json:"lags"` // bytes behind, of every client once a second, since the start

	Sent handoff.Counters `json:"-"` // all that the workers have counted, for the metrics
}

// HTTP is the public port.
type HTTP struct {
	Connections int   `json:"connections"` // open, no worker's yet
	Waiting     int   `json:"waiting"`     // accepted, and without room so far
	Missed      int64 `json:"missed"`      // collectors that came back too late, and miss records
	Malformed   int64 `json:"malformed"`   // connections ended over a request that was no HTTP, too long, or not complete in time
}

// Compression is about collectors that negotiated permessage-deflate and the
// frames that are compressed for them.
type Compression struct {
	Clients int `json:"clients"` // collectors that negotiated it
	deflate.Stats
	SentBytes  int64  `json:"sentBytes"`  // to those collectors, compressed
	PlainBytes int64  `json:"plainBytes"` // to those collectors, not compressed: where there was no compressed frame, or not in time
	Ends       Counts `json:"ends"`       // times that compressing was given up for a while, by reason
}

// Starts are the lives of worker processes.
type Starts struct {
	Started int64  `json:"started"`
	Ended   int64  `json:"ended"`  // as asked: retired, stopped
	Failed  Counts `json:"failed"` // not as asked, by reason
}

// Client is one collector that is behind.
type Client struct {
	Key     string  `json:"key"`
	Worker  int     `json:"worker"`
	Lag     int64   `json:"lag"`     // bytes behind the head
	Seconds float64 `json:"seconds"` // age of the next frame that it is to get
	Blocked bool    `json:"blocked"` // its socket is full
}

// Latency is a histogram of seconds, and what follows from it for the last
// ten seconds; 0 when nothing was sent in them.
type Latency struct {
	P50     float64   `json:"p50"`
	P99     float64   `json:"p99"`
	Max     float64   `json:"max"`
	Bounds  []float64 `json:"bounds"` // upper bounds, ascending
	Counts  []int64   `json:"counts"` // cumulative since the start, one more than Bounds: the last is all
	SumSecs float64   `json:"sum"`
}

// API is what engine/query tells.
type API struct {
	PID       int // of the query process; 0: it is not running
	Endpoints []Endpoint
	Tables    []Table
}

// Endpoint counts requests of one path of the HTTP API.
type Endpoint struct {
	Path     string           `json:"path"`
	Statuses map[string]int64 `json:"statuses"` // "200": …
	P50      float64          `json:"p50"`      // seconds, since the start
	P99      float64          `json:"p99"`
	Seconds  Histogram        `json:"seconds"` // what P50 and P99 follow from
}

// Table is one of the archiver's tables, as the API reads it.
type Table struct {
	Name    string `json:"name"`
	Rows    int64  `json:"rows"`    // answered
	Damaged int64  `json:"damaged"` // rows left out of answers, each time
	Failing string `json:"failing"` // why its last query failed; "" when it did not
}

// Process is what the kernel says of one of our processes.
type Process struct {
	Name       string  `json:"name"` // primary, query, worker 1, …
	PID        int     `json:"pid"`
	CPUSeconds float64 `json:"cpuSeconds"` // user and system, since its start
	RSS        int64   `json:"rss"`        // bytes resident; of workers most of it is the shared, mapped frame log
	Private    int64   `json:"private"`    // bytes of it that are its own (RssAnon)
	FDs        int     `json:"fds"`
	Threads    int     `json:"threads"`
}

// Event is something that happened: a rotation, a worker's end, a refusal, a
// warning or error of the log.
type Event struct {
	Time  time.Time `json:"time"`
	Level string    `json:"level"` // info, warn, error
	Text  string    `json:"text"`
	Count int       `json:"count"` // how often, when repeats were folded
}
