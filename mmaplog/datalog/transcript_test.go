package datalog

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// The transcripts are recorded behaviour of writers: steps in a directory, and the records that a
// correct reader delivers. This factor shortens their pauses.
const transcriptSpeed = 0.15

type transcript struct {
	Name     string
	Setup    []step
	Steps    []step
	Expected map[string][]string
	Optional []string
	Config   struct {
		StopDistributionAtCycle float64
	}
}

type step struct {
	Op, File, To, Stream, How, Then string
	Ids                             []string
	Text, B64, Eol                  *string
	N, Cut                          int
	Ms, Size                        int64
	NoLastEol                       bool            `json:"no_last_eol"`
	From                            json.RawMessage // a number of bytes, or the old name
}

func (s step) fromNumber() int {
	n, _ := strconv.Atoi(string(s.From))
	return n
}

var idRange = regexp.MustCompile(`^(\w+):(\d+)\.\.(\d+)(?:\*(\d+))?$`)

func expandIDs(ids []string) (out []string) {
	for _, id := range ids {
		m := idRange.FindStringSubmatch(id)
		if m == nil {
			out = append(out, id)
			continue
		}
		from, _ := strconv.Atoi(m[2])
		to, _ := strconv.Atoi(m[3])
		times, _ := strconv.Atoi(m[4])
		for range max(times, 1) {
			for k := from; k <= to; k++ {
				out = append(out, m[1]+"-"+strconv.Itoa(k))
			}
		}
	}
	return out
}

func readJSONLines[T any](t *testing.T, name string) (rows []T) {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(z)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var row T
			if err := json.Unmarshal(line, &row); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			rows = append(rows, row)
		}
		if err != nil {
			return rows
		}
	}
}

func loadRecords(t *testing.T) map[string][]byte {
	lines := map[string][]byte{}
	for _, r := range readJSONLines[struct {
		ID      string
		Line    *string
		LineB64 []byte `json:"line_b64"`
	}](t, "records.jsonl.gz") {
		if r.Line != nil {
			r.LineB64 = []byte(*r.Line)
		}
		lines[r.ID] = r.LineB64
	}
	return lines
}

type player struct {
	dir   string
	lines map[string][]byte
}

func (p player) data(s step) []byte {
	if s.Text != nil {
		return []byte(*s.Text)
	}
	eol := "\n"
	if s.Eol != nil {
		eol = *s.Eol
	}
	var b []byte
	for _, id := range expandIDs(s.Ids) {
		line, ok := p.lines[id]
		if !ok {
			panic("no record " + id)
		}
		b = append(append(b, line...), eol...)
	}
	b = append(b, s.Then...)
	if s.NoLastEol {
		b = b[:len(b)-len(eol)]
	}
	if s.Cut > 0 {
		b = b[:min(s.Cut, len(b))]
	} else {
		b = b[:len(b)+s.Cut]
	}
	from := s.fromNumber()
	if from < 0 {
		from += len(b)
	}
	return b[min(from, len(b)):]
}

func (p player) path(name string) string { return filepath.Join(p.dir, name) }

func (p player) pause(ms int64) {
	time.Sleep(time.Duration(float64(ms) * transcriptSpeed * float64(time.Millisecond)))
}

func (p player) perform(steps []step) error {
	for _, s := range steps {
		if err := p.step(s); err != nil {
			return fmt.Errorf("%s: %w", s.Op, err)
		}
	}
	return nil
}

