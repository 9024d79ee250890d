package query

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"distributor/wsproto/shardus"
)

// Every query of an archiver's tables goes by an index and sorts nothing.
func TestQueriesUseIndexes(t *testing.T) {
	d := unpack(t, "db")
	for _, c := range []struct {
		spec spec
		path string
	}{
		{cyclesSpec, d.Cycles}, {accountsSpec, d.Accounts}, {transactionsSpec, d.Transactions},
		{receiptsSpec, d.Receipts}, {originalTxsSpec, d.OriginalTxs},
	} {
		db := write(t, c.path)
		table, err := describe(t.Context(), db, c.spec)
		if err != nil {
			t.Fatal(err)
		}
		s := table.sql
		statements := []string{
			s.latest[0], s.latest[1], s.rows[0], s.rows[1], s.byID[0], s.byID[1], s.total[0], s.total[1],
			s.between, s.counted, s.tallied,
		}
		if c.spec.other != nil {
			statements = append(statements, s.byOther[:]...)
		}
		for _, statement := range statements {
			args := make([]any, strings.Count(statement, "?"))
			for i := range args {
				args[i] = i
			}
			rows, err := db.Query("EXPLAIN QUERY PLAN "+statement, args...)
			if err != nil {
				t.Fatal(err)
			}
			var plan []string
			for rows.Next() {
				var id, parent, unused int
				var detail string
				if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
					t.Fatal(err)
				}
				plan = append(plan, detail)
			}
			rows.Close()
			all := strings.Join(plan, "; ")
			limited := strings.Contains(statement, "WHERE")
			if len(plan) != 1 || !strings.Contains(all, " INDEX ") ||
				limited != strings.HasPrefix(all, "SEARCH") {
				t.Errorf("%s\n%s", statement, all)
			}
		}
	}
}

// Rows of equal cycle and time keep their order, forwards and backwards, whether or not there is an
// index.
func TestTies(t *testing.T) {
	for _, index := range []string{"CREATE INDEX i ON receipts (cycle ASC, timestamp ASC)",
		"CREATE INDEX i ON receipts (cycle DESC, timestamp DESC)", "SELECT 1"} {
		d := databasesIn(t.TempDir())
		sqlExec(t, d.Receipts, "CREATE TABLE receipts (receiptId TEXT, cycle NUMBER, timestamp BIGINT)", index,
			"INSERT INTO receipts (rowid, receiptId, cycle, timestamp) VALUES (5, 'e', 1, 1), (1, 'a', 1, 1), (9, 'z', 0, 7), (3, 'c', 1, 1), (2, 'b', 1, 2)")
		a := newAPI(t, d, forever)
		for parameters, want := range map[string]string{
			`"start":0,"end":9`:           "z a c e b",
			`"start":2,"end":3`:           "c e",
			`"count":9`:                   "b e c a z",
			`"startCycle":1,"endCycle":1`: "a c e b",
		} {
			if got := names(t, post(t, a, "/receipt", parameters).body, "receipts",
				"receiptId"); got != want {
				t.Errorf("%s, %s: %s, want %s", index, parameters, got, want)
			}
		}
	}
}

