package config

import "time"

// A key is one row of the table: all that is known of a setting. The type of def is the type of the setting: string,
// Secret, int, int64, time.Duration (given in whole milliseconds), bool, []Subscriber or ArchiverData.
type key struct {
	name     string
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
	{name: "DISTRIBUTOR_IP", field: func(c *Config) any { return &c.DistributorIP }, def: "localhost", rule: notEmpty,
		doc: "Address that GET /config tells. Informational: LISTEN_ADDR is what is listened on."},
	{name: "LISTEN_ADDR", field: func(c *Config) any { return &c.ListenAddr }, def: "", rule: hostOrEmpty,
		doc: "IP address or host name to listen on. Empty: all interfaces, as the replaced service does."},
	{name: "DISTRIBUTOR_PORT", field: func(c *Config) any { return &c.DistributorPort }, def: 6100, min: 0, max: 65535,
		doc: "TCP port of the firehose and the HTTP API. 0: any free one."},
	{name: "DISTRIBUTOR_HASH_KEY", field: func(c *Config) any { return &c.HashKey }, def: sampleHashKey, rule: hex64,
		doc: "Key of the hash that is signed; the same for the whole network, no secret."},
	{name: "DISTRIBUTOR_PUBLIC_KEY", field: func(c *Config) any { return &c.PublicKey }, def: samplePublicKey, rule: hex64,
		doc: "Ed25519 public key that signs. The default is a sample that everybody knows."},
	{name: "DISTRIBUTOR_SECRET_KEY", field: func(c *Config) any { return &c.SecretKey }, def: Secret(sampleSecretKey), rule: hex128,
		doc: "Ed25519 secret key: 64 digits of seed, then the public key. The default is a sample that everybody knows."},
	{name: "ARCHIVER_DB_DIR", field: func(c *Config) any { return &c.ArchiverDBDir }, def: "archiverdb.sqlite3", rule: notEmpty,
		doc: "Directory of the archiver's SQLite databases."},
	{name: "ARCHIVER_DATA", field: func(c *Config) any { return &c.ArchiverData }, def: ArchiverData{
		CycleDB: "cycles.sqlite3", AccountDB: "accounts.sqlite3", TransactionDB: "transactions.sqlite3",
		ReceiptDB: "receipts.sqlite3", OriginalTxDataDB: "originalTxsData.sqlite3"},
		doc: "File names of the databases in ARCHIVER_DB_DIR. Names left out keep their defaults."},
	{name: "ARCHIVER_DB_PATH", field: func(c *Config) any { return &c.ArchiverDBPath }, def: "", rule: anyText,
		doc: "One SQLite file that holds all tables. When set it takes the place of ARCHIVER_DB_DIR and ARCHIVER_DATA."},
	{name: "DATA_LOG_DIR", field: func(c *Config) any { return &c.DataLogDir }, def: "../../../collector/data-logs", rule: notEmpty,
		doc: "Directory of the data logs that the archiver writes."},
	{name: "FILE_STREAM_INTERVAL_MS", field: func(c *Config) any { return &c.FileStreamInterval }, def: 100 * time.Millisecond, min: 1, max: 60_000,
		doc: "How often the data logs are looked at even if nothing was notified."},
	{name: "DATA_LOG_STALE_MS", field: func(c *Config) any { return &c.DataLogStale }, def: 10 * time.Minute, min: 0, max: 24 * hourMS, reload: true,
		doc: "Silence of all data logs after which GET /is-healthy reports them as stale. 0: never."},
	{name: "MAX_RECORD_BYTES", field: func(c *Config) any { return &c.MaxRecordBytes }, def: 64 * mib, unit: "bytes", min: kib, max: 512 * mib,
		doc: "Longest record; a longer line of a data log is passed over and counted. At most an eighth of the memory."},
	{name: "STATE_DIR", field: func(c *Config) any { return &c.StateDir }, def: "distributor-state", rule: notEmpty,
		doc: "Directory of the frame log and the checkpoints. Belongs to one distributor alone."},
	{name: "FRAME_LOG_BYTES", field: func(c *Config) any { return &c.FrameLogBytes }, def: int64(gib), unit: "bytes", min: 64 * kib, max: 1 << 44,
		doc: "How much of the frame log is retained for slow and returning collectors. At least FRAME_LOG_SEGMENT_BYTES."},
	{name: "FRAME_LOG_SEGMENT_BYTES", field: func(c *Config) any { return &c.FrameLogSegmentBytes }, def: int64(64 * mib), unit: "bytes", min: 64 * kib, max: 4 * gib,
		doc: "Size of a file of the frame log: the step in which old frames are given up."},
	{name: "NUMBER_OF_WORKERS", field: func(c *Config) any { return &c.NumberOfWorkers }, def: 2, min: 0, max: 1024, reload: true,
		doc: "Workers that stay up without collectors. Never more than MAX_WORKERS."},
	{name: "MAX_WORKERS", field: func(c *Config) any { return &c.MaxWorkers }, def: 64, min: 1, max: 1024, reload: true,
		doc: "Most workers at a time."},
	{name: "MAX_CLIENTS_PER_CHILD", field: func(c *Config) any { return &c.MaxClientsPerChild }, def: 1024, unit: "collectors", min: 1, max: 1_000_000, reload: true,
		doc: "Most collectors of a worker. The replaced service has 2 here and never looks at it."},
	{name: "limitToSubscribersOnly", field: func(c *Config) any { return &c.LimitToSubscribersOnly }, def: false, reload: true,
		doc: "Only those listed in subscribers may connect and ask."},
	{name: "subscribers", field: func(c *Config) any { return &c.Subscribers }, def: []Subscriber{}, reload: true,
		doc: "List of {publicKey, expirationTimestamp (Unix ms, 0: never), subscriptionType (FIREHOSE or ACCOUNTS)}."},
	{name: "HIDE_SUBSCRIBERS", field: func(c *Config) any { return &c.HideSubscribers }, def: false, reload: true,
		doc: "GET /config shows an empty list of subscribers. The replaced service shows all of them to anybody."},
	{name: "stopDistributionAtCycle", field: func(c *Config) any { return &c.StopAtCycle }, def: int64(-1), unit: "cycle", min: -1, max: maxSafe, reload: true,
		doc: "Records of later cycles are not distributed. -1: no limit."},
	{name: "ADD_EXECUTION_SHARD_KEY", field: func(c *Config) any { return &c.AddExecutionShardKey }, def: false,
		doc: "Give receipts that come without executionShardKey that member before signing. The newest archiver logs them so, and the newest collector cannot store them so. What is sent then differs from the log."},
	{name: "distributorMode", field: func(c *Config) any { return &c.DistributorMode }, def: "WS", rule: mode, alias: "DISTRIBUTOR_MODE",
		doc: "WS, the WebSocket firehose. The replaced service's MQ (RabbitMQ) is not offered."},
	{name: "MQ_DISTRIBUTOR_SERVER_PORT", field: func(c *Config) any { return &c.MQServerPort }, def: 6101, min: 0, max: 65535,
		doc: "Accepted because old files have it; not used."},
	{name: "RATE_LIMIT", field: func(c *Config) any { return &c.RateLimit }, def: 5000, unit: "requests/s", min: 1, max: 1_000_000, reload: true,
		doc: "HTTP requests a second, and as many at once, of one client address (IPv6: of a /64). More wait for their turn, and get 429 after a second. Loopback, health checks and upgrades do not count."},
	{name: "UPGRADE_RATE_LIMIT", field: func(c *Config) any { return &c.UpgradeRateLimit }, def: 1000, unit: "upgrades/s", min: 1, max: 1_000_000, reload: true,
		doc: "WebSocket upgrades a second of one client address, ten times as many at once. More wait for their turn, and get 429 after a second. Loopback does not count."},
	{name: "MAX_HTTP_CONNECTIONS", field: func(c *Config) any { return &c.MaxHTTPConnections }, def: 2048, unit: "connections", min: 16, max: 1_000_000, reload: true,
		doc: "Most connections that are no worker's: HTTP, and upgrades under way. One address may hold as many as are still free. A descriptor and about 10 KiB each. " +
			"More wait up to 30 s for room: 20 times UPGRADE_RATE_LIMIT of them, shared in the same way, a descriptor and about 1 KiB each."},
	{name: "API_TIMEOUT_MS", field: func(c *Config) any { return &c.APITimeout }, def: 10 * time.Second, min: 100, max: 60_000, reload: true,
		doc: "How long a request to the HTTP API may take, from its body's end to its answer's beginning; then 503. Waiting for memory, for a connection to the query process, or for that process to be started again, counts."},
	{name: "API_MEMORY_BYTES", field: func(c *Config) any { return &c.APIMemory }, def: int64(256 * mib), unit: "bytes", min: 4 * mib, max: 64 * gib, reload: true,
		doc: "Memory for what slow clients of the HTTP API hold: bodies on their way, answers not read yet. More wait for room, and get 503 after API_TIMEOUT_MS. One address may hold as much as is still free."},
	{name: "HANDSHAKE_WINDOW_MS", field: func(c *Config) any { return &c.HandshakeWindow }, def: 30 * time.Second, min: 1000, max: 24 * hourMS, reload: true,
		doc: "How old the time in a subscriber's signed upgrade request may be."},
	{name: "RESUME_WINDOW_MS", field: func(c *Config) any { return &c.ResumeWindow }, def: 10 * time.Minute, min: 0, max: 168 * hourMS, reload: true,
		doc: "A collector that comes back within so long, and does not say from where, goes on where it was. 0: it begins live."},
	{name: "PING_INTERVAL_MS", field: func(c *Config) any { return &c.PingInterval }, def: 25 * time.Second, min: 10, max: hourMS, reload: true,
		doc: "Keep-alive: a collector that nothing was sent to for so long gets a ping."},
	{name: "PING_TIMEOUT_MS", field: func(c *Config) any { return &c.PingTimeout }, def: 60 * time.Second, min: 20, max: 24 * hourMS, reload: true,
		doc: "A collector that acknowledges neither a ping nor data for so long is closed. More than PING_INTERVAL_MS."},
	{name: "SLOW_LAG_BYTES", field: func(c *Config) any { return &c.SlowLagBytes }, def: int64(64 * mib), unit: "bytes", min: 0, max: 1 << 44, reload: true,
		doc: "How far behind a collector counts as far. One that is, and takes less than SLOW_RATE for a whole SLOW_WINDOW_MS, is closed. 0: none is, before it falls out of the frame log."},
	{name: "SLOW_RATE", field: func(c *Config) any { return &c.SlowRate }, def: 4 * kib, unit: "bytes/s", min: 1, max: gib, reload: true,
		doc: "What a collector that is far behind has to take, on average over SLOW_WINDOW_MS."},
	{name: "SLOW_WINDOW_MS", field: func(c *Config) any { return &c.SlowWindow }, def: 5 * time.Minute, min: 1000, max: 24 * hourMS, reload: true,
		doc: "How long a collector that is far behind may take less than SLOW_RATE. Pauses of PING_TIMEOUT_MS end a connection anyway."},
	{name: "LINGER_MS", field: func(c *Config) any { return &c.Linger }, def: time.Duration(0), min: 0, max: 1000, reload: true,
		doc: "A collector that has all there is gets new records at most once in so long, those that came meanwhile together: less CPU for many small ones, up to so much later. 0: at once."},
	{name: "CLIENT_INPUT_BYTES", field: func(c *Config) any { return &c.ClientInputBytes }, def: 64 * kib, unit: "bytes", min: 4 * kib, max: 64 * mib, reload: true,
		doc: "Most that a collector may send at once, and its longest message: it has nothing to say but pongs. One that sends more is closed."},
	{name: "CLIENT_INPUT_RATE", field: func(c *Config) any { return &c.ClientInputRate }, def: 16 * kib, unit: "bytes/s", min: kib, max: 64 * mib, reload: true,
		doc: "Most that a collector may send in the long run."},
	{name: "COMPRESSION_LEVEL", field: func(c *Config) any { return &c.CompressionLevel }, def: 0, min: 0, max: 9, reload: true,
		doc: "permessage-deflate for collectors that offer it, as npm ws does: 1, fast, to 9, small. 0: nobody gets it. docs/OPERATIONS.md says when it pays. A change is for new connections."},
	{name: "DRAIN_MS", field: func(c *Config) any { return &c.Drain }, def: 3 * time.Second, min: 0, max: hourMS, reload: true,
		doc: "Time that collectors get to drain what is under way after SIGTERM. They are closed a millisecond apart, within it."},
	{name: "UPGRADE_DRAIN_MS", field: func(c *Config) any { return &c.UpgradeDrain }, def: 30 * time.Second, min: 0, max: hourMS, reload: true,
		doc: "The same after SIGUSR2, when another process has taken over: the most that the old one stays to send its collectors there."},
	{name: "ADMIN_ADDR", field: func(c *Config) any { return &c.AdminAddr }, def: "127.0.0.1:6102", rule: hostPortOrOff,
		doc: "host:port of the admin listener: status page, metrics, profiles, for whoever reaches it. off or empty: none. Without a setting, and with that port taken, there is a warning and no listener."},
	{name: "LOG_LEVEL", field: func(c *Config) any { return &c.LogLevel }, def: "info", rule: oneOf("debug", "info", "warn", "error"), reload: true,
		doc: "Least important messages that are logged."},
	{name: "VERBOSE", field: func(c *Config) any { return &c.Verbose }, def: false, reload: true,
		doc: "Logs as with LOG_LEVEL debug."},
	{name: "LOG_FORMAT", field: func(c *Config) any { return &c.LogFormat }, def: "text", rule: oneOf("text", "json"),
		doc: "Form of the log."},
	{name: "LOG_TO", field: func(c *Config) any { return &c.LogTo }, def: "stderr", rule: oneOf("stderr", "files", "both"),
		doc: "Where the log goes: standard error, files in DISTRIBUTOR_LOGS, or both."},
	{name: "DISTRIBUTOR_LOGS", field: func(c *Config) any { return &c.DistributorLogs }, def: "distributor-logs", rule: notEmpty,
		doc: "Directory of the log files, if LOG_TO asks for files: distributor.log, and ten older ones of 64 MiB each."},
}

var keyByName = func() map[string]*key {
	m := make(map[string]*key, len(keys))
	for _, k := range keys {
		m[k.name] = k
	}
	return m
}()

// Default is the configuration without file, environment and flags.
func Default() *Config {
	c := new(Config)
	for _, k := range keys {
		k.set(c, k.def)
	}
	return c
}
