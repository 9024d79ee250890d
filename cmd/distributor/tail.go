package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"distributor/wsproto"
	"distributor/wsproto/collector"
	"distributor/wsproto/shardus"
)

// Exit statuses of tail beyond the common ones. exitFailed means that a message did not verify, or
// that messages are missing.
const (
	exitRefused = 3
	exitLost    = 4
	exitShort   = 5
	exitGaps    = 6
)

const tailHelp = `Connects to a distributor as a collector, verifies every message and prints the
records.

usage: distributor tail [flags]

  distributor tail --key-file collector.json              all records, one per line
  distributor tail --streams receipt --count 10 | jq .    ten receipts
  distributor tail --from earliest --stop-at-idle 2000    everything the server still has, then stop
  distributor tail --format summary                       one line per second: rates and position
  distributor tail --from 0123…cdef-4711                  continue where an earlier tail stopped

Exit status:
  0   interrupted, or stopped by --count, --seconds or --stop-at-idle; every message was verified
  1   a message did not verify, or messages are missing or came twice
  3   the server refused the connection
  4   no connection could be made, or the connection was lost and could not be made again
  5   the time was over, or the output could not be written, before --count was reached
  6   as 0, but the server reported gaps: it could not read all of the data logs. The error output
      shows them
  78  wrong arguments

`

// Values of --format.
const (
	formatRecords  = "records"
	formatMessages = "messages"
	formatSummary  = "summary"
	formatNone     = "none"
)

// tailHashKey is the hash key of the public networks and of the sample configuration.
const tailHashKey = "69fa4195670576c0160d660c3be36556ff8d504725be8a59b5a96509e0c994bc"

// tailOptions holds the values of the flags.
type tailOptions struct {
	dial      collector.Options
	streams   []string
	count     uint64 // records to print; 0: unlimited
	time      time.Duration
	idle      time.Duration
	format    string
	summary   bool
	reconnect bool
	giveUp    time.Duration
}

func tailCommand(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	options, err := parseTail(args, stdout, stderr)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "distributor tail: %v (see --help)\n", err)
		return exitConfig
	}
	return newTail(options, stdout, stderr).run(ctx)
}

