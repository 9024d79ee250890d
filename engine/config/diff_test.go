package config

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"testing"
)

func TestDiff(t *testing.T) {
	from, _, err := load(t, `{"subscribers": [
		{"publicKey": "`+someKey+`", "expirationTimestamp": 0, "subscriptionType": "FIREHOSE"},
		{"publicKey": "`+otherKey+`", "expirationTimestamp": 0, "subscriptionType": "FIREHOSE"}], "RATE_LIMIT": 5, "ADMIN_ADDR": "localhost:1"}`, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	pair := hex.EncodeToString(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	to, _, err := load(t, `{"subscribers": [
		{"publicKey": "`+samplePublicKey+`", "expirationTimestamp": 0, "subscriptionType": "FIREHOSE"},
		{"publicKey": "`+otherKey+`", "expirationTimestamp": 9, "subscriptionType": "FIREHOSE"}],
		"limitToSubscribersOnly": true, "stopDistributionAtCycle": 7,
		"LOG_LEVEL": "debug", "PING_TIMEOUT_MS": 61000,
		"DISTRIBUTOR_PORT": 6200, "ARCHIVER_DATA": {"cycleDB": "c"},
		"DISTRIBUTOR_PUBLIC_KEY": "`+pair[64:]+`", "DISTRIBUTOR_SECRET_KEY": "`+pair+`"}`, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	applied, refused := Diff(from, to)
	wantApplied := "[stopDistributionAtCycle: -1 → 7 limitToSubscribersOnly: false → true" +
		" subscribers: 2 subscribers → 2 subscribers (1 added, 1 removed, 1 changed)" +
		" PING_TIMEOUT_MS: 60000 → 61000 RATE_LIMIT: 5 → 5000 LOG_LEVEL: info → debug]"
	if got := fmt.Sprint(applied); got != wantApplied {
		t.Errorf("applied\n%s\nwant\n%s", got, wantApplied)
	}
	wantRefused := "[DISTRIBUTOR_PORT: 6100 → 6200 DISTRIBUTOR_PUBLIC_KEY: " + samplePublicKey +
		" → " + pair[64:] +
		" DISTRIBUTOR_SECRET_KEY: (secret) → (secret)" +
		` ARCHIVER_DATA: {"cycleDB":"cycles.sqlite3","accountDB":"accounts.sqlite3","transactionDB":"transactions.sqlite3","receiptDB":"receipts.sqlite3","originalTxDataDB":"originalTxsData.sqlite3"}` +
		` → {"cycleDB":"c","accountDB":"accounts.sqlite3","transactionDB":"transactions.sqlite3","receiptDB":"receipts.sqlite3","originalTxDataDB":"originalTxsData.sqlite3"}` +
		" ADMIN_ADDR: localhost:1 → 127.0.0.1:6102]"
	if got := fmt.Sprint(refused); got != wantRefused {
		t.Errorf("refused\n%s\nwant\n%s", got, wantRefused)
	}

	// The reloaded configuration differs from the old one by the applied changes, and from the new one
	// by the refused ones.
	now := from.Reloaded(to)
	if a, r := Diff(from, now); fmt.Sprint(a) != wantApplied || len(r) != 0 {
		t.Errorf("after the reload: %v, %v", a, r)
	}
	if a, r := Diff(now, to); fmt.Sprint(r) != wantRefused || len(a) != 0 {
		t.Errorf("still to come: %v, %v", a, r)
	}
	if from.LimitToSubscribersOnly || from.RateLimit != 5 {
		t.Error("the old configuration was changed")
	}
}

// A reload reads the file again: a key that was removed returns to its default.
func TestReloadForgetsRemovedKeys(t *testing.T) {
	t.Chdir(t.TempDir())
	src := Source{Env: []string{"LOG_FORMAT=json"}, Args: []string{"--MAX_WORKERS", "9"}}
	writeFile(t, DefaultFile, `{"RATE_LIMIT": 5, "MAX_WORKERS": 3}`)
	old, _, err := Load(src)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, DefaultFile, `{}`)
	next, _, err := Load(src)
	if err != nil {
		t.Fatal(err)
	}
	applied, refused := Diff(old, next)
	if fmt.Sprint(applied) != "[RATE_LIMIT: 5 → 5000]" || len(refused) != 0 {
		t.Errorf("%v, %v", applied, refused)
	}
}

// The keys that a running process can change. Add a key here only if a running process applies it.
func TestReloadableKeys(t *testing.T) {
	var got []string
	for _, k := range keys {
		if k.reload {
			got = append(got, k.name)
		}
	}
	want := "[DATA_LOG_STALE_MS stopDistributionAtCycle limitToSubscribersOnly subscribers" +
		" HIDE_SUBSCRIBERS HANDSHAKE_WINDOW_MS NUMBER_OF_WORKERS MAX_WORKERS" +
		" MAX_CLIENTS_PER_CHILD RESUME_WINDOW_MS PING_INTERVAL_MS PING_TIMEOUT_MS" +
		" SLOW_LAG_BYTES SLOW_RATE SLOW_WINDOW_MS LINGER_MS CLIENT_INPUT_BYTES CLIENT_INPUT_RATE COMPRESSION_LEVEL RATE_LIMIT" +
		" UPGRADE_RATE_LIMIT MAX_HTTP_CONNECTIONS API_TIMEOUT_MS API_MEMORY_BYTES DRAIN_MS" +
		" HANDOVER_DRAIN_MS LOG_LEVEL VERBOSE]"
	if fmt.Sprint(got) != want {
		t.Errorf("got %v", got)
	}
}
