package config

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"strings"
)

// fewCollectors is the number of collectors below which the limits are probably a mistake: a file
// of the replaced service may have MAX_CLIENTS_PER_CHILD 2, which that service ignored.
const fewCollectors = 256

// checkTogether checks keys that depend on each other. Keys that are wrong by themselves are left
// out.
func (l *loader) checkTogether() {
	c := l.cfg
	if l.good("DISTRIBUTOR_PUBLIC_KEY", "DISTRIBUTOR_SECRET_KEY") &&
		!strings.EqualFold(string(c.SecretKey[64:]), c.PublicKey) {
		l.clash("DISTRIBUTOR_SECRET_KEY", "must end in the 64 digits of", "DISTRIBUTOR_PUBLIC_KEY")
	}
	if l.good("DISTRIBUTOR_SECRET_KEY") && !halvesFit(string(c.SecretKey)) {
		l.fail("DISTRIBUTOR_SECRET_KEY (%s): its last 64 digits are not the public key of its first 64; "+
			"make a pair with `distributor keygen`", l.place("DISTRIBUTOR_SECRET_KEY"))
	}
	if l.good("FRAME_LOG_BYTES", "FRAME_LOG_SEGMENT_BYTES") &&
		c.FrameLogBytes < c.FrameLogSegmentBytes {
		l.clash("FRAME_LOG_BYTES", "must be at least", "FRAME_LOG_SEGMENT_BYTES")
	}
	l.checkMemory()
	if l.good("PING_TIMEOUT_MS", "PING_INTERVAL_MS") && c.PingTimeout <= c.PingInterval {
		l.clash("PING_TIMEOUT_MS", "must be more than", "PING_INTERVAL_MS")
	}
	if l.good("MAX_WORKERS", "NUMBER_OF_WORKERS") && c.NumberOfWorkers > c.MaxWorkers {
		l.warn("NUMBER_OF_WORKERS",
			"NUMBER_OF_WORKERS (%s) is %d, MAX_WORKERS (%s) only %d: going on with %d",
			l.place("NUMBER_OF_WORKERS"), c.NumberOfWorkers,
			l.place("MAX_WORKERS"), c.MaxWorkers, c.MaxWorkers)
		c.NumberOfWorkers = c.MaxWorkers
	}
	most := c.MaxClientsPerChild * c.MaxWorkers
	if l.good("MAX_CLIENTS_PER_CHILD", "MAX_WORKERS") && most < fewCollectors {
		l.warn("MAX_CLIENTS_PER_CHILD",
			"only %d collectors can connect: MAX_CLIENTS_PER_CHILD (%s) %d × MAX_WORKERS (%s) %d; "+
				"raise MAX_CLIENTS_PER_CHILD or MAX_WORKERS if more are to",
			most, l.place("MAX_CLIENTS_PER_CHILD"), c.MaxClientsPerChild,
			l.place("MAX_WORKERS"), c.MaxWorkers)
	}
	if l.good("limitToSubscribersOnly", "subscribers") &&
		c.LimitToSubscribersOnly && len(c.Subscribers) == 0 {
		l.warn("limitToSubscribersOnly",
			"limitToSubscribersOnly (%s) is true and subscribers is empty: nobody can connect",
			l.place("limitToSubscribersOnly"))
	}
	for _, other := range []string{"ARCHIVER_DB_DIR", "ARCHIVER_DATA"} {
		if _, given := l.origin[other]; given && c.ArchiverDBPath != "" {
			l.warn(other, "%s (%s) has no effect: ARCHIVER_DB_PATH (%s) takes its place",
				other, l.place(other), l.place("ARCHIVER_DB_PATH"))
		}
	}
}

// halvesFit tells whether the halves of a secret key belong together: a seed and its public key.
func halvesFit(secret string) bool {
	halves, err := hex.DecodeString(secret)
	return err == nil && bytes.Equal(ed25519.NewKeyFromSeed(halves[:ed25519.SeedSize]), halves)
}

func (l *loader) good(names ...string) bool {
	for _, name := range names {
		if l.bad[name] {
			return false
		}
	}
	return true
}

// clash reports two keys that contradict each other, with both places. Numbers are shown.
func (l *loader) clash(name, must, other string) {
	found := func(name string) string {
		k := keyByName[name]
		if k.kind() == kindNumber {
			return fmt.Sprintf("%s (%s) %s", name, l.place(name), k.show(l.cfg))
		}
		return fmt.Sprintf("%s (%s)", name, l.place(name))
	}
	l.fail("%s %s %s", found(name), must, found(other))
}
