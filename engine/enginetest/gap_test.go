package enginetest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"distributor/engine/status"
	"distributor/wsproto"
	"distributor/wsproto/shardus"
)

// receipts appends receipts to log number, one line each, and makes this log the active one.
func receipts(t *testing.T, d *Distributor, number, from, to int, ended bool) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(d.Logs, fmt.Sprintf("receipt-log%d.txt", number)),
		os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var text strings.Builder
	for n := from; n <= to; n++ {
		fmt.Fprintf(&text, "{\"cycle\":1,\"n\":%d}\n", n)
	}
	if ended {
		fmt.Fprintf(&text, "End: Number of entries: %d\n", to-from+1)
	}
	if _, err := f.WriteString(text.String()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.Logs, "active-receipt-log.txt"),
		fmt.Appendf(nil, "receipt-log%d.txt", number), 0o644); err != nil {
		t.Fatal(err)
	}
}

// numbersAndGaps returns the numbers of the records in messages, with "gap" for a notice of a gap.
// It verifies the notices and not the records.
func numbersAndGaps(t *testing.T, texts []string) (words []string) {
	t.Helper()
	for _, text := range texts {
		if !strings.HasPrefix(text, `{"notice":`) {
			_, n, _ := strings.Cut(text, `"n":`)
			n, _, _ = strings.Cut(n, "}")
			words = append(words, n)
			continue
		}
		_, body, err := shardus.VerifyMessage([]byte(text), owner, hashKey)
		var n struct{ Type, Stream, Reason, Next string }
		if err != nil || json.Unmarshal(body, &n) != nil || n.Stream != "receipt" {
			t.Fatalf("%s: %v", text, err)
		}
		words = append(words, n.Type)
	}
	return words
}

