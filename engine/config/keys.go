package config

import "time"

// A key is one row of the table: everything about one setting. The type of def is the type of the
// setting: string, Secret, int, int64, time.Duration (in whole milliseconds), bool, []Subscriber or
// ArchiverData.
type key struct {
	heading  string // of the group that begins with this key, in the document
	name     string
	formerly string            // the earlier name, which is still read; "": none
	field    func(*Config) any // pointer to its field, of def's type
	def      any
	unit     string // of a number
	min, max int64  // of a number, in that unit
	rule     rule   // of a text
	reload   bool   // a running process can apply a change
	alias    string // a second name of the environment variable
	doc      string
}

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30

	maxSafe = 1<<53 - 1 // the largest whole number that JSON carries safely
	hourMS  = 3_600_000
)

var keys = []*key{
	{heading: "Address and identity",
		name: "DISTRIBUTOR_IP", field: func(c *Config) any { return &c.DistributorIP },
		def: "localhost", rule: notEmpty,
		doc: "Address that GET /config reports to clients. Informational only: the distributor " +
			"listens on LISTEN_ADDR."},
	{name: "LISTEN_ADDR", field: func(c *Config) any { return &c.ListenAddr },
		def: "", rule: hostOrEmpty,
		doc: "IP address or host name on which the firehose and the HTTP API listen. Empty: all " +
			"interfaces."},
	{name: "DISTRIBUTOR_PORT", field: func(c *Config) any { return &c.DistributorPort },
		def: 6100, min: 0, max: 65535,
		doc: "TCP port of the firehose and the HTTP API. 0: any free port."},
	{name: "DISTRIBUTOR_HASH_KEY", field: func(c *Config) any { return &c.HashKey },
		def: sampleHashKey, rule: hex64,
		doc: "Key of the hash under every signature. All members of a network use the same one; " +
			"it is not secret."},
	{name: "DISTRIBUTOR_PUBLIC_KEY", field: func(c *Config) any { return &c.PublicKey },
		def: samplePublicKey, rule: hex64,
		doc: "Ed25519 public key of this distributor, with which collectors verify messages. The " +
			"default is a public sample: run `distributor keygen` for your own pair."},
	{name: "DISTRIBUTOR_SECRET_KEY", field: func(c *Config) any { return &c.SecretKey },
		def: Secret(sampleSecretKey), rule: hex128,
		doc: "Ed25519 secret key that signs messages and answers: 64 digits of seed, then the " +
			"public key. The default is a public sample, with which anybody can sign."},
	{heading: "Where data comes from",
		name: "DATA_LOG_DIR", field: func(c *Config) any { return &c.DataLogDir },
		def: "../../../collector/data-logs", rule: notEmpty,
		doc: "Directory in which the archiver writes its data logs."},
	{name: "FILE_STREAM_INTERVAL_MS", field: func(c *Config) any { return &c.FileStreamInterval },
		def: 100 * time.Millisecond, min: 1, max: 60_000,
		doc: "How often the data logs are checked when inotify reports no change."},
	{name: "DATA_LOG_STALE_MS", field: func(c *Config) any { return &c.DataLogStale },
		def: 10 * time.Minute, min: 0, max: 24 * hourMS, reload: true,
		doc: "GET /is-healthy reports the data logs as stale when none of them has grown for " +
			"this time. 0: never."},
	{name: "MAX_RECORD_BYTES", field: func(c *Config) any { return &c.MaxRecordBytes },
		def: 64 * mib, unit: "bytes", min: kib, max: 512 * mib,
		doc: "Longest line of a data log that is read as a record. Longer lines are skipped and " +
			"counted. At most an eighth of the machine's memory."},
	{name: "stopDistributionAtCycle", field: func(c *Config) any { return &c.StopAtCycle },
		def: int64(-1), unit: "cycle", min: -1, max: maxSafe, reload: true,
		doc: "Last cycle whose records are distributed; records of later cycles are withheld. " +
			"-1: no limit."},
	{name: "ADD_EXECUTION_SHARD_KEY", field: func(c *Config) any { return &c.AddExecutionShardKey },
		def: false,
		doc: "Adds the member executionShardKey to receipts that lack it, before signing. The " +
			"newest archiver omits the member, and the newest collector cannot store a receipt " +
			"without it. Messages then differ from the data log."},
	{name: "ARCHIVER_DB_DIR", field: func(c *Config) any { return &c.ArchiverDBDir },
		def: "archiverdb.sqlite3", rule: notEmpty,
		doc: "Directory of the archiver's SQLite databases, which the HTTP API reads."},
	{name: "ARCHIVER_DATA", field: func(c *Config) any { return &c.ArchiverData },
		def: ArchiverData{
			CycleDB: "cycles.sqlite3", AccountDB: "accounts.sqlite3",
			TransactionDB: "transactions.sqlite3", ReceiptDB: "receipts.sqlite3",
			OriginalTxDataDB: "originalTxsData.sqlite3"},
		doc: "File names of the archiver's databases within ARCHIVER_DB_DIR. A name that is left " +
			"out keeps its default."},
	{name: "ARCHIVER_DB_PATH", field: func(c *Config) any { return &c.ArchiverDBPath },
		def: "", rule: anyText,
		doc: "One SQLite file that holds all the archiver's tables. If set, ARCHIVER_DB_DIR and " +
			"ARCHIVER_DATA have no effect."},
	{heading: "Frame log",
		name: "STATE_DIR", field: func(c *Config) any { return &c.StateDir },
		def: "distributor-state", rule: notEmpty,
		doc: "Directory of the frame log and of the files that save progress. Only one " +
			"distributor may use it."},
	{name: "FRAME_LOG_BYTES", field: func(c *Config) any { return &c.FrameLogBytes },
		def: int64(gib), unit: "bytes", min: 64 * kib, max: 1 << 44,
		doc: "Bytes of frames that are kept for slow and returning collectors. At least " +
			"FRAME_LOG_SEGMENT_BYTES."},
	{name: "FRAME_LOG_SEGMENT_BYTES", field: func(c *Config) any { return &c.FrameLogSegmentBytes },
		def: int64(64 * mib), unit: "bytes", min: 64 * kib, max: 4 * gib,
		doc: "Size of one file (segment) of the frame log. Old frames are removed one segment at " +
			"a time."},
	{heading: "Access",
		name:  "limitToSubscribersOnly",
		field: func(c *Config) any { return &c.LimitToSubscribersOnly }, def: false, reload: true,
		doc: "Only keys listed in subscribers may connect to the firehose and use the HTTP API. " +
			"If false, every valid signature is accepted."},
	{name: "subscribers", field: func(c *Config) any { return &c.Subscribers },
		def: []Subscriber{}, reload: true,
		doc: "Keys that are allowed while limitToSubscribersOnly is true: a list of {publicKey, " +
			"expirationTimestamp (Unix ms, 0: never), subscriptionType (FIREHOSE or ACCOUNTS)}."},
	{name: "HIDE_SUBSCRIBERS", field: func(c *Config) any { return &c.HideSubscribers },
		def: false, reload: true,
		doc: "GET /config answers an empty list of subscribers. If false, anybody can read the " +
			"whole list."},
	{name: "HANDSHAKE_WINDOW_MS", field: func(c *Config) any { return &c.HandshakeWindow },
		def: 30 * time.Second, min: 1000, max: 24 * hourMS, reload: true,
		doc: "Largest difference between the timestamp in a subscriber's signed upgrade request " +
			"and this machine's clock. Requests outside it are refused with 401."},
	{heading: "Workers",
		name: "NUMBER_OF_WORKERS", field: func(c *Config) any { return &c.NumberOfWorkers },
		def: 2, min: 0, max: 1024, reload: true,
		doc: "Worker processes that stay up even without collectors. Never more than " +
			"MAX_WORKERS."},
	{name: "MAX_WORKERS", field: func(c *Config) any { return &c.MaxWorkers },
		def: 64, min: 1, max: 1024, reload: true,
		doc: "Most worker processes at a time. When all are full, new collectors get 503."},
	{name: "MAX_CLIENTS_PER_CHILD", field: func(c *Config) any { return &c.MaxClientsPerChild },
		def: 1024, unit: "collectors", min: 1, max: 1_000_000, reload: true,
		doc: "Most collectors of one worker process. Another worker is started when all are " +
			"full. Files of the TypeScript distributor say 2 here, which it ignored: raise it."},
	{heading: "Collectors",
		name: "RESUME_WINDOW_MS", field: func(c *Config) any { return &c.ResumeWindow },
		def: 10 * time.Minute, min: 0, max: 168 * hourMS, reload: true,
		doc: "A collector that reconnects within this time without a position resumes after the " +
			"last frame that it confirmed. 0: it starts with the next record."},
	{name: "PING_INTERVAL_MS", field: func(c *Config) any { return &c.PingInterval },
		def: 25 * time.Second, min: 10, max: hourMS, reload: true,
		doc: "A collector to which nothing was sent for this time gets a ping."},
	{name: "PING_TIMEOUT_MS", field: func(c *Config) any { return &c.PingTimeout },
		def: 60 * time.Second, min: 20, max: 24 * hourMS, reload: true,
		doc: "A collector that acknowledges neither a ping nor data for this time is " +
			"disconnected. Must be more than PING_INTERVAL_MS."},
	{name: "SLOW_LAG_BYTES", field: func(c *Config) any { return &c.SlowLagBytes },
		def: int64(64 * mib), unit: "bytes", min: 0, max: 1 << 44, reload: true,
		doc: "A collector that stays more than this many bytes behind and reads less than " +
			"SLOW_RATE for a whole SLOW_WINDOW_MS is disconnected. 0: no such limit; a collector " +
			"is disconnected when the frames that it needs are gone."},
	{name: "SLOW_RATE", field: func(c *Config) any { return &c.SlowRate },
		def: 4 * kib, unit: "bytes/s", min: 1, max: gib, reload: true,
		doc: "Average rate, over SLOW_WINDOW_MS, that a collector more than SLOW_LAG_BYTES " +
			"behind must reach to stay connected."},
	{name: "SLOW_WINDOW_MS", field: func(c *Config) any { return &c.SlowWindow },
		def: 5 * time.Minute, min: 1000, max: 24 * hourMS, reload: true,
		doc: "How long a collector more than SLOW_LAG_BYTES behind may stay below SLOW_RATE. A " +
			"collector that acknowledges nothing is disconnected earlier, after PING_TIMEOUT_MS."},
	{name: "LINGER_MS", field: func(c *Config) any { return &c.Linger },
		def: time.Duration(0), min: 0, max: 1000, reload: true,
		doc: "Send to an up-to-date collector at most once per this interval. Saves CPU for many " +
			"small records; adds up to this much latency. 0: send at once."},
	{name: "CLIENT_INPUT_BYTES", field: func(c *Config) any { return &c.ClientInputBytes },
		def: 64 * kib, unit: "bytes", min: 4 * kib, max: 64 * mib, reload: true,
		doc: "Most bytes that a collector may send in one burst, and its longest message. " +
			"Collectors only answer pings; one that sends more is disconnected."},
	{name: "CLIENT_INPUT_RATE", field: func(c *Config) any { return &c.ClientInputRate },
		def: 16 * kib, unit: "bytes/s", min: kib, max: 64 * mib, reload: true,
		doc: "Most bytes that a collector may send on average. Collectors only answer pings; one " +
			"that sends more is disconnected."},
	{name: "COMPRESSION_LEVEL", field: func(c *Config) any { return &c.CompressionLevel },
		def: 0, min: 0, max: 9, reload: true,
		doc: "Level of permessage-deflate for collectors that offer it, as npm ws does: 1 " +
			"(fastest) to 9 (smallest). 0: no compression. Applies to new connections. " +
			"docs/OPERATIONS.md has the costs."},
	{heading: "HTTP API and connections",
		name: "RATE_LIMIT", field: func(c *Config) any { return &c.RateLimit },
		def: 5000, unit: "requests/s", min: 1, max: 1_000_000, reload: true,
		doc: "HTTP requests per second of one client address (IPv6: of a /64), and most at one " +
			"moment. Further requests wait up to a second, then get 429. Loopback, health checks " +
			"and WebSocket upgrades are exempt."},
	{name: "UPGRADE_RATE_LIMIT", field: func(c *Config) any { return &c.UpgradeRateLimit },
		def: 1000, unit: "upgrades/s", min: 1, max: 1_000_000, reload: true,
		doc: "WebSocket upgrades per second of one client address (IPv6: of a /64), and ten " +
			"times as many at one moment. Further upgrades wait up to a second, then get 429. " +
			"Loopback is exempt."},
	{name: "MAX_HTTP_CONNECTIONS", field: func(c *Config) any { return &c.MaxHTTPConnections },
		def: 2048, unit: "connections", min: 16, max: 1_000_000, reload: true,
		doc: "Most connections of the public port that no worker holds: HTTP clients, and " +
			"upgrades in progress. One address may hold as many as are still free. Each costs a " +
			"descriptor and about 10 KiB. Up to 20 times UPGRADE_RATE_LIMIT further connections " +
			"wait up to 30 s; each costs a descriptor and about 1 KiB."},
	{name: "API_TIMEOUT_MS", field: func(c *Config) any { return &c.APITimeout },
		def: 10 * time.Second, min: 100, max: 60_000, reload: true,
		doc: "Longest time from the end of an HTTP API request's body to the start of its " +
			"answer; then the client gets 503. Includes waiting for memory, for a connection to " +
			"the query process, and for its restart."},
	{name: "API_MEMORY_BYTES", field: func(c *Config) any { return &c.APIMemory },
		def: int64(256 * mib), unit: "bytes", min: 4 * mib, max: 64 * gib, reload: true,
		doc: "Memory for the bodies and unread answers of slow HTTP API clients. Further " +
			"requests wait for memory and get 503 after API_TIMEOUT_MS. One address may hold as " +
			"much as is still free."},
	{heading: "Operations",
		name: "DRAIN_MS", field: func(c *Config) any { return &c.Drain },
		def: 3 * time.Second, min: 0, max: hourMS, reload: true,
		doc: "How long SIGTERM lets collectors catch up before the last of them is closed. They " +
			"are closed a millisecond apart, within this time."},
	{name: "HANDOVER_DRAIN_MS", field: func(c *Config) any { return &c.HandoverDrain },
		def: 30 * time.Second, min: 0, max: hourMS, reload: true, formerly: "UPGRADE_DRAIN_MS",
		doc: "Longest time that the old process stays after a handover (SIGUSR2) to send its " +
			"collectors to the new process."},
	{name: "ADMIN_ADDR", field: func(c *Config) any { return &c.AdminAddr },
		def: "127.0.0.1:6102", rule: hostPortOrOff,
		doc: "host:port of the admin listener, which serves status page, metrics and profiles to " +
			"anybody who can reach it. \"off\" or empty: no listener. If the default port is " +
			"taken, the distributor warns and runs without one."},
	{name: "LOG_LEVEL", field: func(c *Config) any { return &c.LogLevel },
		def: "info", rule: oneOf("debug", "info", "warn", "error"), reload: true,
		doc: "Least severe messages that are logged."},
	{name: "VERBOSE", field: func(c *Config) any { return &c.Verbose },
		def: false, reload: true,
		doc: "Same as LOG_LEVEL debug."},
	{name: "LOG_FORMAT", field: func(c *Config) any { return &c.LogFormat },
		def: "text", rule: oneOf("text", "json"),
		doc: "Format of a log line: key=value text, or JSON."},
	{name: "LOG_TO", field: func(c *Config) any { return &c.LogTo },
		def: "stderr", rule: oneOf("stderr", "files", "both"),
		doc: "Destination of the log: standard error, files in DISTRIBUTOR_LOGS, or both."},
	{name: "DISTRIBUTOR_LOGS", field: func(c *Config) any { return &c.DistributorLogs },
		def: "distributor-logs", rule: notEmpty,
		doc: "Directory of the log files when LOG_TO is files or both: distributor.log and up to " +
			"ten older files of 64 MiB each."},
	{heading: "Compatibility",
		name: "distributorMode", field: func(c *Config) any { return &c.DistributorMode },
		def: "WS", rule: mode, alias: "DISTRIBUTOR_MODE",
		doc: "Protocol of the firehose. WS (WebSocket) is the only one; the TypeScript " +
			"distributor's MQ (RabbitMQ) is refused."},
	{name: "MQ_DISTRIBUTOR_SERVER_PORT", field: func(c *Config) any { return &c.MQServerPort },
		def: 6101, min: 0, max: 65535,
		doc: "No effect. Accepted because files of the TypeScript distributor have it."},
}

// keyByName holds every key by its name, and by its former name.
var keyByName = func() map[string]*key {
	m := make(map[string]*key, len(keys))
	for _, k := range keys {
		m[k.name] = k
		if k.formerly != "" {
			m[k.formerly] = k
		}
	}
	return m
}()

// Default returns the configuration without file, environment and flags.
func Default() *Config {
	c := new(Config)
	for _, k := range keys {
		k.set(c, k.def)
	}
	return c
}
