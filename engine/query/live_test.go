package query

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// writerOf is the environment variable that makes this test binary write to a database, and run no
// tests:
// as an archiver does, in WAL mode, as fast as it can, with checkpoints, until its input ends.
const writerOf = "QUERY_TEST_WRITER_OF"

func TestMain(m *testing.M) {
	if path := os.Getenv(writerOf); path != "" {
		runWriter(path)
		return
	}
	if mode := os.Getenv(processOf); mode != "" {
		runProcess(mode)
		return
	}
	os.Exit(m.Run())
}

func runWriter(path string) {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	db := must(sql.Open("sqlite3",
		"file:"+path+"?_journal_mode=WAL&_synchronous=OFF&_busy_timeout=5000"))
	db.SetMaxOpenConns(1)
	for i := 0; ; i++ {
		tx := must(db.Begin())
		for j := range 20 {
			n := 1_000_000 + i*20 + j
			must(tx.Exec("INSERT OR REPLACE INTO originalTxsData VALUES (?, ?, ?, ?)",
				fmt.Sprintf("%064d", n), n, 1000+i, fmt.Sprintf(`{"n":%d}`, n)))
		}
		if err := tx.Commit(); err != nil {
			panic(err)
		}
		if i%50 == 0 {
			must(db.Exec("PRAGMA wal_checkpoint(TRUNCATE)"))
			fmt.Println(i)
		}
	}
}

func startWriter(t *testing.T, path string) (commits *atomic.Int64) {
	writer := exec.Command(os.Args[0])
	writer.Env = append(os.Environ(), writerOf+"="+path)
	writer.Stderr = os.Stderr
	in, out := must(writer.StdinPipe()), must(writer.StdoutPipe())
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	commits = new(atomic.Int64)
	var reading sync.WaitGroup
	reading.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var n int64
			_, _ = fmt.Sscan(lines.Text(), &n)
			commits.Store(n)
		}
	})
	t.Cleanup(func() {
		in.Close()
		reading.Wait()
		if err := writer.Wait(); err != nil {
			t.Errorf("writer: %v", err)
		}
	})
	return commits
}

// While another process writes as fast as it can, sixteen clients get consistent answers. None is
// locked out, and none reads half a transaction.
func TestLiveWriter(t *testing.T) {
	noLeaks(t)
	d := unpack(t, "db-empty")
	a := newAPI(t, d, forever)
	commits := startWriter(t, d.OriginalTxs)
	eventually(t, "the writer writes", func() bool { return commits.Load() > 0 })
	from, until := commits.Load(), time.Now().Add(time.Second)
	var clients sync.WaitGroup
	var asked atomic.Int64
	for i := range 16 {
		clients.Go(func() {
			for time.Now().Before(until) || asked.Load() < 100 {
				asked.Add(1)
				var got reply
				switch i % 4 {
				case 0:
					got = post(t, a, "/originalTx", `"count":100`)
				case 1:
					got = post(t, a, "/originalTx", `"startCycle":1000,"endCycle":1050,"type":"tally"`)
				case 2:
					got = post(t, a, "/originalTx", fmt.Sprintf(`"start":%d,"end":%d`, i*50, i*50+99))
				case 3:
					got = post(t, a, "/totalData", "")
				}
				if got.status != 200 {
					t.Errorf("%+v", got)
					return
				}
				var o struct {
					OriginalTxs      []struct{ Cycle, OriginalTxsData, Timestamp int }
					TotalOriginalTxs int
				}
				if err := json.Unmarshal([]byte(got.body), &o); err != nil || o.TotalOriginalTxs%20 != 0 {
					t.Errorf("%v: %d rows", err, o.TotalOriginalTxs)
				}
				for j, tx := range o.OriginalTxs {
					if i%4 == 1 && tx.OriginalTxsData != 20 {
						t.Errorf("cycle %d has %d", tx.Cycle, tx.OriginalTxsData)
					}
					if i%4 == 0 && j > 0 && tx.Timestamp != o.OriginalTxs[j-1].Timestamp-1 {
						t.Errorf("%d after %d", tx.Timestamp, o.OriginalTxs[j-1].Timestamp)
					}
				}
			}
		})
	}
	clients.Wait()
	eventually(t, "the writer goes on", func() bool { return commits.Load() > from })
	if problems := a.Health(t.Context()); len(problems) != 0 {
		t.Error(problems)
	}
	t.Logf("%d requests, %d commits", asked.Load(), commits.Load()-from)
}

// slow is a table over which a query takes some seconds, without an index. Not longer: if a context
// ends just before SQLite begins, the driver loses that (see hungQuery), and the query must end by
// itself.
func slow(t *testing.T) *tested {
	d := unpack(t, "db-empty")
	sqlExec(t, d.OriginalTxs, "DROP TABLE originalTxsData", `CREATE VIEW originalTxsData AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 10000000)
		SELECT 'x' AS txId, i AS timestamp, i AS cycle, i AS rowid, '{}' AS originalTxData FROM n`)
	return newAPI(t, d, forever)
}