// TestGapWhileDown rotates the logs several times while the distributor is down, and deletes some
// unread ones. The remaining records must be sent. The gap must be in the log, the metrics and the
// status. Collectors that asked for notices must get one at the gap's place; others must get none.
func TestGapWhileDown(t *testing.T) {
	for name, down := range map[string]func(*Distributor){
		"stopped": func(d *Distributor) { d.Stop() },
		"killed":  (*Distributor).Kill,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := New(t, Settings{"ADMIN_ADDR": "127.0.0.1:0"})
			receipts(t, d, 1, 1, 1, false)
			d.Start()
			receipts(t, d, 1, 2, 3, false)
			floor, _ := Bounds(t, d.URL)
			wait := func(p *Peer, want ...string) {
				t.Helper()
				Until(t, fmt.Sprint(want), func() bool { return len(p.Texts()) >= len(want) }, nil)
				if got := numbersAndGaps(t, p.Texts()); !slices.Equal(got, want) {
					t.Fatalf("got %v, want %v", got, want)
				}
			}
			asking := PeerOptions{Key: newKey(t), From: floor.String(), Notices: "gap"}
			first := MustConnect(t, d.URL, asking)
			wait(first, "2", "3")
			Until(t, "it has confirmed", first.Confirmed, nil)
			_, reached := Bounds(t, d.URL)
			down(d)

			receipts(t, d, 1, 4, 5, true) // would be read from the checkpoint on, if the log existed
			receipts(t, d, 2, 6, 9, true)
			receipts(t, d, 3, 10, 11, true)
			receipts(t, d, 4, 12, 13, false)
			for _, gone := range []string{"receipt-log1.txt", "receipt-log2.txt"} {
				if err := os.Remove(filepath.Join(d.Logs, gone)); err != nil {
					t.Fatal(err)
				}
			}
			d.Start()
			line := d.WaitLog("the gap", func(l Line) bool {
				return l.Msg == "data log: records may be missing"
			})
			if a := line.Attrs; a["stream"] != "receipt" || a["reason"] != "log-gone" ||
				a["file"] != "receipt-log1.txt" || a["offset"] != 54.0 || a["next"] != "receipt-log3.txt" {
				t.Errorf("the log line about the gap has %v", a)
			}
			plain := MustConnect(t, d.URL, PeerOptions{Key: newKey(t), From: floor.String()})
			again := MustConnect(t, d.URL, asking)
			resumed := MustConnect(t, d.URL, PeerOptions{Key: newKey(t), From: reached.String(),
				Notices: "gap"})
			wait(plain, "2", "3", "10", "11", "12", "13")
			wait(again, "2", "3", "gap", "10", "11", "12", "13")
			wait(resumed, "gap", "10", "11", "12", "13")

			url := d.admin()
			var s status.Status
			Until(t, "the status has it", func() bool {
				s = statusOf(t, url)
				return s.Streams[2].Gaps == 1
			}, nil)
			if g := s.Streams[2].LastGap; g == nil || g.Reason != "log-gone" ||
				g.File != "receipt-log1.txt" || g.Next != "receipt-log3.txt" || g.Time.IsZero() {
				t.Errorf("the status has the last gap %+v", g)
			}
			if !slices.ContainsFunc(s.Events, func(e status.Event) bool {
				return e.Level == "error" && strings.Contains(e.Text, "records may be missing") &&
					strings.Contains(e.Text, "receipt-log3.txt")
			}) {
				t.Errorf("the gap is not in the events: %+v", s.Events)
			}
			if _, text := ask(t, "GET", url+"/metrics", ""); !strings.Contains(text,
				"\ndistributor_data_log_gaps_total{stream=\"receipt\"} 1\n") {
				t.Errorf("the gap is not in the metrics: %.2000s", text)
			}

			// After another restart the notice is at the same place, and only there.
			receipts(t, d, 4, 14, 14, false)
			wait(plain, "2", "3", "10", "11", "12", "13", "14")
			down(d)
			d.Start()
			later := MustConnect(t, d.URL, asking)
			wait(later, "2", "3", "gap", "10", "11", "12", "13", "14")
			tail := Run(t, d.Dir, "tail", "--url", d.URL, "--from", floor.String(), "--count", "7")
			if tail.Status != 6 || strings.Count(tail.Stdout, "\n") != 7 ||
				!strings.Contains(tail.Stderr, `"reason":"log-gone"`) ||
				!strings.Contains(tail.Stderr, "7 verified") {
				t.Errorf("tail: exit status %d: %s", tail.Status, tail.Stderr)
			}
			if gaps := d.Log(func(l Line) bool {
				return l.Msg == "data log: records may be missing"
			}); len(gaps) > 0 {
				t.Errorf("the gap was reported again: %v", gaps[0].Text)
			}
			d.Stop()
		})
	}
}

// TestGapWhileRunning checks that connected collectors get a notice of a gap if a log is cut while
// the distributor is behind, or deleted before it is read.
func TestGapWhileRunning(t *testing.T) {
	t.Parallel()
	d := New(t, nil)
	receipts(t, d, 1, 1, 1, false)
	d.Start()
	p := MustConnect(t, d.URL, PeerOptions{Key: newKey(t), From: "live", Notices: wsproto.NoticeGap})
	plain := MustConnect(t, d.URL, PeerOptions{Key: newKey(t), From: "live"})
	receipts(t, d, 1, 2, 2, true)
	Until(t, "the first record", func() bool { return len(p.Texts()) == 1 }, nil)
	receipts(t, d, 3, 3, 3, false) // log 2 came and went
	Until(t, "the rest", func() bool { return len(p.Texts()) == 3 && len(plain.Texts()) == 2 }, nil)
	if got := numbersAndGaps(t, p.Texts()); !slices.Equal(got, []string{"2", "gap", "3"}) {
		t.Errorf("%v", got)
	}
	if got := numbersAndGaps(t, plain.Texts()); !slices.Equal(got, []string{"2", "3"}) {
		t.Errorf("%v", got)
	}
	d.Stop()
}
