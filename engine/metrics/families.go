package metrics

import (
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"distributor/engine/problem"
	"distributor/engine/status"
	"distributor/engine/supervisor"
)

// family describes one metric. each calls emit once for every sample, with the values of labels.
type family struct {
	name, help string
	kind       prometheus.ValueType // Untyped: a histogram
	labels     []string
	each       func(s *status.Status, emit sample)
}

// sample receives a value or a histogram, and the values of the labels.
type sample func(v any, labels ...string)

const (
	counter   = prometheus.CounterValue
	gauge     = prometheus.GaugeValue
	histogram = prometheus.UntypedValue
)

// families are all metrics of the distributor itself. A help text first says what one unit of the
// value is, then explains special values.
var families = []family{
	{"distributor_build_info", "Always 1; the labels tell what runs.", gauge,
		[]string{"version", "go_version"},
		func(s *status.Status, emit sample) { emit(1.0, s.Version, runtime.Version()) }},
	{"distributor_start_time_seconds", "When the primary started, in Unix time.", gauge, nil,
		func(s *status.Status, emit sample) { emit(unix(s.Started)) }},
	{"distributor_status_time_seconds", "When the figures of this scrape were taken, in Unix time.",
		gauge, nil,
		func(s *status.Status, emit sample) { emit(unix(s.Time)) }},
	{"distributor_healthy", "1 when GET /is-healthy answers OK, else 0.", gauge, nil,
		func(s *status.Status, emit sample) { emit(truth(s.Healthy)) }},
	{"distributor_problems", "Problems that GET /is-healthy lists.", gauge, nil,
		func(s *status.Status, emit sample) { emit(len(s.Problems)) }},
	{"distributor_problem",
		"1 while GET /is-healthy lists the problem; critical stops distribution.", gauge,
		[]string{"id", "level"},
		func(s *status.Status, emit sample) {
			for _, e := range problem.Table {
				is := func(p problem.Problem) bool { return p.ID == e.ID }
				emit(truth(slices.ContainsFunc(s.Problems, is)), e.ID, string(e.Level))
			}
		}},
	{"distributor_log_messages_total",
		"Warnings and errors in the log.", counter, []string{"level"},
		func(s *status.Status, emit sample) { byLabel(s.Logged, emit) }},

	stream("distributor_records_total", "Records read from the data logs.", counter,
		func(s *status.Stream) any { return s.StreamStats.Records }),
	stream("distributor_record_bytes_total", "Bytes of the records read from the data logs.", counter,
		func(s *status.Stream) any { return s.StreamStats.Bytes }),
	stream("distributor_frames_total", "Signed messages put into the frame log.", counter,
		func(s *status.Stream) any { return s.Frames }),
	stream("distributor_frame_bytes_total", "Bytes of the frames put into the frame log.", counter,
		func(s *status.Stream) any { return s.FrameBytes }),
	{"distributor_rejected_records_total",
		"Lines of the data logs that were skipped because they are not " +
			"records.", counter, []string{"stream", "reason"},
		func(s *status.Status, emit sample) {
			for _, one := range s.Streams {
				for reason, n := range one.Rejected {
					emit(n, one.Name, reason)
				}
			}
		}},
	stream("distributor_withheld_records_total",
		"Records not distributed because of stopDistributionAtCycle.", counter,
		func(s *status.Stream) any { return s.BeyondStop }),
	{"distributor_receipts_without_shard_key_total",
		"Receipts that came without executionShardKey. added: the member was added " +
			"(ADD_EXECUTION_SHARD_KEY); absent: sent unchanged.", counter, []string{"key"},
		func(s *status.Status, emit sample) {
			var added, absent uint64
			for _, one := range s.Streams {
				added, absent = added+one.ShardKeyAdded, absent+one.ShardKeyAbsent
			}
			emit(added, "added")
			emit(absent, "absent")
		}},
	stream("distributor_follower_lag_bytes", "Bytes in the data logs that are not read yet.", gauge,
		func(s *status.Stream) any { return s.BytesBehind }),
	stream("distributor_follower_lag_seconds",
		"Seconds since the oldest unread byte of the data logs was first seen; 0 when everything "+
			"is read.", gauge,
		func(s *status.Stream) any { return s.SecondsBehind }),
	stream("distributor_data_log_last_growth_timestamp_seconds",
		"Unix time at which the data log was last seen to grow; 0 if not since the start.", gauge,
		func(s *status.Stream) any { return unix(s.LastGrowth) }),
	stream("distributor_data_log_watched",
		"1 while inotify reports new records; 0 while the data logs are only polled, every "+
			"FILE_STREAM_INTERVAL_MS.", gauge,
		func(s *status.Stream) any { return truth(s.Watching) }),
	stream("distributor_data_log_rotations_total", "Data logs begun after another one.", counter,
		func(s *status.Stream) any { return s.Rotations }),
	stream("distributor_data_log_gaps_total", "Places where records may be missing; see the log.",
		counter,
		func(s *status.Stream) any { return s.Gaps }),
	stream("distributor_data_log_gap_bytes_total",
		"Bytes of data logs known to be lost in gaps. Bytes of deleted data logs are unknown and "+
			"not counted.", counter,
		func(s *status.Stream) any { return s.GapBytes }),
	stream("distributor_data_log_truncations_total",
		"Data logs that were found in an older state than was read of them. Reading continues "+
			"where the contents differ.", counter,
		func(s *status.Stream) any { return s.Truncations }),
	stream("distributor_data_log_rewrites_total",
		"Data logs that were found with other content from their start, and read again.", counter,
		func(s *status.Stream) any { return s.Rewrites }),
	stream("distributor_data_log_oversized_lines_total",
		"Lines of the data logs over MAX_RECORD_BYTES, which were skipped.", counter,
		func(s *status.Stream) any { return s.Oversized }),
	stream("distributor_data_log_errors_total",
		"Failed checks of the data logs; each is retried.", counter,
		func(s *status.Stream) any { return s.Errors }),

	frameLog("distributor_frame_log_head_bytes",
		"Offset of the end of the newest frame; grows over restarts.", gauge,
		func(f *status.FrameLog) any { return f.Head }),
	frameLog("distributor_frame_log_floor_bytes", "Offset of the oldest frame kept.", gauge,
		func(f *status.FrameLog) any { return f.Floor }),
	frameLog("distributor_frame_log_size_bytes", "Bytes of frames that the frame log keeps.", gauge,
		func(f *status.FrameLog) any { return f.Head - f.Floor }),
	frameLog("distributor_frame_log_synced_bytes",
		"Offset below which everything survives a crash of the machine.", gauge,
		func(f *status.FrameLog) any { return f.Synced }),
	frameLog("distributor_frame_log_disk_bytes",
		"Bytes of disk that the frame log uses, measured every ten seconds.", gauge,
		func(f *status.FrameLog) any { return f.DiskSize }),
	frameLog("distributor_frame_log_segments", "Segments of the frame log on disk.", gauge,
		func(f *status.FrameLog) any { return f.Segments }),
	frameLog("distributor_frame_log_blocked",
		"1 while the frame log cannot take frames because its disk is full or fails, else "+
			"0.", gauge,
		func(f *status.FrameLog) any { return truth(f.Blocked != "") }),
	frameLog("distributor_frame_log_rolls_total",
		"Segments of the frame log that were started.", counter,
		func(f *status.FrameLog) any { return f.Rolls }),
	frameLog("distributor_frame_log_spare_waits_total",
		"Segments of the frame log whose file was not ready when it was needed.", counter,
		func(f *status.FrameLog) any { return f.SpareWaits }),
	frameLog("distributor_frame_log_no_space_total",
		"Attempts to append a frame that failed because the disk of the frame log was "+
			"full.", counter,
		func(f *status.FrameLog) any { return f.NoSpace }),
	frameLog("distributor_frame_log_failures_total",
		"Background operations on frame log files (sync, trim, remove) that failed; see the "+
			"log.", counter,
		func(f *status.FrameLog) any { return f.Failures }),

	{"distributor_workers", "Worker processes by state.", gauge, []string{"state"},
		func(s *status.Status, emit sample) {
			n := make(map[string]int)
			for _, w := range s.Workers {
				n[w.State]++
			}
			for _, state := range supervisor.States {
				emit(n[string(state)], string(state))
			}
		}},
	{"distributor_worker_starts_total", "Worker processes started, attempts that failed included.",
		counter, nil,
		func(s *status.Status, emit sample) { emit(s.Starts.Started) }},
	{"distributor_worker_ends_total", "Worker processes that ended as asked: retired or stopped.",
		counter, nil,
		func(s *status.Status, emit sample) { emit(s.Starts.Ended) }},
	{"distributor_worker_failures_total",
		"Worker processes that ended or were killed because of a " +
			"failure.", counter, []string{"reason"},
		func(s *status.Status, emit sample) { byLabel(s.Starts.Failed, emit) }},
	worker("distributor_worker_clients", "Collectors of a worker.", gauge,
		func(w *status.Worker) any { return w.Clients }),
	worker("distributor_worker_blocked_clients", "Collectors of a worker whose socket is full.", gauge,
		func(w *status.Worker) any { return w.Blocked }),
	worker("distributor_worker_lag_bytes",
		"Bytes that the slowest collector of a worker is behind.", gauge,
		func(w *status.Worker) any { return w.Lag }),
	worker("distributor_worker_sent_bytes_total",
		"Bytes of frames that a worker gave to the kernel.", counter,
		func(w *status.Worker) any { return w.SentBytes }),
	worker("distributor_worker_sends_total", "System calls that gave frames to the kernel.", counter,
		func(w *status.Worker) any { return w.Sends }),

	clients("distributor_clients", "Collectors connected.", gauge,
		func(c *status.Clients) any { return c.Connected }),
	clients("distributor_clients_waiting", "Collectors authenticated that wait for a worker.", gauge,
		func(c *status.Clients) any { return c.Waiting }),
	clients("distributor_handoffs_total", "Connections given to workers.", counter,
		func(c *status.Clients) any { return c.HandedOver }),
	{"distributor_handoff_refusals_total",
		"Authenticated connections that no worker took.", counter, []string{"reason"},
		func(s *status.Status, emit sample) { byLabel(s.Clients.Refused, emit) }},
	{"distributor_disconnects_total", "Collectors' connections ended.", counter, []string{"reason"},
		func(s *status.Status, emit sample) { byLabel(s.Clients.Disconnects, emit) }},
	clients("distributor_sent_bytes_total",
		"Bytes of frames given to the kernel by all workers, former workers included.", counter,
		func(c *status.Clients) any { return c.SentBytes }),
	clients("distributor_sends_total",
		"System calls of all workers that gave frames to the kernel, former workers "+
			"included.", counter,
		func(c *status.Clients) any { return c.Sends }),
	clients("distributor_pings_total", "Pings sent to collectors.", counter,
		func(c *status.Clients) any { return c.Pings }),
	clients("distributor_client_lag_max_bytes", "Bytes that the slowest collector is behind.", gauge,
		func(c *status.Clients) any { return slowest(c).Lag }),
	clients("distributor_client_lag_max_seconds",
		"Age of the next frame that the slowest collector will get.", gauge,
		func(c *status.Clients) any { return slowest(c).Seconds }),
	clients("distributor_client_lag_bytes",
		"Bytes that a collector is behind: one observation per collector and second.", histogram,
		func(c *status.Clients) any { return c.Lags }),
	{"distributor_send_latency_seconds",
		"Seconds from appending a frame to the frame log until the kernel has it, for the first " +
			"and the last up-to-date collector of a wake-up.", histogram, nil,
		func(s *status.Status, emit sample) {
			emit(status.Histogram{Bounds: s.Latency.Bounds, Counts: s.Latency.Counts,
				Sum: s.Latency.SumSecs})
		}},

	compression("distributor_compression_clients", "Collectors that negotiated permessage-deflate.",
		gauge,
		func(c *status.Compression) any { return c.Clients }),
	compression("distributor_compression_active",
		"1 while frames are compressed for collectors, else 0.", gauge,
		func(c *status.Compression) any { return truth(c.Alive) }),
	compression("distributor_compression_frames_total",
		"Frames compressed, each once for all collectors.", counter,
		func(c *status.Compression) any { return c.Frames }),
	compression("distributor_compression_in_bytes_total",
		"Bytes of compressed frames before compression.", counter,
		func(c *status.Compression) any { return c.InBytes }),
	compression("distributor_compression_out_bytes_total",
		"Bytes of compressed frames after compression.", counter,
		func(c *status.Compression) any { return c.OutBytes }),
	compression("distributor_compression_unshrunk_frames_total",
		"Frames that compression did not make smaller; they are sent uncompressed.", counter,
		func(c *status.Compression) any { return c.Same }),
	compression("distributor_compression_lag_bytes",
		"Bytes of the frame log still to compress; 0 when not active.", gauge,
		func(c *status.Compression) any { return c.Lag }),
	compression("distributor_compression_sent_bytes_total",
		"Bytes of compressed frames given to the kernel.", counter,
		func(c *status.Compression) any { return c.SentBytes }),
	compression("distributor_compression_plain_bytes_total",
		"Bytes of uncompressed frames given to the kernel for collectors that negotiated "+
			"compression, because no compressed frame was there in time.", counter,
		func(c *status.Compression) any { return c.PlainBytes }),
	{"distributor_compression_ends_total",
		"Times that compression was given up for a while.", counter, []string{"reason"},
		func(s *status.Status, emit sample) { byLabel(s.Compression.Ends, emit) }},

	{"distributor_refused_requests_total", "Upgrades and requests refused.", counter,
		[]string{"reason"},
		func(s *status.Status, emit sample) { byLabel(s.Refused, emit) }},
	{"distributor_http_connections",
		"Open connections of the public port outside workers.", gauge, nil,
		func(s *status.Status, emit sample) { emit(s.HTTP.Connections) }},
	{"distributor_http_connections_waiting",
		"Accepted connections of the public port that wait because MAX_HTTP_CONNECTIONS, or the " +
			"share of their address, is used up.",
		gauge, nil, func(s *status.Status, emit sample) { emit(s.HTTP.Waiting) }},
	{"distributor_http_malformed_total",
		"Connections that were closed because a request was not HTTP, too long, or not complete " +
			"in time.", counter, nil,
		func(s *status.Status, emit sample) { emit(s.HTTP.Malformed) }},
	{"distributor_resumes_behind_floor_total",
		"Collectors that returned after longer than the frame log reaches back, and miss " +
			"records.", counter, nil,
		func(s *status.Status, emit sample) { emit(s.HTTP.Missed) }},
	{"distributor_api_requests_total", "Requests of the HTTP API, by answer.", counter,
		[]string{"endpoint", "status"},
		func(s *status.Status, emit sample) {
			for _, e := range s.API {
				for code, n := range e.Statuses {
					emit(n, e.Path, code)
				}
			}
		}},
	{"distributor_api_request_duration_seconds",
		"Seconds from a request of the HTTP API to its answer.", histogram, []string{"endpoint"},
		func(s *status.Status, emit sample) {
			for _, e := range s.API {
				emit(e.Seconds, e.Path)
			}
		}},
	table("distributor_api_rows_total",
		"Rows of the archiver's databases that were answered.", counter,
		func(t *status.Table) any { return t.Rows }),
	table("distributor_api_damaged_rows_total",
		"Damaged rows of the archiver's databases that were left out of answers; counted each "+
			"time.", counter,
		func(t *status.Table) any { return t.Damaged }),
	table("distributor_api_table_failing", "1 when the last query of a table failed, else 0.", gauge,
		func(t *status.Table) any { return truth(t.Failing != "") }),

	process("distributor_process_cpu_seconds_total",
		"Processor time of a process, user and system.", counter,
		func(p *status.Process) any { return p.CPUSeconds }),
	process("distributor_process_resident_memory_bytes",
		"Resident memory of a process. Most of a worker's is the frame log, which all processes "+
			"share.", gauge,
		func(p *status.Process) any { return p.RSS }),
	process("distributor_process_private_memory_bytes",
		"Resident memory of a process that it shares with no other (RssAnon).", gauge,
		func(p *status.Process) any { return p.Private }),
	process("distributor_process_open_fds", "Open file descriptors of a process.", gauge,
		func(p *status.Process) any { return p.FDs }),
	process("distributor_process_threads", "Threads of a process.", gauge,
		func(p *status.Process) any { return p.Threads }),
}

