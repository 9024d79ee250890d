package query

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// discard is a client that reads at once.
type discard struct {
	header http.Header
	status int
	bytes  int64
}

func (d *discard) Header() http.Header { return d.header }
func (d *discard) WriteHeader(s int)   { d.status = s }
func (d *discard) Write(b []byte) (int, error) {
	d.bytes += int64(len(b))
	return len(b), nil
}

// benchmarkRequest measures a request in the handler, from its body to its answer: parse, verify,
// query, sign.
func benchmarkRequest(b *testing.B, path, parameters string, rows int) {
	a := newAPI(b, unpack(b, "db"), forever)
	body := signedRequest(parameters)
	b.ReportAllocs()
	var bytes int64
	begun := time.Now()
	for b.Loop() {
		r := httptest.NewRequest("POST", path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := &discard{header: make(http.Header)}
		if a.ServeHTTP(w, r); w.status != http.StatusOK {
			b.Fatal(w.status)
		}
		bytes = w.bytes
	}
	b.SetBytes(bytes)
	b.ReportMetric(float64(rows*b.N)/time.Since(begun).Seconds(), "rows/s")
}

func BenchmarkReceipts(b *testing.B) { benchmarkRequest(b, "/receipt", `"count":100`, 100) }
func BenchmarkCycles(b *testing.B)   { benchmarkRequest(b, "/cycleinfo", `"count":100`, 100) }
func BenchmarkTransactions(b *testing.B) {
	benchmarkRequest(b, "/transaction", `"count":1000`,
		1000)
}
func BenchmarkAccounts(b *testing.B) { benchmarkRequest(b, "/account", `"count":1000`, 1000) }
func BenchmarkTotals(b *testing.B)   { benchmarkRequest(b, "/totalData", "", 1) }

// BenchmarkDepth reads pages of 101 rows at different depths of a table of 200,000.
func BenchmarkDepth(b *testing.B) {
	d := unpack(b, "db-empty")
	db := write(b, d.OriginalTxs, "DELETE FROM originalTxsData",
		`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 200000)
		 INSERT INTO originalTxsData SELECT printf('%064d', i), 1700000000000 + i, i / 100, '{"tx":{"raw":"0x02f876821f9281dd843b9aca00"}}' FROM n`)
	db.Close()
	a := newAPI(b, d, forever)
	for _, start := range []int{0, 1_000, 10_000, 100_000, 199_000} {
		b.Run(fmt.Sprint(start), func(b *testing.B) {
			body := signedRequest(fmt.Sprintf(`"start":%d,"end":%d`, start, start+100))
			for b.Loop() {
				r := httptest.NewRequest("POST", "/originalTx", strings.NewReader(body))
				r.Header.Set("Content-Type", "application/json")
				w := &discard{header: make(http.Header)}
				if a.ServeHTTP(w, r); w.status != http.StatusOK {
					b.Fatal(w.status)
				}
			}
		})
	}
}
