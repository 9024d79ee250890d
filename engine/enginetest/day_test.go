package enginetest

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"distributor/engine/simulator"
	"distributor/wsproto/shardus"
)

// dayRates are records a second of cycles, originalTx and receipts. A cycle of the network lasts a
// minute; here it lasts a second, and what the stand-ins wait for is shorter in proportion.
var dayRates = [...]float64{1, 8, 12}

// ledger has the records that the archiver logs, as collectors must receive them.
type ledger struct {
	mu  sync.Mutex // guards due
	due map[string]map[string]bool
}

func (l *ledger) note(t testing.TB, stream string, line []byte) {
	record, err := shardus.AppendRecord(nil, line)
	if err != nil {
		t.Errorf("the archiver logged %.200q: %v", line, err)
		return
	}
	if stream == simulator.Receipt {
		record = withShardKey(t, record)
	}
	sum := sha256.Sum256(record)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.due[stream] == nil {
		l.due[stream] = make(map[string]bool)
	}
	l.due[stream][hex.EncodeToString(sum[:12])] = true
}

// withShardKey returns the receipt that ADD_EXECUTION_SHARD_KEY makes, by a full JSON parse.
func withShardKey(t testing.TB, receipt []byte) []byte {
	v, err := shardus.Parse(receipt)
	if err != nil {
		t.Error(err)
		return receipt
	}
	if v.Get("executionShardKey").Kind() != shardus.Undefined {
		return receipt
	}
	signed := v.Get("signedReceipt")
	key := signed.Get("tx").Get("source")
	if proposal := signed.Get("proposal"); proposal.Kind() != shardus.Undefined {
		key = proposal.Get("executionShardKey")
	}
	with, err := v.With("executionShardKey", key).AppendCanonical(nil)
	if err != nil {
		t.Error(err)
	}
	return with
}

// TestDay runs two stand-ins for the real collector, with npm ws 7 and 8, for MINUTES in a network
// namespace of their own. The binary listens on a socket as a service manager passes it, and is
// killed, restarted and replaced all the time. Neither stand-in may give up. Both must receive
// every record that was logged while they ran, and at the end have the archiver's tables. `make
// day` runs the test.
func TestDay(t *testing.T) {
	minutes, err := strconv.ParseFloat(os.Getenv("MINUTES"), 64)
	if err != nil {
		t.Skip("MINUTES says for how long: make day")
	}
	needStandin(t)
	here, there := newNetns(t), newNetns(t)
	here.connect(there, "10.231.0.1/30", "10.231.0.2/30")

	d := New(t, Settings{})
	databases := filepath.Join(d.Dir, "databases")
	keys7, entry7 := newSubscriber(t)
	keys8, entry8 := newSubscriber(t)
	d.Configure(Settings{
		"LISTEN_ADDR": "10.231.0.1", "DISTRIBUTOR_PORT": 6100, "NUMBER_OF_WORKERS": 2,
		"ARCHIVER_DB_DIR": databases, "HANDOVER_DRAIN_MS": 10_000, "ADD_EXECUTION_SHARD_KEY": true,
		"limitToSubscribersOnly": true, "subscribers": []any{entry7, entry8},
	})
	d.Socket = here.listen("10.231.0.1:6100")

	// Records from before the start, which collectors get only over the HTTP API.
	archiver := simulator.Options{
		Dir: d.Logs, Databases: databases, Rates: dayRates,
		Log: simulator.LogOptions{MaxBytes: 2 << 20},
	}
	archive(t.Context(), t, archiver, "before", func(o *simulator.Options) {
		o.Unpaced, o.Count = true, 600
	})
	d.Start()
	settings := standinSettings{
		URL: "http://10.231.0.1:6100", Distributor: samplePublicKey,
		Window: 21, WaitMS: 250, ReconnectMS: 1500, Lose: 0.02,
	}
	settings.WS, settings.Keys = 7, keys7
	standins := []*standin{startStandin(t, there, "ws 7", settings)}
	settings.WS, settings.Keys = 8, keys8
	standins = append(standins, startStandin(t, there, "ws 8", settings))
	for _, c := range standins {
		Until(t, c.name+" is connected", func() bool {
			opened, _, _ := c.state()
			return opened > 0
		}, nil)
	}

	l := &ledger{due: make(map[string]map[string]bool)}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	writing := make(chan struct{})
	go func() {
		defer close(writing)
		archive(ctx, t, archiver, "day", func(o *simulator.Options) {
			o.Odd = simulator.Odd{
				NonCanonical: 0.01, Damaged: 0.01, Blank: 0.05, Refused: 0.01, Repeated: 0.02,
			}
			o.OnWrite = func(stream string, line []byte, _ time.Time) { l.note(t, stream, line) }
		})
	}()

	faults := causeFaults(t, d, standins, time.Duration(minutes*float64(time.Minute)))

	// A collector verifies a cycle only after some newer ones.
	stop()
	<-writing
	last := maxCycle(t, databases)
	archive(t.Context(), t, archiver, "after", func(o *simulator.Options) {
		o.Rates, o.Count = [...]float64{10, 0, 0}, int64(settings.Window)+2
		o.OnWrite = func(stream string, line []byte, _ time.Time) { l.note(t, stream, line) }
	})
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		behind := slices.DeleteFunc(slices.Clone(standins), func(c *standin) bool {
			c.mustRun()
			_, cycle, _ := c.state()
			return cycle >= last
		})
		if len(behind) == 0 {
			break
		}
		if time.Now().After(end) {
			_, cycle, f := behind[0].state()
			t.Fatalf("%s has verified up to cycle %d of %d: %+v", behind[0].name, cycle, last, f)
		}
	}
	for _, c := range standins {
		c.stop()
		complete(t, c, databases, last, l)
		_, _, f := c.state()
		t.Logf("%s: %+v", c.name, f)
	}
	t.Logf("%d cycles; faults: %v", last+1, faults)
	d.Stop()
}

