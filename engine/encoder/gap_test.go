package encoder

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"distributor/engine/notice"
	"distributor/mmaplog/datalog"
	"distributor/wsproto/shardus"
)

// lose makes a gap in the receipts: the first log remains, the second one is missing, and the third
// one holds one record.
func (r *rig) lose(record string) {
	r.t.Helper()
	r.append("receipt", "End: Number of entries: 1\n")
	for name, text := range map[string]string{"receipt-log3.txt": record + "\n",
		"active-receipt-log.txt": "receipt-log3.txt"} {
		if err := os.WriteFile(filepath.Join(r.logs, name), []byte(text), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
}

// A gap becomes a signed notice at the place in the frame log where the records are missing.
func TestNoticeOfAGap(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := newRig(t, dir, datalog.PerStream[datalog.Position]{})
	defer r.close()
	r.append("receipt", `{"n":1}`+"\n")
	r.waitFor(datalog.Receipt, 1)
	before := r.frames.Head()
	r.lose(`{"n":4}`)
	r.waitFor(datalog.Receipt, 2)
	list, err := notice.Load(dir)
	if err != nil || len(list.Notices) != 1 || list.Notices[0].Offset != before {
		t.Fatalf("%+v, %v; the gap is at %d", list, err, before)
	}
	public, err := shardus.ParsePublicKey(secretKeyHex[64:])
	if err != nil {
		t.Fatal(err)
	}
	hashKey, err := shardus.ParseHashKey(hashKeyHex)
	if err != nil {
		t.Fatal(err)
	}
	member, text, err := shardus.VerifyMessage([]byte(list.Notices[0].Text), public, hashKey)
	if err != nil || member != "notice" || !shardus.IsCanonical(text) {
		t.Fatalf("%s %s, %v", member, text, err)
	}
	var got gapNotice
	if err := json.Unmarshal(text, &got); err != nil || got.Time == 0 {
		t.Fatalf("%s, %v", text, err)
	}
	got.Time = 0
	if want := (gapNotice{Type: "gap", Stream: "receipt", Reason: "logs-missing",
		After: place{"receipt-log1.txt", 34}, Next: "receipt-log3.txt"}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	// The frame log is as if the notice had never been saved.
	if got := r.messages()["receipt"]; len(got) != 2 {
		t.Errorf("%d frames", len(got))
	}
}

// No record behind a gap is sent, and no progress is saved, before the notice is on disk.
func TestNoticeThatCannotBeSaved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := newRig(t, dir, datalog.PerStream[datalog.Position]{})
	defer r.close()
	r.append("receipt", `{"n":1}`+"\n")
	r.waitFor(datalog.Receipt, 1)
	obstacle := filepath.Join(dir, "notices.json", "in the way")
	if err := os.MkdirAll(obstacle, 0o755); err != nil {
		t.Fatal(err)
	}
	r.lose(`{"n":4}`)
	r.wait("it is said", func() bool { return r.encoder.Blocked() != nil })
	n := r.encoder.Stats(datalog.Receipt).Frames
	if p := r.encoder.Progress().Position[datalog.Receipt]; p.Number != 1 || n != 1 {
		t.Errorf("went on to %+v, %d frames", p, n)
	}
	if err := os.RemoveAll(filepath.Dir(obstacle)); err != nil {
		t.Fatal(err)
	}
	r.waitFor(datalog.Receipt, 2)
	if list, err := notice.Load(dir); err != nil || len(list.Notices) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	r.wait("progress", func() bool {
		return r.encoder.Progress().Position[datalog.Receipt].Number == 3
	})
	if err := r.encoder.Blocked(); err != nil {
		t.Error(err)
	}
}

// A gap is reported even if no record has followed it yet.
func TestNoticeBeforeTheNextRecord(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := newRig(t, dir, datalog.PerStream[datalog.Position]{})
	defer r.close()
	woken := r.woken()
	r.lose("")
	r.wait("progress", func() bool {
		return r.encoder.Progress().Position[datalog.Receipt].Number == 3
	})
	list, err := notice.Load(dir)
	if err != nil || len(list.Notices) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	r.wait(fmt.Sprint("woken since ", woken), func() bool { return r.woken() > woken })
}
