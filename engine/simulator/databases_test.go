package simulator

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// query returns the rows of a query on one of the databases in dir. It reads as the distributor
// does, on a connection of its own. Tables of other databases are reached as <table>.<table>.
func query(t *testing.T, dir, table, text string) (rows [][]any) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(dir, table+".sqlite3")+"?mode=ro")
	must(t, err)
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, other := range tables {
		if other.name != table && strings.Contains(text, other.name+".") {
			_, err := db.Exec("ATTACH ? AS "+other.name,
				"file:"+filepath.Join(dir, other.fileName())+"?mode=ro")
			must(t, err)
		}
	}
	cursor, err := db.Query(text)
	must(t, err)
	defer cursor.Close()
	columns, err := cursor.Columns()
	must(t, err)
	for cursor.Next() {
		row, at := make([]any, len(columns)), make([]any, len(columns))
		for i := range row {
			at[i] = &row[i]
		}
		must(t, cursor.Scan(at...))
		rows = append(rows, row)
	}
	must(t, cursor.Err())
	return rows
}

func number(t *testing.T, dir, table, text string) int64 {
	t.Helper()
	rows := query(t, dir, table, text)
	if len(rows) != 1 || len(rows[0]) != 1 {
		t.Fatalf("%s: %v", text, rows)
	}
	return rows[0][0].(int64)
}

func TestSchemaIsTheRecorded(t *testing.T) {
	dir := t.TempDir()
	d, err := OpenDatabases(dir, false)
	must(t, err)
	must(t, d.Close())
	var got strings.Builder
	for _, name := range []string{"cycles", "accounts", "transactions", "receipts",
		"originalTxsData"} {
		fmt.Fprintf(&got, "-- %s.sqlite3\n", name)
		for _, row := range query(t, dir, name, "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid") {
			fmt.Fprintf(&got, "%s;\n", row[0])
		}
		if mode := query(t, dir, name, "PRAGMA journal_mode")[0][0]; mode != "wal" {
			t.Errorf("%s: journal mode %v", name, mode)
		}
	}
	want, err := os.ReadFile("recorded/schema.sql")
	must(t, err)
	if got.String() != string(want) {
		t.Errorf("schema:\n%swant:\n%s", got.String(), want)
	}
}

// logged holds the records that a test has stored.
type logged struct {
	cycles, originals, receipts []map[string]json.RawMessage
	accounts                    map[string]json.RawMessage // newest state, by id
}

func fill(t *testing.T, d *Databases, records int) *logged {
	t.Helper()
	l := &logged{accounts: map[string]json.RawMessage{}}
	w, mix := NewWorld("databases", 1), StandardMix()
	for i := range records {
		stream := mix.Next()
		text := w.Append(nil, stream, someTime+int64(i))
		must(t, d.Add(stream, text))
		var m map[string]json.RawMessage
		must(t, json.Unmarshal(text, &m))
		switch stream {
		case Cycle:
			l.cycles = append(l.cycles, m)
		case OriginalTx:
			l.originals = append(l.originals, m)
		case Receipt:
			l.receipts = append(l.receipts, m)
			var states []map[string]json.RawMessage
			must(t, json.Unmarshal(m["afterStates"], &states))
			for _, s := range states {
				l.accounts[unquote(t, s["accountId"])] = s["data"]
			}
		}
	}
	return l
}

func unquote(t *testing.T, raw json.RawMessage) (s string) {
	t.Helper()
	must(t, json.Unmarshal(raw, &s))
	return s
}

