package enginetest

import (
	"strings"
	"testing"
	"time"

	"distributor/engine/simulator"
	"distributor/wsproto/shardus"
)

// TestAddExecutionShardKey checks that receipts of the newest archiver are sent unchanged, and that
// the log names the setting. With the setting, every receipt has executionShardKey and verifies,
// and no other member is changed.
func TestAddExecutionShardKey(t *testing.T) {
	t.Parallel()
	const without = "receipts come without executionShardKey"
	d := New(t, Settings{})
	var want []string
	write := func(seed string) {
		t.Helper()
		want = nil
		archive(t.Context(), t, simulator.Options{Dir: d.Logs}, seed, func(o *simulator.Options) {
			o.Unpaced, o.Rates, o.Count = true, simulator.Spread(1, simulator.Receipt), 60
			o.Odd = simulator.Odd{NonCanonical: 0.2, Refused: 0.1, Repeated: 0.1}
			o.OnWrite = func(_ string, line []byte, _ time.Time) { want = append(want, string(line)) }
		})
	}
	receive := func(p *Peer, sent func(testing.TB, []byte) []byte) {
		t.Helper()
		Until(t, "all receipts are there", func() bool { return len(p.Texts()) >= len(want) }, nil)
		for i, text := range p.Texts() {
			stream, record, err := shardus.VerifyMessage([]byte(text), owner, hashKey)
			if err != nil || stream != simulator.Receipt {
				t.Fatalf("%s %.200s: %v", stream, text, err)
			}
			logged, err := shardus.AppendRecord(nil, []byte(want[i]))
			if err != nil {
				t.Fatal(err)
			}
			if should := sent(t, logged); string(record) != string(should) {
				t.Fatalf("receipt %d is %.300s\nwant %.300s", i, record, should)
			}
		}
	}
	said := func() int {
		return len(d.Log(func(l Line) bool { return strings.HasPrefix(l.Msg, without) }))
	}
	write("before the start")

	d.Start()
	p := MustConnect(t, d.URL, PeerOptions{Key: newKey(t)})
	write("as logged")
	receive(p, func(_ testing.TB, record []byte) []byte { return record })
	Until(t, "the log says that receipts lack the member", func() bool { return said() > 0 }, nil)
	d.Stop()
	if n := said(); n != 1 {
		t.Errorf("the log says %d times that receipts lack the member", n)
	}

	d.Configure(Settings{"ADD_EXECUTION_SHARD_KEY": true})
	d.Start()
	p = MustConnect(t, d.URL, PeerOptions{Key: newKey(t)})
	write("completed")
	receive(p, withShardKey)
	if n := said(); n != 0 {
		t.Errorf("the log says %d times that receipts lack the member, which is added", n)
	}
	d.Stop()
}