// A column's value comes out as the replaced service's driver and stringifier made it.
func TestColumns(t *testing.T) {
	nested := strings.Repeat("[", 3000)
	for _, c := range []struct {
		value             any
		plain, json, flag string // "": the row is damaged
	}{
		{nil, "null", "null", "false"},
		{int64(0), "0", "0", "false"},
		{int64(1), "1", "1", "true"},
		{float64(1), "1", "1", "true"},
		{int64(2), "2", "2", "false"},
		{"1", `"1"`, "1", "false"},
		{1.5, "1.5", "1.5", "false"},
		{int64(math.MaxInt64), "9223372036854776000", "9223372036854776000", "false"},
		{int64(-9007199254740993), "-9007199254740992", "-9007199254740992", "false"},
		{math.Inf(1), "null", "", "false"},
		{"", `""`, `""`, "false"},
		{"a\"\n\x7f<é\u2028", "\"a\\\"\\n\x7f<é\u2028\"", "", "false"},
		{"\xff", `"` + "\ufffd" + `"`, "", "false"},
		{`{"a":1}`, `"{\"a\":1}"`, `{"a":1}`, "false"},
		{` {"b":1.0,"a":{"value":"0F","dataType":"bi"}} `, `" {\"b\":1.0,\"a\":{\"value\":\"0F\",\"dataType\":\"bi\"}} "`, `{"a":{"dataType":"bi","value":"f"},"b":1}`, "false"},
		{`{"type":"Buffer","data":[1,2]}`, `"{\"type\":\"Buffer\",\"data\":[1,2]}"`,
			`{"value":"AQI=","dataType":"bb"}`, "false"},
		{[]byte{0, 255}, `{"value":"AP8=","dataType":"bb"}`, "", "false"},
		{[]byte(`[1]`), `{"value":"WzFd","dataType":"bb"}`, `[1]`, "false"},
		{nested, `"` + nested + `"`, "", "false"},
		{"{", `"{"`, "", "false"},
	} {
		for want, f := range map[*string]func([]byte, any) ([]byte, error){&c.plain: appendPlain,
			&c.json: appendJSON} {
			got, err := f([]byte("kept"), c.value)
			if (err != nil) != (*want == "") || err == nil && string(got) != "kept"+*want {
				t.Errorf("%.60v: %.200s, %v, want %.200s", c.value, got, err, *want)
			}
		}
		whole, err := appendWhole(nil, c.value)
		if want := c.json; (want == `""` || want == "0") && string(whole) != "null" || want == "" && err == nil {
			t.Errorf("%.60v alone: %s, %v", c.value, whole, err)
		}
	}
}

// A name that is not plain is still a column's, and answers stay canonical.
func TestOddNames(t *testing.T) {
	d := databasesIn(t.TempDir())
	sqlExec(t, d.Accounts, "CREATE TABLE accounts (`accountId` TEXT, `cycleNumber` NUMBER, `timestamp` DATE, `a``\"b c` TEXT, `\ue000` BOOLEAN, `😀` DATETIME, `B` JSON)",
		"INSERT INTO accounts VALUES ('x', 1, 1700000000000, 'v', 2, 1700000000000, '{ }')")
	got := post(t, newAPI(t, d, forever), "/account", `"count":1`)
	if want := `{"accounts":[{"B":{},"a` + "`" + `\"b c":"v","accountId":"x","cycleNumber":1,"timestamp":1700000000000,"😀":1700000000000,"` + "\ue000" + `":2}],`; !strings.HasPrefix(got.body, want) {
		t.Errorf("%s\nwant %s", got.body, want)
	}
}

// What a damaged row costs is itself alone: those before and after it are there, and it is logged
// once.
func TestDamagedRows(t *testing.T) {
	d := databasesIn(t.TempDir())
	sqlExec(t, d.OriginalTxs, "CREATE TABLE originalTxsData (txId TEXT, cycle NUMBER, timestamp BIGINT, originalTxData JSON)",
		`INSERT INTO originalTxsData VALUES ('a', 1, 1, '{'), ('b', 1, 2, '{}'), ('c', 1, 3, 'nul'), ('d', 1, 4, '{}'), ('e', 1, 5, '"')`)
	a, _, log := rig(t, d, forever)
	if got := post(t, a, "/originalTx", `"start":0,"end":9`); got.status != 200 || names(t, got.body, "originalTxs", "txId") != "b d" {
		t.Errorf("%+v", got)
	}
	left := a.Snapshot().Tables["originalTxsData"].Damaged
	if n := strings.Count(log.String(), "damaged row"); n != 1 || left != 3 {
		t.Errorf("%d lines: %s, %+v", n, log, a.Snapshot().Tables)
	}
}

func TestErrorsSayWhich(t *testing.T) {
	path := filepath.Join("secret", "place", "r.sqlite3")
	err := error(&DatabaseError{"receipts", path, fmt.Errorf("%w: why", ErrLocked)})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "secret/place/r.sqlite3") {
		t.Error(err)
	}
	var d *DatabaseError
	const want = "database receipts (r.sqlite3): the database is locked: why"
	if !errors.As(err, &d) || d.public() != want {
		t.Error(d.public())
	}
	if once := classify(shardus.ErrKey); classify(once).Error() != once.Error() || !errors.Is(once, ErrUnreadable) {
		t.Error(once)
	}
}