func TestRowsAreWhatWasLogged(t *testing.T) {
	dir := t.TempDir()
	d, err := OpenDatabases(dir, false)
	must(t, err)
	defer d.Close()
	l := fill(t, d, 1000)
	if n := number(t, dir, "receipts", "SELECT count(*) FROM receipts"); n != 0 {
		t.Errorf("%d receipts are visible before the commit", n)
	}
	must(t, d.Commit())

	for table, want := range map[string]int{
		"cycles": len(l.cycles), "originalTxsData": len(l.originals), "receipts": len(l.receipts),
		"transactions": len(l.receipts), "accounts": len(l.accounts),
	} {
		if n := number(t, dir, table, "SELECT count(*) FROM "+table); n != int64(want) || want == 0 {
			t.Errorf("%d rows in %s, want %d", n, table, want)
		}
	}
	for name, join := range map[string]string{
		"receipts with their transaction": `SELECT count(*) FROM receipts r JOIN transactions.transactions t ON t.txId = r.receiptId
			AND t.cycleNumber = r.cycle AND t.timestamp = r.timestamp AND t.originalTxData = json_extract(r.tx, '$.originalTxData')
			AND t.appReceiptId = COALESCE(json_extract(r.appReceiptData, '$.accountId'), r.receiptId)`,
		"receipts with their cycle":    `SELECT count(*) FROM receipts r JOIN cycles.cycles c ON c.counter = r.cycle`,
		"receipts with their accounts": `SELECT count(*) FROM receipts r WHERE NOT EXISTS (SELECT 1 FROM json_each(r.afterStates) s LEFT JOIN accounts.accounts a ON a.accountId = json_extract(s.value, '$.accountId') WHERE a.accountId IS NULL)`,
	} {
		if n := number(t, dir, "receipts", join); n != int64(len(l.receipts)) {
			t.Errorf("%d %s, want all %d", n, name, len(l.receipts))
		}
	}
	if n := number(t, dir, "originalTxsData", `SELECT count(*) FROM originalTxsData o JOIN receipts.receipts r ON r.receiptId = o.txId AND json_extract(r.tx, '$.timestamp') = o.timestamp AND r.cycle = o.cycle`); n < int64(len(l.originals)-1) {
		t.Errorf("%d of %d originalTxs have a receipt; at most one can wait", n, len(l.originals))
	}

	for _, row := range query(t, dir, "accounts", "SELECT accountId, data, json_extract(data, '$.timestamp') = timestamp, json_extract(data, '$.hash') = hash, typeof(data) FROM accounts") {
		if want := string(l.accounts[row[0].(string)]); row[1] != want || row[2] != int64(1) ||
			row[3] != int64(1) || row[4] != "text" {
			t.Errorf("account %v, want data %s", row, want)
		}
	}
}

// Every column of every receipt, cycle and originalTx holds the text of the record.
func TestColumnsHoldTheRecordsText(t *testing.T) {
	dir := t.TempDir()
	d, err := OpenDatabases(dir, false)
	must(t, err)
	l := fill(t, d, 200)
	must(t, d.Close())
	for _, of := range []struct {
		table, key string
		records    []map[string]json.RawMessage
		flags      []string // stored as 0 or 1
		columns    []string
	}{
		{"cycles", "cycleMarker", l.cycles, nil, []string{"cycleMarker", "counter", "cycleRecord"}},
		{"originalTxsData", "txId", l.originals, nil,
			[]string{"txId", "timestamp", "cycle", "originalTxData"}},
		{"receipts", "receiptId", l.receipts, []string{"globalModification"},
			[]string{"receiptId", "tx", "cycle", "applyTimestamp", "timestamp", "signedReceipt",
				"afterStates", "beforeStates", "appReceiptData", "executionShardKey", "globalModification"}},
	} {
		for _, r := range of.records {
			row := query(t, dir, of.table, "SELECT `"+strings.Join(of.columns, "`, `")+"` FROM "+of.table+" WHERE "+of.key+" = '"+unquote(t, r[of.key])+"'")
			if len(row) != 1 {
				t.Fatalf("%d rows of %s", len(row), r[of.key])
			}
			for i, column := range of.columns {
				want := string(r[column])
				if strings.HasPrefix(want, `"`) {
					want = unquote(t, r[column])
				}
				switch got := row[0][i]; {
				case column == shardKey && want == "":
					if want := keyOf(t, r["signedReceipt"]); got != want {
						t.Errorf("%s is %v, want %s", column, got, want)
					}
				case slices.Contains(of.flags, column):
					if fmt.Sprint(got) != want { // the driver makes a bool of BOOLEAN
						t.Errorf("%s.%s is %v, want %s", of.table, column, got, want)
					}
				case fmt.Sprint(got) != want:
					t.Errorf("%s.%s is %.100v, want %.100s", of.table, column, got, want)
				}
			}
		}
	}
}

