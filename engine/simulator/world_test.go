package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"distributor/wsproto/shardus"
)

const someTime = 1757400000123

func TestRecordsAreCanonical(t *testing.T) {
	for _, stream := range Streams {
		w, seen := NewWorld("canonical", 0), map[string]bool{}
		var record []byte
		for i := range 3000 {
			record = w.Append(record[:0], stream, someTime)
			if !shardus.IsCanonical(record) {
				t.Fatalf("%s %d is not canonical: %.300s", stream, i, record)
			}
			if seen[string(record)] {
				t.Fatalf("%s %d was there before", stream, i)
			}
			seen[string(record)] = true
		}
	}
}

func TestMeanSizes(t *testing.T) {
	want := map[string]float64{Cycle: 8200, OriginalTx: 910, Receipt: 5900, "mix": 4550}
	sum, n := map[string]float64{}, map[string]float64{}
	for _, seed := range []string{"a", "b", "c", "d"} {
		w, mix := NewWorld(seed, 1), StandardMix()
		var record []byte
		for range 8000 {
			stream := mix.Next()
			record = w.Append(record[:0], stream, someTime)
			for _, of := range []string{stream, "mix"} {
				sum[of] += float64(len(record))
				n[of]++
			}
		}
	}
	for of, bytes := range want {
		if mean := sum[of] / n[of]; mean < 0.95*bytes || mean > 1.05*bytes {
			t.Errorf("%s: mean %.0f bytes, want %.0f within 5 %%", of, mean, bytes)
		}
	}
}

func TestShapes(t *testing.T) {
	w := NewWorld("shapes", 7)
	record := func(stream string, ms int64) map[string]json.RawMessage {
		var m map[string]json.RawMessage
		if err := json.Unmarshal(w.Append(nil, stream, ms), &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	is := func(what string, got json.RawMessage, want string) {
		t.Helper()
		if string(got) != want {
			t.Errorf("%s is %s, want %s", what, got, want)
		}
	}

	first, second := record(Cycle, 1000_000), record(Cycle, 1060_999)
	is("first counter", first["counter"], "7")
	is("second counter", second["counter"], "8")
	var body map[string]json.RawMessage
	if err := json.Unmarshal(second["cycleRecord"], &body); err != nil {
		t.Fatal(err)
	}
	is("counter inside", body["counter"], "8")
	is("start", body["start"], fmt.Sprint(1000-int64(ahead.Seconds())+cycleSeconds))
	is("duration", body["duration"], fmt.Sprint(cycleSeconds))
	is("marker", body["marker"], string(second["cycleMarker"]))
	is("previous", body["previous"], string(first["cycleMarker"]))

	handedIn := record(OriginalTx, someTime)
	is("timestamp", handedIn["timestamp"], "1757400000123")
	is("cycle", handedIn["cycle"], "8")
	record(Cycle, someTime)
	applied := record(Receipt, someTime+1000)
	is("receipt's timestamp", applied["timestamp"], "1757400000123")
	is("receipt's cycle", applied["cycle"], "8")
	is("receiptId", applied["receiptId"], string(handedIn["txId"]))
	var tx map[string]json.RawMessage
	if err := json.Unmarshal(applied["tx"], &tx); err != nil {
		t.Fatal(err)
	}
	is("tx.timestamp", tx["timestamp"], "1757400000123")
	is("tx.originalTxData", tx["originalTxData"], string(handedIn["originalTxData"]))
	if other := record(Receipt, someTime); string(other["receiptId"]) == string(handedIn["txId"]) {
		t.Error("two receipts of one transaction")
	}
}

// Transactions that are submitted faster than they are applied must neither accumulate nor mix.
func TestWaitingOverflow(t *testing.T) {
	w := NewWorld("overflow", 1)
	var ids []string
	id := func(stream, member string) string {
		var m map[string]any
		if err := json.Unmarshal(w.Append(nil, stream, someTime), &m); err != nil {
			t.Fatal(err)
		}
		return m[member].(string)
	}
	for range waitingMost + 10 {
		ids = append(ids, id(OriginalTx, "txId"))
	}
	for i, want := range ids[10:] {
		if got := id(Receipt, "receiptId"); got != want {
			t.Fatalf("receipt %d is of %s, want %s", i, got, want)
		}
	}
}

func TestSeed(t *testing.T) {
	text := func(seed string) (b []byte) {
		w, mix := NewWorld(seed, 1), StandardMix()
		for range 200 {
			b = w.Append(b, mix.Next(), someTime)
		}
		return b
	}
	if !bytes.Equal(text("one"), text("one")) {
		t.Error("one seed, two texts")
	}
	if bytes.Equal(text("one"), text("two")) {
		t.Error("two seeds, one text")
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	w, mix := NewWorld("allocations", 1), StandardMix()
	buf := make([]byte, 0, 1<<20)
	if n := testing.AllocsPerRun(1000, func() {
		buf = w.Append(buf[:0], mix.Next(),
			someTime)
	}); n != 0 {
		t.Errorf("%v allocations a record", n)
	}
}

func TestMix(t *testing.T) {
	count := map[string]int{}
	mix := StandardMix()
	if first := mix.Next(); first != Cycle {
		t.Errorf("begins with %s, not with a cycle", first)
	}
	for range 5000 {
		count[mix.Next()]++
	}
	for stream, want := range map[string]int{Cycle: 100, OriginalTx: 1400, Receipt: 3500} {
		if d := count[stream] - want; d < -1 || d > 1 {
			t.Errorf("%d of %s in 5000, want %d", count[stream], stream, want)
		}
	}
	lone := NewMix(0, 0, 0.5)
	for range 10 {
		if s := lone.Next(); s != Receipt {
			t.Fatalf("%s, which has no weight", s)
		}
	}
}

func BenchmarkWorld(b *testing.B) {
	run := func(name string, mix *Mix) {
		b.Run(name, func(b *testing.B) {
			w := NewWorld("bench", 1)
			buf := make([]byte, 0, 1<<20)
			bytes := 0
			b.ReportAllocs()
			for b.Loop() {
				buf = w.Append(buf[:0], mix.Next(), someTime)
				bytes += len(buf)
			}
			b.SetBytes(int64(bytes / b.N))
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
	run("mix", StandardMix())
	run(Cycle, NewMix(1, 0, 0))
	run(OriginalTx, NewMix(0, 1, 0))
	run(Receipt, NewMix(0, 0, 1))
}
