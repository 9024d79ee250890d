package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"distributor/bench/proc"
	"distributor/bench/stats"
	"distributor/wsproto/shardus"
)

// apiRole is the process whose connections ask the HTTP API without pause. It
// gives way to what takes times of its own on the same CPU.
const (
	apiRole = "api-clients"
	apiNice = 10
)

// apiLoad is what the process is told first: who asks what. It answers when
// each connection has had an answer.
type apiLoad struct {
	Address     string            `json:"address"`
	Connections int               `json:"connections"`
	Requests    []apiRequest      `json:"requests"` // each connection goes round, from a place of its own
	HashKey     shardus.HashKey   `json:"hashKey"`
	Owner       shardus.PublicKey `json:"owner"` // who signs the answers
	Still       bool              `json:"still"` // nobody writes: equal requests have answers of equal length
}

// apiRequest is a signed body, made beforehand.
type apiRequest struct {
	Path string `json:"path"`
	Body string `json:"body"`
	List string `json:"list"` // member of the answer that holds the rows; "": none
	Rows int    `json:"rows"`
}

// apiResult is the last answer, of the time since the second line came.
type apiResult struct {
	Error    string  `json:"error,omitempty"`
	Seconds  float64 `json:"seconds"`
	Requests int     `json:"requests"`
	Rows     int     `json:"rows"`
	Bytes    int64   `json:"bytes"`
	Verified int     `json:"verified"`
	P50      float64 `json:"p50"` // ms, from the first byte sent to the last received
	P99      float64 `json:"p99"`
}

// runAPIClients reads three lines: the load, a begin, and an end.
func runAPIClients() error {
	if err := proc.Nice(apiNice); err != nil {
		return err
	}
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	var load apiLoad
	if err := in.Decode(&load); err != nil {
		return err
	}
	a := &askers{load: load}
	if err := a.connect(); err != nil {
		return out.Encode(apiResult{Error: err.Error()})
	}
	if err := out.Encode(apiResult{}); err != nil {
		return err
	}
	var line struct{}
	if err := in.Decode(&line); err != nil {
		return err
	}
	begun := time.Now()
	a.counting.Store(true)
	if err := in.Decode(&line); err != nil {
		return err
	}
	a.stop.Store(true)
	seconds := time.Since(begun).Seconds()
	a.working.Wait()
	result := a.result()
	result.Seconds = seconds
	return out.Encode(result)
}

type askers struct {
	load           apiLoad
	texts          [][]byte // of the requests, headers included
	each           []*asker
	lengths        sync.Map // of answers that do not change, by request
	counting, stop atomic.Bool
	working        sync.WaitGroup
}

// asker is one connection.
type asker struct {
	*askers
	conn net.Conn
	in   *bufio.Reader
	next int // request

	took      []float64 // ms
	rows      int
	bytes     int64
	kept      []keptAnswer
	sinceKept int
	err       error
}

// keptAnswer is one in verifyEvery, which is looked into when nothing is measured any more.
type keptAnswer struct {
	request int
	body    []byte
}

func (a *askers) connect() error {
	for _, r := range a.load.Requests {
		a.texts = append(a.texts, fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", r.Path, len(r.Body), r.Body))
	}
	for i := range a.load.Connections {
		conn, err := net.Dial("tcp", a.load.Address)
		if err != nil {
			return err
		}
		one := &asker{askers: a, conn: conn, in: bufio.NewReaderSize(conn, 256<<10), next: i % len(a.load.Requests), sinceKept: verifyEvery}
		if err := one.ask(); err != nil {
			return err
		}
		a.each = append(a.each, one)
	}
	for _, one := range a.each {
		a.working.Go(one.run)
	}
	return nil
}

func (a *asker) run() {
	defer a.conn.Close()
	for !a.stop.Load() && a.err == nil {
		a.err = a.ask()
	}
}

// ask sends the next request and reads its answer.
func (a *asker) ask() error {
	number := a.next
	a.next = (a.next + 1) % len(a.load.Requests)
	r := &a.load.Requests[number]
	counting := a.counting.Load()
	begun := time.Now()
	_ = a.conn.SetDeadline(begun.Add(patience))
	if _, err := a.conn.Write(a.texts[number]); err != nil {
		return fmt.Errorf("%s: %w", r.Path, err)
	}
	answer, err := http.ReadResponse(a.in, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", r.Path, err)
	}
	size := answer.ContentLength
	if answer.StatusCode != http.StatusOK || size <= 0 {
		text, _ := io.ReadAll(io.LimitReader(a.in, min(max(size, 0), 300)))
		return fmt.Errorf("%s: status %d, %d bytes: %s", r.Path, answer.StatusCode, size, text)
	}
	a.sinceKept++
	if keep := a.sinceKept >= verifyEvery; keep {
		a.sinceKept = 0
		body := make([]byte, size)
		_, err = io.ReadFull(a.in, body)
		a.kept = append(a.kept, keptAnswer{number, body})
	} else {
		_, err = a.in.Discard(int(size))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", r.Path, err)
	}
	if want, known := a.lengths.LoadOrStore(number, size); known && a.load.Still && want != size {
		return fmt.Errorf("%s: %d bytes, %d before", r.Path, size, want)
	}
	if counting {
		a.took = append(a.took, time.Since(begun).Seconds()*1e3)
		a.rows += r.Rows
		a.bytes += size
	}
	return nil
}

// result is for when all have ended. It verifies what was kept.
func (a *askers) result() (r apiResult) {
	var took []float64
	var failed error
	for _, one := range a.each {
		took = append(took, one.took...)
		r.Rows, r.Bytes = r.Rows+one.rows, r.Bytes+one.bytes
		failed = errors.Join(failed, one.err)
		for _, k := range one.kept {
			failed = errors.Join(failed, a.load.verify(k))
			r.Verified++
		}
	}
	slices.Sort(took)
	r.Requests = len(took)
	if failed == nil && len(took) > 0 { // NaN is no JSON
		r.P50, r.P99 = stats.Percentile(took, 0.5), stats.Percentile(took, 0.99)
	}
	if failed == nil && len(took) == 0 {
		failed = errors.New("no answer within the time")
	}
	if failed != nil {
		r.Error = failed.Error()
	}
	return r
}

// verify checks an answer's signature and its number of rows.
func (l *apiLoad) verify(k keptAnswer) error {
	r := &l.Requests[k.request]
	v, err := shardus.Parse(k.body)
	if err == nil {
		err = shardus.VerifyObject(v, l.HashKey)
	}
	if err != nil {
		return fmt.Errorf("answer of %s: %w", r.Path, err)
	}
	if owner := v.Get("sign").Get("owner").Text(); owner != l.Owner.String() {
		return fmt.Errorf("answer of %s: signed by %s", r.Path, owner)
	}
	if r.List == "" {
		return nil
	}
	var members map[string]json.RawMessage
	var rows []json.RawMessage
	if err := json.NewDecoder(bytes.NewReader(k.body)).Decode(&members); err != nil {
		return fmt.Errorf("answer of %s: %w", r.Path, err)
	}
	if err := json.Unmarshal(members[r.List], &rows); err != nil || len(rows) != r.Rows {
		return fmt.Errorf("answer of %s: %d rows, not %d: %w", r.Path, len(rows), r.Rows, err)
	}
	return nil
}
