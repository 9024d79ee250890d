package enginetest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"distributor/engine/query/querytest"
	"distributor/wsproto/shardus"
)

// verifiers are verification loops of collectors. Each requests a cycle from /cycleData and then
// what the cycle has, without a pause, on one connection as long as it lasts. A real collector
// exits after four answers in a row that are not 200. Here no such answer is allowed.
type verifiers struct {
	url     string
	done    chan struct{}
	loops   sync.WaitGroup
	answers atomic.Int64

	mu    sync.Mutex
	fault error // the first answer that was not 200, or lost connection
}

func startVerifiers(t *testing.T, url string, size int) *verifiers {
	v := &verifiers{url: url, done: make(chan struct{})}
	for i := range size {
		key := newKey(t)
		v.loops.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: patience}
			defer client.CloseIdleConnections()
			for cycle := 1 + i%3; ; cycle = 1 + cycle%3 {
				err := v.verify(client, key, cycle)
				if errors.Is(err, errDone) {
					return
				}
				if err != nil {
					v.mu.Lock()
					v.fault = errors.Join(v.fault, err)
					v.mu.Unlock()
					return
				}
			}
		})
	}
	t.Cleanup(func() { v.end(t) })
	return v
}

var errDone = errors.New("the test is over")

// verify patches one cycle.
func (v *verifiers) verify(client *http.Client, key shardus.SecretKey, cycle int) error {
	span := fmt.Sprintf(`"startCycle":%d,"endCycle":%d`, cycle, cycle)
	for _, q := range []struct{ path, parameters string }{
		{"/cycleData", fmt.Sprintf(`"cycle":%d`, cycle)},
		{"/cycleinfo", fmt.Sprintf(`"start":%d,"end":%d`, cycle, cycle)},
		{"/receipt", span + `,"type":"count"`}, {"/receipt", span + `,"page":1`},
		{"/originalTx", span + `,"type":"count"`}, {"/originalTx", span + `,"page":1`},
		{"/totalData", ""},
	} {
		select {
		case <-v.done:
			return errDone
		default:
		}
		if q.parameters != "" {
			q.parameters += ","
		}
		object, err := shardus.Parse([]byte("{" + q.parameters + `"sender":"` + key.Public().String() +
			`"}`))
		if err != nil {
			return err
		}
		body, err := shardus.NewSigner(key, hashKey).AppendSigned(nil, object)
		if err != nil {
			return err
		}
		r, err := client.Post(v.url+q.path, "application/json", strings.NewReader(string(body)))
		if err != nil {
			return err
		}
		text, err := io.ReadAll(r.Body)
		_ = r.Body.Close()
		if err == nil && r.StatusCode != http.StatusOK {
			err = fmt.Errorf("status %d: %.300s", r.StatusCode, text)
		}
		if err == nil {
			_, err = querytest.Verify(string(text))
		}
		if err != nil {
			return fmt.Errorf("%s after %d answers: %w", q.path, v.answers.Load(), err)
		}
		v.answers.Add(1)
	}
	return nil
}

// more waits for n more answers.
func (v *verifiers) more(t *testing.T, answers int64) {
	t.Helper()
	goal := v.answers.Load() + answers
	Until(t, fmt.Sprintf("%d answers", goal), func() bool {
		return v.answers.Load() >= goal || v.failed() != nil
	}, nil)
	if v.failed() != nil {
		t.FailNow() // end reports why
	}
}

func (v *verifiers) failed() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.fault
}

func (v *verifiers) end(t *testing.T) {
	select {
	case <-v.done:
		return
	default:
		close(v.done)
	}
	v.loops.Wait()
	if err := v.failed(); err != nil {
		t.Error(err)
	}
}

// notLoopback returns an address of this machine to which rate limits apply, or 127.0.0.1 if there
// is none.
func notLoopback() string {
	addresses, _ := net.InterfaceAddrs()
	for _, a := range addresses {
		if in, ok := a.(*net.IPNet); ok && in.IP.To4() != nil && !in.IP.IsLoopback() {
			return in.IP.String()
		}
	}
	return "127.0.0.1"
}

// TestVerificationNeverFails checks that verifying collectors get only answers with status 200: at
// a rate above the limit, during reloads, after kills of the query process, and during handovers.
func TestVerificationNeverFails(t *testing.T) {
	t.Parallel()
	d := New(t, Settings{"LISTEN_ADDR": "", "RATE_LIMIT": 200, "ADMIN_ADDR": "off"})
	linked(t, d)
	if r := Run(t, d.Dir, "simulate", "--dir", "other-logs", "--db", "databases", "--count", "300",
		"--rate", "0", "-q"); r.Status != 0 {
		t.Fatalf("simulate: %+v", r)
	}
	d.Configure(Settings{"ARCHIVER_DB_DIR": filepath.Join(d.Dir, "databases")})
	d.Start()
	v := startVerifiers(t, "http://"+net.JoinHostPort(notLoopback(), strconv.Itoa(d.Port)), 8)
	const some = 100
	for round := range 3 {
		v.more(t, some)
		if err := syscall.Kill(d.Query().Pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		v.more(t, some)
		d.Configure(Settings{"RATE_LIMIT": 300 + round})
		d.Reload(syscall.SIGHUP)
		v.more(t, some)
		d.HandOver()
		v.more(t, some)
		d.Alone()
	}
	v.more(t, some)
	v.end(t)
	d.Stop()
}