func stream(name, help string, kind prometheus.ValueType, of func(*status.Stream) any) family {
	return family{name, help, kind, []string{"stream"}, func(s *status.Status, emit sample) {
		for i := range s.Streams {
			emit(of(&s.Streams[i]), s.Streams[i].Name)
		}
	}}
}

func worker(name, help string, kind prometheus.ValueType, of func(*status.Worker) any) family {
	return family{name, help, kind, []string{"worker"}, func(s *status.Status, emit sample) {
		for i := range s.Workers {
			emit(of(&s.Workers[i]), strconv.Itoa(s.Workers[i].Number))
		}
	}}
}

func table(name, help string, kind prometheus.ValueType, of func(*status.Table) any) family {
	return family{name, help, kind, []string{"table"}, func(s *status.Status, emit sample) {
		for i := range s.Tables {
			emit(of(&s.Tables[i]), s.Tables[i].Name)
		}
	}}
}

func process(name, help string, kind prometheus.ValueType, of func(*status.Process) any) family {
	return family{name, help, kind, []string{"process"}, func(s *status.Status, emit sample) {
		for i := range s.Processes {
			emit(of(&s.Processes[i]), s.Processes[i].Name)
		}
	}}
}

func frameLog(name, help string, kind prometheus.ValueType, of func(*status.FrameLog) any) family {
	return family{name, help, kind, nil, func(s *status.Status, emit sample) { emit(of(&s.FrameLog)) }}
}

func clients(name, help string, kind prometheus.ValueType, of func(*status.Clients) any) family {
	return family{name, help, kind, nil, func(s *status.Status, emit sample) { emit(of(&s.Clients)) }}
}

func compression(name, help string, kind prometheus.ValueType,
	of func(*status.Compression) any) family {
	return family{name, help, kind, nil, func(s *status.Status, emit sample) {
		emit(of(&s.Compression))
	}}
}

func slowest(c *status.Clients) status.Client {
	if len(c.Slowest) == 0 {
		return status.Client{}
	}
	return c.Slowest[0]
}

func byLabel(c status.Counts, emit sample) {
	for label, n := range c {
		emit(n, label)
	}
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// unix returns the Unix time in seconds, and 0 for the zero time.
func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1e3
}
