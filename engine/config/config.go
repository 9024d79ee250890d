package config

import (
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// Config holds every setting. Each field belongs to a key of the table in keys.go, which has its
// meaning, unit and range. Load returns a Config, which is read-only from then on.
type Config struct {
	// File is the path of the file that was read, "" if there was none. It is not a key. If a reload
	// finds no file where the start had one, the file is probably being replaced. Then the reload
	// should be refused, not taken for "all defaults".
	File string

	DistributorIP          string
	DistributorPort        int
	HashKey                string // 64 hex digits, in either case, as given
	PublicKey              string // 64 hex digits, in either case, as given
	SecretKey              Secret // 128 hex digits: seed, then public key
	ArchiverDBDir          string
	ArchiverData           ArchiverData
	ArchiverDBPath         string
	DistributorLogs        string
	RateLimit              int
	Verbose                bool
	DataLogDir             string
	DataLogStale           time.Duration
	FileStreamInterval     time.Duration
	NumberOfWorkers        int // never more than MaxWorkers
	MaxClientsPerChild     int
	LimitToSubscribersOnly bool
	Subscribers            []Subscriber // never nil; if a key is listed twice, its last entry counts
	DistributorMode        string
	MQServerPort           int
	StopAtCycle            int64 // negative: never
	AddExecutionShardKey   bool

	ListenAddr           string
	StateDir             string
	FrameLogBytes        int64
	FrameLogSegmentBytes int64
	MaxWorkers           int
	HandshakeWindow      time.Duration
	ResumeWindow         time.Duration
	PingInterval         time.Duration
	PingTimeout          time.Duration
	SlowLagBytes         int64 // 0: no limit
	SlowRate             int   // bytes/s
	SlowWindow           time.Duration
	Linger               time.Duration // 0: send at once
	ClientInputBytes     int
	ClientInputRate      int // bytes/s
	Drain                time.Duration
	HandoverDrain        time.Duration
	HideSubscribers      bool
	CompressionLevel     int // 0: no compression
	MaxRecordBytes       int
	UpgradeRateLimit     int
	MaxHTTPConnections   int
	APITimeout           time.Duration
	APIMemory            int64
	AdminAddr            string
	LogLevel             string // "debug", "info", "warn" or "error"; see Level
	LogFormat            string // "text" or "json"
	LogTo                string // "stderr", "files" or "both"
}

// ArchiverData names the archiver's databases inside ARCHIVER_DB_DIR.
type ArchiverData struct {
	CycleDB, AccountDB, TransactionDB, ReceiptDB, OriginalTxDataDB string
}

// Subscriber is one entry of the keys that may connect when limitToSubscribersOnly is set. The JSON
// form is that of GET /config.
type Subscriber struct {
	ExpirationTimestamp int64  `json:"expirationTimestamp"` // Unix milliseconds; 0: never
	PublicKey           string `json:"publicKey"`           // 64 hex digits, in either case, as given
	SubscriptionType    string `json:"subscriptionType"`    // Firehose or Accounts
}

// The subscription types.
const (
	Firehose = "FIREHOSE"
	Accounts = "ACCOUNTS"
)

// The sample keys are in the public source of the replaced service, so anybody can sign with them.
// They are the defaults so that a first try works. UsesSampleKeys tells whether they are in use.
const (
	sampleHashKey   = "69fa4195670576c0160d660c3be36556ff8d504725be8a59b5a96509e0c994bc"
	samplePublicKey = "758b1c119412298802cd28dbfa394cdfeecc4074492d60844cc192d632d84de3"
	sampleSecretKey = "3be00019f23847529bd63e41124864983175063bb524bd54ea3c155f2fa12969" +
		samplePublicKey
)

// UsesSampleKeys tells whether messages are signed with the public sample pair. It does not check
// the hash key, which is the same for a whole network and not secret.
func (c *Config) UsesSampleKeys() bool {
	return strings.EqualFold(string(c.SecretKey), sampleSecretKey)
}

// Level returns LOG_LEVEL, or debug if VERBOSE is set.
func (c *Config) Level() slog.Level {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		panic("config: LOG_LEVEL was not validated: " + c.LogLevel)
	}
	if c.Verbose {
		level = min(level, slog.LevelDebug)
	}
	return level
}

// String returns all settings, one KEY=value per line, without secrets.
func (c *Config) String() string {
	var b strings.Builder
	for _, k := range keys {
		fmt.Fprintf(&b, "%s=%s\n", k.name, k.show(c))
	}
	return b.String()
}

// LogValue returns a group of the settings that are not at their defaults, without secrets.
func (c *Config) LogValue() slog.Value {
	var attrs []slog.Attr
	defaults := Default()
	for _, k := range keys {
		if !k.equal(c, defaults) {
			attrs = append(attrs, slog.String(k.name, k.show(c)))
		}
	}
	return slog.GroupValue(attrs...)
}

// Secret is text that is never printed. Convert it with string() to use it.
type Secret string

const redacted = "(secret)"

// Format prints "(secret)" for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalText returns "(secret)".
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue returns "(secret)".
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