// keyOf returns the executionShardKey in the signed part of the receipt.
func keyOf(t *testing.T, signedReceipt json.RawMessage) string {
	t.Helper()
	var s struct {
		Proposal *struct{ ExecutionShardKey string }
		Tx       struct{ Source string }
	}
	must(t, json.Unmarshal(signedReceipt, &s))
	if s.Proposal != nil {
		return s.Proposal.ExecutionShardKey
	}
	return s.Tx.Source
}

func TestAccountsKeepTheNewestState(t *testing.T) {
	dir := t.TempDir()
	d, err := OpenDatabases(dir, false)
	must(t, err)
	defer d.Close()
	for i, ms := range []int{200, 300, 100} {
		must(t, d.Add(Receipt, fmt.Appendf(nil, `{"receiptId":"r%d","tx":{"originalTxData":{}},"afterStates":[{"accountId":"a","data":{"v":%d},"timestamp":%d,"hash":"h","cycleNumber":1,"isGlobal":true}],"beforeStates":[],"signedReceipt":{},"appReceiptData":null,"executionShardKey":"k"}`, i, ms, ms)))
	}
	must(t, d.Commit())
	rows := query(t, dir, "accounts", "SELECT timestamp, data, CAST(isGlobal AS INTEGER) FROM accounts")
	if fmt.Sprint(rows) != `[[300 {"v":300} 1]]` {
		t.Errorf("accounts: %v", rows)
	}
	rows = query(t, dir, "transactions", "SELECT txId, appReceiptId, data FROM transactions WHERE txId = 'r1'")
	if fmt.Sprint(rows) != `[[r1 r1 {}]]` {
		t.Errorf("transactions: %v", rows)
	}
}

func TestReopenedDatabases(t *testing.T) {
	dir := t.TempDir()
	d, err := OpenDatabases(dir, false)
	must(t, err)
	if last, start, err := d.lastCycle(); err != nil || last != -1 || start != 0 {
		t.Errorf("last cycle of none: %d, %d, %v", last, start, err)
	}
	l := fill(t, d, 300)
	must(t, d.Close())
	d, err = OpenDatabases(dir, false)
	must(t, err)
	wantStart := someTime/1000 - int64(ahead.Seconds()) + cycleSeconds*int64(len(l.cycles)-1)
	if last, start, err := d.lastCycle(); err != nil || last != int64(len(l.cycles)) ||
		start != wantStart {
		t.Errorf("last cycle %d at %d, %v; want %d at %d", last, start, err, len(l.cycles), wantStart)
	}
	must(t, d.Close())
	d, err = OpenDatabases(dir, true)
	must(t, err)
	must(t, d.Close())
	for _, table := range tables {
		if n := number(t, dir, table.name, "SELECT count(*) FROM "+table.name); n != 0 {
			t.Errorf("%d rows in fresh %s", n, table.name)
		}
	}
}

func TestDatabasesRefuseAndIgnore(t *testing.T) {
	var none *Databases
	must(t, none.Add(Receipt, []byte("whatever")))
	must(t, none.Commit())
	must(t, none.Close())

	d, err := OpenDatabases(t.TempDir(), false)
	must(t, err)
	defer d.Close()
	for _, bad := range [][2]string{{Receipt, `{"receiptId":`}, {Receipt, `{"afterStates":7}`},
		{Cycle, `[]`}, {OriginalTx, ``}, {"receipts", `{}`}} {
		if err := d.Add(bad[0], []byte(bad[1])); err == nil {
			t.Errorf("%s %s was stored", bad[0], bad[1])
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o644))
	if _, err := OpenDatabases(file, false); err == nil {
		t.Error("a file was taken for a directory")
	}
}

func BenchmarkDatabases(b *testing.B) {
	d, err := OpenDatabases(b.TempDir(), false)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	w, mix := NewWorld("bench", 1), StandardMix()
	var record []byte
	for i := 0; b.Loop(); i++ {
		stream := mix.Next()
		record = w.Append(record[:0], stream, someTime+int64(i))
		if err := d.Add(stream, record); err != nil {
			b.Fatal(err)
		}
		if i%200 == 199 {
			if err := d.Commit(); err != nil {
				b.Fatal(err)
			}
		}
	}
}