// archive runs an archiver until ctx ends, or until the limits in o.
func archive(
	ctx context.Context, t testing.TB, o simulator.Options, seed string, set func(*simulator.Options),
) {
	o.Seed = seed
	set(&o)
	if _, err := simulator.Run(ctx, o); err != nil {
		t.Error(err)
	}
}

// causeFaults causes a fault of the distributor every few seconds, and returns how often each
// happened.
func causeFaults(
	t *testing.T, d *Distributor, standins []*standin, length time.Duration,
) map[string]int {
	rng := rand.New(rand.NewPCG(*seed, 10))
	faults := map[string]func(){
		"kill -9": func() {
			d.Kill()
			time.Sleep(time.Duration(rng.IntN(2000)) * time.Millisecond) // RestartSec
			d.Start()
		},
		"restart": func() {
			d.Stop()
			time.Sleep(time.Duration(rng.IntN(500)) * time.Millisecond)
			d.Start()
		},
		"handover": func() {
			d.HandOver()
			d.Alone()
		},
		"workers killed": func() {
			for _, w := range d.Workers() {
				w.kill()
			}
		},
		"query process killed": func() { d.Query().kill() },
	}
	names := slices.Sorted(maps.Keys(faults))
	done := make(map[string]int)
	for end := time.Now().Add(length); time.Now().Before(end); {
		pause := time.Now().Add(time.Duration(2000+rng.IntN(6000)) * time.Millisecond)
		for ; time.Now().Before(pause); time.Sleep(20 * time.Millisecond) {
			for _, c := range standins {
				c.mustRun()
			}
		}
		name := names[rng.IntN(len(names))]
		faults[name]()
		done[name]++
	}
	return done
}

func maxCycle(t testing.TB, databases string) (last int64) {
	t.Helper()
	db := openReadOnly(t, filepath.Join(databases, "cycles.sqlite3"))
	if err := db.QueryRow("SELECT max(counter) FROM cycles").Scan(&last); err != nil {
		t.Fatal(err)
	}
	return last
}

func openReadOnly(t testing.TB, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+path+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(1) // what is attached is attached to one
	return db
}

// complete compares a stand-in's tables with the archiver's, and the records that it received with
// those that were logged. A real collector verifies from cycle 1 on.
func complete(t *testing.T, c *standin, databases string, last int64, l *ledger) {
	t.Helper()
	db := openReadOnly(t, c.database)
	for _, table := range []struct{ name, columns, cycle string }{
		{"cycles", "cycleMarker, counter, cycleRecord", "counter"},
		{"originalTxsData", "txId, timestamp, cycle, originalTxData", "cycle"},
		{"receipts", "receiptId, tx, cycle, applyTimestamp, timestamp, signedReceipt, afterStates, " +
			"beforeStates, appReceiptData, executionShardKey, globalModification", "cycle"},
	} {
		file := "file:" + filepath.Join(databases, table.name+".sqlite3") + "?mode=ro"
		if _, err := db.Exec("ATTACH ? AS archiver", file); err != nil {
			t.Fatal(err)
		}
		rows := func(of string) string {
			return fmt.Sprintf("SELECT %s FROM %s.%s WHERE %s BETWEEN 1 AND %d",
				table.columns, of, table.name, table.cycle, last)
		}
		var all, missing, other int
		for query, n := range map[string]*int{
			rows("archiver"): &all,
			rows("archiver") + " EXCEPT " + rows("main"): &missing,
			rows("main") + " EXCEPT " + rows("archiver"): &other,
		} {
			if err := db.QueryRow("SELECT count(*) FROM (" + query + ")").Scan(n); err != nil {
				t.Fatalf("%s: %v", query, err)
			}
		}
		if missing != 0 || other != 0 || all == 0 {
			t.Errorf("%s, %s: of the archiver's %d rows %d are missing, %d are none of its",
				c.name, table.name, all, missing, other)
		}
		if _, err := db.Exec("DETACH archiver"); err != nil {
			t.Fatal(err)
		}
	}
	heard, err := db.Query("SELECT stream, hash FROM heard")
	if err != nil {
		t.Fatal(err)
	}
	defer heard.Close()
	left := make(map[string]map[string]bool)
	for stream, due := range l.due {
		left[stream] = maps.Clone(due)
	}
	strange := 0
	for heard.Next() {
		var stream, hash string
		if err := heard.Scan(&stream, &hash); err != nil {
			t.Fatal(err)
		}
		if !left[stream][hash] {
			strange++
		}
		delete(left[stream], hash)
	}
	var unheard []string
	for stream, due := range left {
		if len(due) > 0 {
			unheard = append(unheard, fmt.Sprintf("%d of %d %s", len(due), len(l.due[stream]), stream))
		}
	}
	if len(unheard) > 0 || strange > 0 {
		t.Errorf("%s: on the firehose it has not heard %s; %d messages are no record that was logged",
			c.name, strings.Join(unheard, ", "), strange)
	}
}