// A query ends when its client leaves, and when its time is over. Neither counts as an error of the
// database.
func TestQueryIsCancelled(t *testing.T) {
	noLeaks(t)
	a := slow(t)
	for _, c := range []struct {
		name         string
		stay, within time.Duration
		status       int
	}{
		{"left", 50 * time.Millisecond, requestTime, clientGone},
		{"timed out", patience, 50 * time.Millisecond, 503},
	} {
		a.limitTime(t, c.within)
		ctx, cancel := context.WithCancel(context.Background())
		leaves := time.AfterFunc(c.stay, cancel)
		r := httptest.NewRequestWithContext(ctx, "POST", "/originalTx",
			strings.NewReader(signedRequest(`"count":1`)))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		begun := time.Now()
		a.ServeHTTP(w, r)
		leaves.Stop()
		cancel()
		if took := time.Since(begun); took >= requestTime {
			t.Errorf("%s: %v", c.name, took)
		}
		if a.Snapshot().Endpoints["/originalTx"].Status[c.status] != 1 {
			t.Errorf("%s: %d %s %+v", c.name, w.Code, w.Body, a.Snapshot().Endpoints["/originalTx"].Status)
		}
		if c.status == 503 && !strings.Contains(w.Body.String(), "database originalTxsData (originalTxsData.sqlite3): it took too long") {
			t.Errorf("%s: %s", c.name, w.Body)
		}
		if failing := a.Snapshot().Tables["originalTxsData"].Failing; failing != "" {
			t.Errorf("%s: counted as an error of the database: %v", c.name, failing)
		}
		if c.status == clientGone && w.Body.Len() > 0 {
			t.Errorf("%s: %s", c.name, w.Body)
		}
	}
	if problems := a.Health(t.Context()); len(problems) != 0 {
		t.Error(problems)
	}
	o := must(a.sources.originalTxs.file.use())
	defer a.sources.originalTxs.file.release(o)
	eventually(t, "the connections are free", func() bool { return o.db.Stats().InUse == 0 })
}

// Requests wait while others keep the processors busy, up to their time limit. This is no error of
// the database.
func TestWorkIsBounded(t *testing.T) {
	noLeaks(t)
	a := newAPI(t, unpack(t, "db"), forever)
	if got, want := cap(a.work), runtime.GOMAXPROCS(0); got != want {
		t.Errorf("the semaphore admits %d, want %d", got, want)
	}
	if got := post(t, a, "/receipt", `"count":1`); got.status != 200 { // describes the table
		t.Fatalf("%+v", got)
	}
	for range cap(a.work) {
		if err := a.work.acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	a.limitTime(t, 50*time.Millisecond)
	if got := post(t, a, "/receipt", `"count":1`); got.status != 503 || !strings.Contains(got.body, "it took too long") {
		t.Errorf("without the semaphore: %+v", got)
	}
	a.limitTime(t, requestTime)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	err := a.sources.receipts.query(ctx, func(r reader) error {
		_, err := unlimited.rows(r, []byte("["), selection{mode: latest, limit: 1})
		return err
	})
	if !errors.Is(err, ErrTimeout) || a.sources.receipts.failing.Load() != nil {
		t.Errorf("rows without the semaphore: %v", err)
	}
	for range cap(a.work) {
		a.work.release()
	}
	var asking sync.WaitGroup
	// Connections and the semaphore are scarce: requests that hold one must not wait in a circle.
	for range 4 * poolSize {
		asking.Go(func() {
			for _, path := range []string{"/receipt", "/account", "/transaction"} {
				if got := post(t, a, path, `"startCycle":1,"endCycle":60,"page":1`); got.status != 200 {
					t.Errorf("%s: %+v", path, got)
				}
			}
		})
	}
	asking.Wait()
	if len(a.work) != 0 {
		t.Errorf("the semaphore is still held %d times, want 0", len(a.work))
	}
}

// With more requests than connections, requests wait for a connection, up to their time limit.
func TestPoolIsBounded(t *testing.T) {
	noLeaks(t)
	a := slow(t)
	a.limitTime(t, 300*time.Millisecond)
	var asking sync.WaitGroup
	done := make(chan struct{})
	for range 3 * poolSize {
		asking.Go(func() {
			if got := post(t, a, "/originalTx", `"count":1`); got.status != 503 {
				t.Errorf("%+v", got)
			}
		})
	}
	most := 0
	go func() { asking.Wait(); close(done) }()
	for waiting := true; waiting; {
		select {
		case <-done:
			waiting = false
		default:
		}
		if o, err := a.sources.originalTxs.file.use(); err == nil {
			most = max(most, o.db.Stats().OpenConnections)
			a.sources.originalTxs.file.release(o)
		}
		time.Sleep(time.Millisecond)
	}
	if most != poolSize {
		t.Errorf("%d connections", most)
	}
}

// A query that continues after its request's time, because its interruption was lost, is reported
// to hung. A query that ends is not.
func TestHungQuery(t *testing.T) {
	a := newAPI(t, unpack(t, "db"), forever)
	hung := make(chan struct{}, 1)
	a.hung = func() { hung <- struct{}{} }
	a.grace = time.Millisecond - forever.RequestTime
	asked := *a.routes["/receipt"]
	asked.answer = func(*API, context.Context, *policy, selection, *answer) error {
		select {
		case <-hung:
			return ErrTimeout
		case <-time.After(patience):
			return errors.New("nobody noticed")
		}
	}
	a.routes["/receipt"] = &asked
	if got := post(t, a, "/receipt", ""); got.status != 503 ||
		!strings.Contains(got.body, "it took too long") {
		t.Errorf("%+v", got)
	}
}