func (p player) step(s step) error {
	switch s.Op {
	case "put":
		return os.WriteFile(p.path(s.File), p.data(s), 0o644)
	case "append":
		return appendTo(p.path(s.File), p.data(s))
	case "each":
		for _, id := range expandIDs(s.Ids) {
			one := s
			one.Ids = []string{id}
			if err := appendTo(p.path(s.File), p.data(one)); err != nil {
				return err
			}
			p.pause(s.Ms)
		}
		return nil
	case "active":
		path := p.path("active-" + s.Stream + "-log.txt")
		text := fmt.Sprintf("%s-log%d.txt", s.Stream, s.N)
		if s.Text != nil {
			text = *s.Text
		}
		switch s.How {
		case "rename":
			if err := os.WriteFile(path+".tmp", []byte(text), 0o644); err != nil {
				return err
			}
			return os.Rename(path+".tmp", path)
		case "slow":
			if err := os.WriteFile(path, nil, 0o644); err != nil {
				return err
			}
			p.pause(s.Ms)
		}
		return os.WriteFile(path, []byte(text), 0o644)
	case "rename":
		var from string
		if err := json.Unmarshal(s.From, &from); err != nil {
			return err
		}
		return os.Rename(p.path(from), p.path(s.To))
	case "unlink":
		return os.RemoveAll(p.path(s.File))
	case "truncate":
		return os.Truncate(p.path(s.File), s.Size)
	case "mkdir":
		return os.MkdirAll(p.path(s.File), 0o755)
	case "sleep":
		p.pause(s.Ms)
		return nil
	}
	return fmt.Errorf("unknown step")
}

func appendTo(path string, b []byte) error {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := file.Write(b); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}

// play does the steps of a transcript with three followers, and returns the first difference from
// the expected records.
func (p player) play(tr transcript, noWatch bool) error {
	if err := p.perform(tr.Setup); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := map[string][]string{}
	for _, stream := range Streams {
		f, err := NewFollower(Options{Dir: p.dir, Stream: stream, Interval: 15 * time.Millisecond,
			noWatch: noWatch})
		if err != nil {
			return err
		}
		wg.Go(func() {
			defer f.Close()
			var b Batch
			for f.Next(ctx, &b) == nil {
				mu.Lock()
				for _, r := range b.Records {
					got[stream.String()] = append(got[stream.String()], string(r.Line))
				}
				mu.Unlock()
			}
		})
	}
	if err := p.perform(tr.Steps); err != nil {
		return err
	}
	optional := map[string]bool{}
	for _, id := range tr.Optional {
		optional[string(p.lines[id])] = true
	}
	// Other delivered lines are those that the encoder refuses. stopDistributionAtCycle is not a
	// task of this package.
	keep := func(line string) bool {
		var v struct{ Cycle, Counter float64 }
		err := json.Unmarshal([]byte(line), &v)
		stop := tr.Config.StopDistributionAtCycle
		return !optional[line] && (err == nil || json.Valid([]byte(line))) &&
			(stop == 0 || max(v.Cycle, v.Counter) <= stop)
	}
	differs := func() error {
		mu.Lock()
		defer mu.Unlock()
		for _, stream := range Streams {
			var want, have []string
			for _, id := range expandIDs(tr.Expected[stream.String()]) {
				if line := string(p.lines[id]); !optional[line] {
					want = append(want, line)
				}
			}
			for _, line := range got[stream.String()] {
				if keep(line) {
					have = append(have, line)
				}
			}
			if !slices.Equal(want, have) {
				n := 0
				for n < min(len(want), len(have)) && want[n] == have[n] {
					n++
				}
				return fmt.Errorf("%s: %d of %d records, first difference at %d", stream, len(have), len(want),
					n)
			}
		}
		return nil
	}
	deadline := time.Now().Add(time.Minute)
	for differs() != nil && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	p.pause(400) // so that unexpected records can come
	stop()
	wg.Wait()
	return differs()
}

func TestTranscripts(t *testing.T) {
	lines := loadRecords(t)
	transcripts := readJSONLines[transcript](t, "transcripts.jsonl.gz")
	if len(transcripts) != 53 {
		t.Fatalf("%d transcripts, want 53", len(transcripts))
	}
	for _, noWatch := range []bool{false, true} {
		name := "inotify"
		if noWatch {
			name = "polling"
		}
		t.Run(name, func(t *testing.T) {
			var wg sync.WaitGroup
			slots := make(chan struct{}, 12) // each uses 3 of a user's 128 inotify instances
			for i, tr := range transcripts {
				if testing.Short() && (i%2 == 1) != noWatch {
					continue // the short run plays each transcript in one of the two ways
				}
				dir := t.TempDir()
				wg.Go(func() {
					slots <- struct{}{}
					defer func() { <-slots }()
					if err := (player{dir, lines}).play(tr, noWatch); err != nil {
						t.Errorf("%s: %v", tr.Name, err)
					}
				})
			}
			wg.Wait()
		})
	}
}
