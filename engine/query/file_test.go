package query

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// clock is a time that tests advance.
type clock struct{ atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(1_700_000_000, c.Load()) }
func (c *clock) advance(d time.Duration) { c.Add(int64(d)) }

// rig is an API with a log that can be read and a clock that tests advance.
func rig(t testing.TB, d Databases, s Settings) (*tested, *clock, *bytes.Buffer) {
	a := newAPI(t, d, s)
	var c clock
	a.now = c.now
	log := new(bytes.Buffer)
	for _, s := range a.all() {
		s.log = slog.New(slog.NewTextHandler(log, nil))
	}
	return a, &c, log
}

// A database that does not answer affects its endpoints alone. It is logged once, reported by
// Health as long as it lasts, and used again when it answers.
func TestDatabaseComesAndGoes(t *testing.T) {
	for _, c := range []struct {
		name       string
		harm, heal func(path string, sound []byte)
		is         error
		words      string
	}{
		{"missing", func(p string, _ []byte) { os.Remove(p) }, nil, ErrMissing, "not there"},
		{"garbage", func(p string, _ []byte) { put(p, bytes.Repeat([]byte("garbage "), 4096)) }, nil,
			ErrDamaged, "not a database"},
		{"cut", func(p string, sound []byte) { put(p, sound[:len(sound)/2]) }, nil, ErrDamaged, "malformed"},
		{"a folder", func(p string, _ []byte) { os.Remove(p); os.Mkdir(p, 0o755) }, func(p string, sound []byte) { os.Remove(p); put(p, sound) }, ErrUnreadable, "it is not a regular file"},
		{"a link to itself", func(p string, _ []byte) { os.Remove(p); _ = os.Symlink(p, p) }, nil, ErrUnreadable, "symbolic links"},
		{"empty", func(p string, _ []byte) { put(p, nil) }, nil, ErrSchema, "no table receipts"},
		{"other tables", func(p string, _ []byte) { os.Remove(p); sqlExec(t, p, "CREATE TABLE x (y)") },
			nil, ErrSchema, "no table receipts"},
		{"no cycle", func(p string, _ []byte) {
			os.Remove(p)
			sqlExec(t, p, "CREATE TABLE receipts (receiptId TEXT, timestamp BIGINT)")
		}, nil, ErrSchema, "needs columns cycle, timestamp, receiptId"},
	} {
		t.Run(c.name, func(t *testing.T) {
			noLeaks(t)
			d := unpack(t, "db-odd")
			sound := must(os.ReadFile(d.Receipts))
			c.harm(d.Receipts, sound)
			a, clock, log := rig(t, d, forever)

			sick := post(t, a, "/receipt", `"count":1`)
			if sick.status != 503 ||
				!strings.Contains(sick.body, `{"error":"database receipts (receipts.sqlite3): `) ||
				!strings.Contains(sick.body, c.words) || strings.Contains(sick.body, filepath.Dir(d.Receipts)) {
				t.Errorf("answer %+v", sick)
			}
			for _, path := range []string{"/totalData", "/cycleData"} { // they need the receipts as well
				if got := post(t, a, path, `"cycle":1`); got.status != 503 || !strings.Contains(got.body, "database receipts") {
					t.Errorf("%s: %+v", path, got)
				}
			}
			for _, path := range []string{"/cycleinfo", "/originalTx", "/account", "/transaction"} {
				if got := post(t, a, path, `"count":1`); got.status != 200 {
					t.Errorf("%s: %+v", path, got)
				}
			}
			problems := a.Health(t.Context())
			if len(problems) != 1 || problems[0].Table != "receipts" || !errors.Is(problems[0], c.is) ||
				!strings.Contains(problems[0].Error(), d.Receipts) {
				t.Errorf("health: %v", problems)
			}
			if n := strings.Count(log.String(), "\n"); n != 1 ||
				!strings.Contains(log.String(), "level=ERROR") {
				t.Errorf("%d lines in the log:\n%s", n, log)
			}

			if c.heal == nil {
				os.Remove(d.Receipts)
				put(d.Receipts, sound)
			} else {
				c.heal(d.Receipts, sound)
			}
			clock.advance(recheckEvery)
			if problems := a.Health(t.Context()); len(problems) != 0 {
				t.Errorf("health after recovery: %v", problems)
			}
			if got := post(t, a, "/receipt", `"count":1`); got.status != 200 {
				t.Errorf("after recovery: %+v", got)
			}
			if !strings.Contains(log.String(), "answers again") {
				t.Errorf("log: %s", log)
			}
		})
	}
}

