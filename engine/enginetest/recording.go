package enginetest

import (
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// Recording has the observed behaviour of the replaced service, and the correct behaviour where
// that differs: testdata/firehose.json.gz of the repository.
type Recording struct {
	Records     []RecordedLine
	Transcripts []Transcript
	Scenarios   []Scenario
	Keys        map[string]struct{ PublicKey, SecretKey string } // collectors' key pairs

	byID   map[string]*RecordedLine
	byText map[string][]string // message → ids
}

// RecordedLine is a line of a data log and its expected message.
type RecordedLine struct {
	ID, Stream, Line string
	LineB64          string `json:"line_b64"` // instead of Line if that is not valid UTF-8
	Message          string
}

// Transcript has the changes of a directory of data logs, and the messages of a collector that
// connects between Setup and Steps.
type Transcript struct {
	Name         string
	Setup, Steps []Step
	Expected     map[string][]string // by stream, in order
	Optional     []string            // ids of messages that may be missing
	Config       Settings
}

// Step is one change that a writer made.
type Step struct {
	Op, File, To, Stream, How, Then string
	IDs                             []string
	Text, B64, Eol                  *string
	N, Cut                          int
	Ms, Size                        int64
	NoLastEol                       bool            `json:"no_last_eol"`
	From                            json.RawMessage // a number of bytes, or the old name
}

// LoadRecording reads the file.
func LoadRecording(path string) (*Recording, error) {
	packed, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer packed.Close()
	text, err := gzip.NewReader(packed)
	if err != nil {
		return nil, fmt.Errorf("enginetest: %s: %w", path, err)
	}
	r := &Recording{byID: make(map[string]*RecordedLine), byText: make(map[string][]string)}
	if err := json.NewDecoder(text).Decode(r); err != nil {
		return nil, fmt.Errorf("enginetest: %s: %w", path, err)
	}
	for i := range r.Records {
		l := &r.Records[i]
		r.byID[l.ID] = l
		r.byText[l.Message] = append(r.byText[l.Message], l.ID)
	}
	return r, nil
}

var idRange = regexp.MustCompile(`^(\w+):(\d+)\.\.(\d+)(?:\*(\d+))?$`)

// expand expands ranges: "receipt:1..3*2" is receipt-1 to receipt-3, twice.
func expand(ids []string) []string {
	var out []string
	for _, id := range ids {
		m := idRange.FindStringSubmatch(id)
		if m == nil {
			out = append(out, id)
			continue
		}
		first, _ := strconv.Atoi(m[2])
		last, _ := strconv.Atoi(m[3])
		times, err := strconv.Atoi(m[4])
		if err != nil {
			times = 1
		}
		for range times {
			for n := first; n <= last; n++ {
				out = append(out, fmt.Sprintf("%s-%d", m[1], n))
			}
		}
	}
	return out
}

// data returns the bytes that a step writes.
func (r *Recording) data(s Step) ([]byte, error) {
	switch {
	case s.B64 != nil:
		return base64.StdEncoding.DecodeString(*s.B64)
	case s.Text != nil:
		return []byte(*s.Text), nil
	case s.IDs == nil:
		return nil, nil
	}
	eol := "\n"
	if s.Eol != nil {
		eol = *s.Eol
	}
	var b []byte
	for _, id := range expand(s.IDs) {
		line, err := r.line(id)
		if err != nil {
			return nil, err
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
	from, _ := strconv.Atoi(string(s.From)) // 0 if it is missing
	if from < 0 {
		from += len(b)
	}
	return b[min(from, len(b)):], nil
}

func (r *Recording) line(id string) ([]byte, error) {
	l := r.byID[id]
	switch {
	case l == nil:
		return nil, fmt.Errorf("enginetest: there is no record %q", id)
	case l.LineB64 != "":
		return base64.StdEncoding.DecodeString(l.LineB64)
	}
	return []byte(l.Line), nil
}

// Perform does the steps in dir. It multiplies the recorded pauses by speed.
func (r *Recording) Perform(steps []Step, dir string, speed float64) error {
	for i, s := range steps {
		if err := r.perform(s, dir, speed); err != nil {
			return fmt.Errorf("step %d (%s): %w", i, s.Op, err)
		}
	}
	return nil
}

func (r *Recording) perform(s Step, dir string, speed float64) error {
	data, err := r.data(s)
	if err != nil {
		return err
	}
	pause := func() { time.Sleep(time.Duration(float64(s.Ms) * speed * float64(time.Millisecond))) }
	path := filepath.Join(dir, s.File)
	switch s.Op {
	case "put":
		return os.WriteFile(path, data, 0o644)
	case "append":
		return appendFile(path, data)
	case "each": // one write for each record
		for _, id := range expand(s.IDs) {
			one := s
			one.IDs = []string{id}
			if data, err = r.data(one); err == nil {
				err = appendFile(path, data)
			}
			if err != nil {
				return err
			}
			pause()
		}
		return nil
	case "active":
		text := fmt.Sprintf("%s-log%d.txt", s.Stream, s.N)
		if s.Text != nil {
			text = *s.Text
		}
		path = filepath.Join(dir, "active-"+s.Stream+"-log.txt")
		switch s.How {
		case "rename":
			if err := os.WriteFile(path+".tmp", []byte(text), 0o644); err != nil {
				return err
			}
			return os.Rename(path+".tmp", path)
		case "slow": // truncated now, written after a pause
			if err := os.WriteFile(path, nil, 0o644); err != nil {
				return err
			}
			pause()
		}
		return os.WriteFile(path, []byte(text), 0o644)
	case "rename":
		var from string
		if err := json.Unmarshal(s.From, &from); err != nil {
			return err
		}
		return os.Rename(filepath.Join(dir, from), filepath.Join(dir, s.To))
	case "unlink":
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	case "truncate":
		return os.Truncate(path, s.Size)
	case "mkdir":
		return os.MkdirAll(path, 0o755)
	case "sleep":
		pause()
		return nil
	}
	return errors.New("no such step")
}

func appendFile(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