func parseTail(args []string, stdout, stderr io.Writer) (tailOptions, error) {
	flags := pflag.NewFlagSet("tail", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.SortFlags = false
	url := flags.String("url", "http://127.0.0.1:6100", "URL of the distributor")
	keyFile := flags.String("key-file", "",
		"`file` with the collector's key pair: JSON {publicKey, secretKey} as printed by keygen, or the secret key alone in hex (default: a new key pair, which a server limited to subscribers refuses)")
	secretKey := flags.String("secret-key", "",
		"the collector's secret key in `hex`; other users of this machine can see it, so prefer --key-file")
	hashKey := flags.String("hash-key", tailHashKey, "the network's hash key in `hex`")
	owner := flags.String("owner", "",
		"public key in `hex` that every message must be signed with (default: the key of the first message)")
	subscription := flags.String("type", "FIREHOSE", "subscription type")
	from := flags.String("from", "",
		"where to start: live, earliest, or a `position` (default: where this key pair stopped if the server still knows, otherwise live)")
	streams := flags.StringSlice("streams", streamNames, "print only records of these streams")
	count := flags.Uint64("count", 0, "stop after `N` printed records (0: never)")
	seconds := flags.Float64("seconds", 0, "stop after `N` seconds (0: never)")
	idle := flags.Int("stop-at-idle", 0,
		"stop when nothing was received for this many `ms` (0: never)")
	compress := flags.Bool("compress", false, "offer compression to the server (permessage-deflate)")
	format := flags.String("format", formatRecords,
		"what to print: records, messages (with their signatures), summary (one line per second), or none")
	summary := flags.Bool("summary", false, "print one line per second on the error output")
	reconnect := flags.Bool("reconnect", true,
		"reconnect after a lost connection and continue at the last position")
	giveUp := flags.Float64("give-up", 60, "stop after this many `seconds` without a connection")
	flags.Usage = func() { fmt.Fprint(stdout, tailHelp, flags.FlagUsagesWrapped(110)) }
	if err := flags.Parse(args); err != nil {
		return tailOptions{}, err
	}

	o := tailOptions{
		streams: *streams, count: *count, format: *format, summary: *summary, reconnect: *reconnect,
		time:   time.Duration(*seconds * float64(time.Second)),
		idle:   time.Duration(*idle) * time.Millisecond,
		giveUp: time.Duration(*giveUp * float64(time.Second)),
		dial: collector.Options{Notices: true, URL: *url, SubscriptionType: *subscription,
			Compress: *compress, Logger: slog.New(slog.NewTextHandler(stderr, nil))},
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if !slices.Contains([]string{formatRecords, formatMessages, formatSummary, formatNone}, o.format) {
		return o, fmt.Errorf("--format cannot be %q", o.format)
	}
	for _, s := range o.streams {
		if !slices.Contains(streamNames, s) {
			return o, fmt.Errorf("--streams: unknown stream %q; the streams are %s", s,
				strings.Join(streamNames, ", "))
		}
	}
	if o.time < 0 || o.idle < 0 || o.giveUp < 0 {
		return o, errors.New("times cannot be negative")
	}
	var err error
	if o.dial.HashKey, err = shardus.ParseHashKey(*hashKey); err != nil {
		return o, fmt.Errorf("--hash-key: %w", err)
	}
	if *owner != "" {
		if o.dial.ExpectOwner, err = shardus.ParsePublicKey(*owner); err != nil {
			return o, fmt.Errorf("--owner: %w", err)
		}
	}
	if o.dial.From, err = wsproto.ParseFrom(*from); err != nil {
		return o, fmt.Errorf("--from: %w", err)
	}
	o.dial.Keys, err = tailKeys(*secretKey, *keyFile, stderr)
	return o, err
}

// tailKeys returns the given key pair, or generates one.
func tailKeys(secretKey, keyFile string, stderr io.Writer) (shardus.SecretKey, error) {
	switch {
	case secretKey != "" && keyFile != "":
		return shardus.SecretKey{}, errors.New("--secret-key and --key-file exclude each other")
	case secretKey != "":
		key, err := shardus.ParseSecretKey(secretKey)
		if err != nil {
			return key, fmt.Errorf("--secret-key: %w", err)
		}
		return key, nil
	case keyFile != "":
		text, err := os.ReadFile(keyFile)
		if err != nil {
			return shardus.SecretKey{}, fmt.Errorf("--key-file: %w", err)
		}
		key, err := parseKeyFile(text)
		if err != nil {
			return key, fmt.Errorf("--key-file %s: %w", keyFile, err)
		}
		return key, nil
	}
	public, key, err := shardus.GenerateKey()
	fmt.Fprintf(stderr, "distributor tail: no key pair given, using a new one (%s): a server limited to subscribers will refuse it\n", public)
	return key, err
}

// parseKeyFile parses {"publicKey": hex, "secretKey": hex}, or one line of hex. Its errors never
// contain the text.
func parseKeyFile(text []byte) (shardus.SecretKey, error) {
	trimmed := strings.TrimSpace(string(text))
	if !strings.HasPrefix(trimmed, "{") {
		return shardus.ParseSecretKey(trimmed)
	}
	var pair struct{ PublicKey, SecretKey string }
	if json.Unmarshal([]byte(trimmed), &pair) != nil {
		return shardus.SecretKey{}, errors.New("the file is not valid JSON")
	}
	key, err := shardus.ParseSecretKey(pair.SecretKey)
	if err != nil {
		return key, err
	}
	if public, err := shardus.ParsePublicKey(pair.PublicKey); pair.PublicKey != "" &&
		(err != nil || public != key.Public()) {
		return shardus.SecretKey{}, errors.New("publicKey does not belong to secretKey")
	}
	return key, nil
}