func put(path string, content []byte) {
	if err := os.WriteFile(path, content, 0o644); err != nil {
		panic(err)
	}
}

func sqlExec(t testing.TB, path string, statements ...string) {
	t.Helper()
	db := write(t, path, statements...)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// A database that is replaced by another file is reopened. A table that is dropped or changed while
// the file is open is noticed.
func TestDatabaseIsReplaced(t *testing.T) {
	noLeaks(t)
	d := unpack(t, "db")
	a, clock, _ := rig(t, d, forever)
	before := post(t, a, "/cycleinfo", `"count":1`)
	other := unpack(t, "db-odd")
	if err := os.Rename(other.Cycles, d.Cycles); err != nil {
		t.Fatal(err)
	}
	clock.advance(recheckEvery - 1)
	if got := post(t, a, "/cycleinfo", `"count":1`); got != before {
		t.Errorf("checked too early: %.200s", got.body)
	}
	clock.advance(1)
	if got := post(t, a, "/cycleinfo", `"count":1`); got.status != 200 || names(t, got.body, "cycleInfo", "counter") != "15" {
		t.Errorf("%+v", got)
	}

	sqlExec(t, d.Cycles, "ALTER TABLE cycles RENAME COLUMN cycleRecord TO record")
	if got := post(t, a, "/cycleinfo", `"count":1`); got.status != 503 || !strings.Contains(got.body, "no such column") {
		t.Errorf("%+v", got)
	}
	sqlExec(t, d.Cycles, "ALTER TABLE cycles RENAME COLUMN record TO cycleRecord")
	clock.advance(recheckEvery)
	if got := post(t, a, "/cycleinfo", `"count":1`); got.status != 200 {
		t.Errorf("%+v", got)
	}
}

// If columns are added to a table while the file is open, answers have them.
func TestColumnsChange(t *testing.T) {
	d := unpack(t, "db-odd")
	a, clock, _ := rig(t, d, forever)
	before := post(t, a, "/account", `"count":1`)
	sqlExec(t, d.Accounts, "ALTER TABLE accounts RENAME COLUMN hash TO digest")
	if got := post(t, a, "/account", `"count":1`); got.status != 503 {
		t.Errorf("%+v", got)
	}
	clock.advance(recheckEvery)
	got := post(t, a, "/account", `"count":1`)
	if names(t, got.body, "accounts", "digest") != names(t, before.body, "accounts", "hash") {
		t.Errorf("%+v", got)
	}
}

// A file that is damaged and repaired in place, while it is open, stays the same file for the file
// system.
func TestDamagedInPlace(t *testing.T) {
	d := unpack(t, "db")
	a, clock, _ := rig(t, d, forever)
	sound := must(os.ReadFile(d.Receipts))
	before := post(t, a, "/receipt", `"count":100`)
	put(d.Receipts, bytes.Repeat([]byte("garbage "), len(sound)/8))
	if got := post(t, a, "/receipt", `"count":100`); got.status != 503 || !strings.Contains(got.body, ErrDamaged.Error()[len("query: "):]) {
		t.Errorf("%.200s", got.body)
	}
	put(d.Receipts, sound)
	clock.advance(recheckEvery)
	if got := post(t, a, "/receipt", `"count":100`); got != before {
		t.Errorf("%.200s", got.body)
	}
}

func TestLockedDatabase(t *testing.T) {
	noLeaks(t)
	d := unpack(t, "db-odd")
	locker := must(sql.Open("sqlite3", "file:"+d.Receipts+"?_journal_mode=DELETE"))
	defer locker.Close()
	conn := must(locker.Conn(t.Context()))
	defer conn.Close()
	exec := func(s string) {
		if _, err := conn.ExecContext(context.Background(), s); err != nil {
			t.Fatal(err)
		}
	}
	a, clock, _ := rig(t, d, forever)
	if got := post(t, a, "/receipt", `"count":1`); got.status != 200 {
		t.Errorf("before: %+v", got)
	}
	exec("BEGIN EXCLUSIVE")
	begun := time.Now()
	got := post(t, a, "/receipt", `"count":1`)
	if took := time.Since(begun); got.status != 503 || !strings.Contains(got.body, "locked") ||
		took >= requestTime {
		t.Errorf("%+v after %v", got, took)
	}
	if problems := a.Health(t.Context()); len(problems) != 1 || !errors.Is(problems[0], ErrLocked) {
		t.Errorf("health: %v", problems)
	}
	exec("ROLLBACK")
	clock.advance(recheckEvery)
	if problems := a.Health(t.Context()); len(problems) != 0 {
		t.Errorf("health: %v", problems)
	}
	if got := post(t, a, "/receipt", `"count":1`); got.status != 200 {
		t.Errorf("after: %+v", got)
	}
}

// Nothing that is asked changes the database, and it cannot be changed over our connections.
func TestReadOnly(t *testing.T) {
	d := unpack(t, "db")
	before := must(os.ReadFile(d.Receipts))
	a := newAPI(t, d, forever)
	post(t, a, "/receipt", `"count":100`)
	o := must(a.sources.receipts.file.use())
	defer a.sources.receipts.file.release(o)
	for _, s := range []string{"DELETE FROM receipts", "CREATE TABLE x (y)",
		"PRAGMA user_version = 7", "PRAGMA query_only = 0; DELETE FROM receipts", "VACUUM"} {
		if _, err := o.db.Exec(s); err == nil && s != "PRAGMA user_version = 7" {
			t.Errorf("%s was done", s)
		}
	}
	if !bytes.Equal(must(os.ReadFile(d.Receipts)), before) {
		t.Error("the file has changed")
	}
	if stats := o.db.Stats(); stats.MaxOpenConnections != poolSize {
		t.Errorf("%d connections allowed", stats.MaxOpenConnections)
	}
}

// One file may hold all tables, also a collector's, whose accounts and transactions have other
// columns.
func TestCollectorsFile(t *testing.T) {
	one := filepath.Join(t.TempDir(), "a ?#%é.sqlite3")
	sqlExec(t, strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(one),
		"CREATE TABLE `cycles` (`cycleMarker` TEXT NOT NULL UNIQUE PRIMARY KEY, `counter` NUMBER NOT NULL, `cycleRecord` JSON NOT NULL)",
		"CREATE INDEX `cycles_idx` ON `cycles` (`counter` DESC)",
		"CREATE TABLE `accounts` (`accountId` TEXT NOT NULL UNIQUE PRIMARY KEY, `cycle` NUMBER NOT NULL, `timestamp` BIGINT NOT NULL, `ethAddress` TEXT NOT NULL, `account` JSON NOT NULL, `accountType` INTEGER NOT NULL, `hash` TEXT NOT NULL, `isGlobal` BOOLEAN NOT NULL, `contractInfo` JSON)",
		"CREATE TABLE `transactions` (`txId` TEXT NOT NULL, `cycle` NUMBER NOT NULL, `timestamp` BIGINT NOT NULL, `wrappedEVMAccount` JSON NOT NULL, `txHash` TEXT NOT NULL, PRIMARY KEY (`txId`, `txHash`))",
		"CREATE INDEX `transactions_cycle_timestamp` ON `transactions` (`cycle` DESC, `timestamp` DESC)",
		"CREATE TABLE `originalTxsData` (`txId` TEXT NOT NULL, `timestamp` BIGINT NOT NULL, `cycle` NUMBER NOT NULL, `originalTxData` JSON NOT NULL, PRIMARY KEY (`txId`, `timestamp`))",
		`INSERT INTO cycles VALUES ('m1', 1, '{"counter":1}'), ('m2', 2, ' {"counter": 2} '), ('m3', 3, '{"counter":3}')`,
		`INSERT INTO accounts VALUES ('a1', 1, 10, '0x1', '{"b":{"dataType":"bi","value":"ff"},"a":1}', 0, 'h', 1, NULL), ('a2', 2, 5, '0x2', '{}', 7, X'00ff', 2, '[1, 2]')`,
		`INSERT INTO transactions VALUES ('t1', 2, 20, '{}', 'x1'), ('t2', 1, 30, '{}', 'x2'), ('t3', 2, 20, '{}', 'x3')`,
	)
	a := newAPI(t, Databases{one, one, one, one, one}, forever)
	if len(a.files) != 1 {
		t.Errorf("%d files", len(a.files))
	}
	for _, c := range []struct{ path, parameters, want string }{
		{"/cycleinfo", `"count":2`, `{"cycleInfo":[{"counter":3},{"counter":2}],`},
		{"/account", `"start":0,"end":5`, `{"accounts":[` +
			`{"account":{"a":1,"b":{"dataType":"bi","value":"ff"}},"accountId":"a1","accountType":0,"contractInfo":null,"cycle":1,"ethAddress":"0x1","hash":"h","isGlobal":1,"timestamp":10},` +
			`{"account":{},"accountId":"a2","accountType":7,"contractInfo":[1,2],"cycle":2,"ethAddress":"0x2","hash":{"value":"AP8=","dataType":"bb"},"isGlobal":2,"timestamp":5}],`},
		{"/account", `"startCycle":2`, `"totalAccounts":1}`},
		{"/transaction", `"start":0,"end":5`, `"txId":"t2","wrappedEVMAccount":{}},{"cycle":2,"timestamp":20,"txHash":"x1","txId":"t1","wrappedEVMAccount":{}},{"cycle":2,"timestamp":20,"txHash":"x3"`},
		{"/transaction", `"count":1`, `"transactions":[{"cycle":2,"timestamp":20,"txHash":"x3","txId":"t3","wrappedEVMAccount":{}}]}`},
		{"/transaction", `"appReceiptId":"x2"`, `"txId":"t2"`},
		{"/originalTx", `"count":1`, `{"originalTxs":[],`},
	} {
		if got := post(t, a, c.path, c.parameters); got.status != 200 ||
			!strings.Contains(got.body, c.want) {
			t.Errorf("%s %s: %+v\nwant %s", c.path, c.parameters, got, c.want)
		}
	}
	if got := post(t, a, "/receipt", `"count":1`); got.status != 503 || !strings.Contains(got.body, "no table receipts") {
		t.Errorf("%+v", got)
	}
	if problems := a.Health(t.Context()); len(problems) != 1 || problems[0].Table != "receipts" {
		t.Errorf("%v", problems)
	}
}

// A table without the column of a second id is not a failure of its database.
func TestNoSecondID(t *testing.T) {
	d := unpack(t, "db-odd")
	sqlExec(t, d.Transactions, "DROP INDEX transactions_appReceiptId_idx",
		"ALTER TABLE transactions DROP COLUMN appReceiptId")
	a := newAPI(t, d, forever)
	if got := post(t, a, "/transaction", `"appReceiptId":"x"`); got.status != 503 || !strings.Contains(got.body, "database transactions") {
		t.Errorf("%+v", got)
	}
	if problems := a.Health(t.Context()); len(problems) != 0 {
		t.Errorf("%v", problems)
	}
}
