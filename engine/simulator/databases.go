package simulator

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	_ "github.com/mattn/go-sqlite3" // the driver
)

// Databases are the archiver's five SQLite databases, filled with the rows for the records given to
// Add. Rows become visible with Commit. A nil *Databases does nothing. Databases is not safe for
// concurrent use.
type Databases struct {
	open [tableCount]database
}

type database struct {
	table  *table
	db     *sql.DB
	tx     *sql.Tx // nil until the first row after a commit
	insert *sql.Stmt
}

// OpenDatabases opens the databases in dir, in WAL mode, and makes those that do not exist. With
// fresh they are deleted first.
func OpenDatabases(dir string, fresh bool) (*Databases, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("simulator: %w", err)
	}
	d := new(Databases)
	for i := range tables {
		db, err := openDatabase(dir, &tables[i], fresh)
		if err != nil {
			_ = d.Close() // nothing was written; the first error is returned
			return nil, fmt.Errorf("simulator: opening database %s: %w", tables[i].name, err)
		}
		d.open[i] = database{table: &tables[i], db: db}
	}
	return d, nil
}

func openDatabase(dir string, t *table, fresh bool) (*sql.DB, error) {
	path, err := filepath.Abs(filepath.Join(dir, t.fileName()))
	if err != nil {
		return nil, err
	}
	if fresh {
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
				return nil, err
			}
		}
	}
	// Not synchronous: the data is simulated, so a power failure may lose it.
	name := url.URL{
		Scheme: "file", Path: path,
		RawQuery: "_journal_mode=WAL&_synchronous=OFF&_busy_timeout=5000",
	}
	db, err := sql.Open("sqlite3", name.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	schema := strings.ReplaceAll(t.schema(), "CREATE TABLE ", "CREATE TABLE IF NOT EXISTS ")
	schema = strings.ReplaceAll(schema, "CREATE INDEX ", "CREATE INDEX IF NOT EXISTS ")
	if _, err := db.Exec(schema); err != nil {
		_ = db.Close()
		return nil, err
	}
	return db, nil
}

// The parts of records that become columns. JSON columns hold the text as it is in the record.
type (
	cycleColumns struct {
		Counter     int64           `json:"counter"`
		CycleMarker string          `json:"cycleMarker"`
		CycleRecord json.RawMessage `json:"cycleRecord"`
	}
	originalTxColumns struct {
		TxID           string          `json:"txId"`
		Timestamp      int64           `json:"timestamp"`
		Cycle          int64           `json:"cycle"`
		OriginalTxData json.RawMessage `json:"originalTxData"`
	}
	receiptColumns struct {
		ReceiptID          string          `json:"receiptId"`
		Tx                 json.RawMessage `json:"tx"`
		Cycle              int64           `json:"cycle"`
		ApplyTimestamp     int64           `json:"applyTimestamp"`
		Timestamp          int64           `json:"timestamp"`
		SignedReceipt      json.RawMessage `json:"signedReceipt"`
		AfterStates        json.RawMessage `json:"afterStates"`
		BeforeStates       json.RawMessage `json:"beforeStates"`
		AppReceiptData     json.RawMessage `json:"appReceiptData"`
		ExecutionShardKey  *string         `json:"executionShardKey"`
		GlobalModification bool            `json:"globalModification"`
	}
	accountColumns struct {
		AccountID   string          `json:"accountId"`
		Data        json.RawMessage `json:"data"`
		Timestamp   int64           `json:"timestamp"`
		Hash        string          `json:"hash"`
		CycleNumber int64           `json:"cycleNumber"`
		IsGlobal    bool            `json:"isGlobal"`
	}
)

// Add stores the rows for one record, given as canonical text: a cycle, an originalTx, or a receipt
// with its transaction and the accounts that it changed.
func (d *Databases) Add(stream string, record []byte) error {
	if d == nil {
		return nil
	}
	var err error
	switch stream {
	case Cycle:
		var c cycleColumns
		if err = json.Unmarshal(record, &c); err == nil {
			err = d.insert(tableCycles, c.CycleMarker, c.Counter, string(c.CycleRecord))
		}
	case OriginalTx:
		var o originalTxColumns
		if err = json.Unmarshal(record, &o); err == nil {
			err = d.insert(tableOriginalTxs, o.TxID, o.Timestamp, o.Cycle, string(o.OriginalTxData))
		}
	case Receipt:
		var r receiptColumns
		if err = json.Unmarshal(record, &r); err == nil {
			err = d.addReceipt(&r)
		}
	default:
		err = fmt.Errorf("no stream %q", stream)
	}
	if err != nil {
		return fmt.Errorf("simulator: storing a record of %s: %w", stream, err)
	}
	return nil
}

func (d *Databases) addReceipt(r *receiptColumns) error {
	var accounts []accountColumns
	if err := json.Unmarshal(r.AfterStates, &accounts); err != nil {
		return err
	}
	for i := range accounts {
		a := &accounts[i]
		err := d.insert(tableAccounts,
			a.AccountID, string(a.Data), a.Timestamp, a.Hash, a.CycleNumber, a.IsGlobal)
		if err != nil {
			return err
		}
	}
	var tx struct {
		OriginalTxData json.RawMessage `json:"originalTxData"`
	}
	if err := json.Unmarshal(r.Tx, &tx); err != nil {
		return err
	}
	key, err := r.shardKey()
	if err != nil {
		return err
	}
	// A transaction without an Ethereum receipt is stored under its own id.
	app := struct {
		AccountID string          `json:"accountId"`
		Data      json.RawMessage `json:"data"`
	}{r.ReceiptID, json.RawMessage("{}")}
	if err := json.Unmarshal(r.AppReceiptData, &app); err != nil { // null leaves it as it is
		return err
	}
	err = d.insert(tableTransactions, r.ReceiptID, app.AccountID, r.Timestamp, r.Cycle,
		string(app.Data), string(tx.OriginalTxData))
	if err != nil {
		return err
	}
	var appReceipt any // SQL NULL for null
	if string(r.AppReceiptData) != "null" {
		appReceipt = string(r.AppReceiptData)
	}
	return d.insert(tableReceipts,
		r.ReceiptID, string(r.Tx), r.Cycle, r.ApplyTimestamp, r.Timestamp, string(r.SignedReceipt),
		string(r.AfterStates), string(r.BeforeStates), appReceipt, key, r.GlobalModification)
}

// shardKey returns the executionShardKey that the archiver stores, also for receipts that it logs
// without one.
func (r *receiptColumns) shardKey() (string, error) {
	if r.ExecutionShardKey != nil {
		return *r.ExecutionShardKey, nil
	}
	var signed struct {
		Proposal struct {
			ExecutionShardKey string `json:"executionShardKey"`
		} `json:"proposal"`
		Tx struct {
			Source string `json:"source"`
		} `json:"tx"`
	}
	err := json.Unmarshal(r.SignedReceipt, &signed)
	if r.GlobalModification {
		return signed.Tx.Source, err
	}
	return signed.Proposal.ExecutionShardKey, err
}

// storedShardKey is shardKey for the text of a record.
func storedShardKey(record []byte) string {
	var r receiptColumns
	unmarshal(record, &r)
	key, err := r.shardKey()
	if err != nil {
		panic("simulator: " + err.Error())
	}
	return key
}

func (d *Databases) insert(table int, values ...any) error {
	db := &d.open[table]
	if db.tx == nil {
		tx, err := db.db.Begin()
		if err != nil {
			return err
		}
		stmt, err := tx.Prepare(db.table.insert())
		if err != nil {
			return errors.Join(err, tx.Rollback())
		}
		db.tx, db.insert = tx, stmt
	}
	_, err := db.insert.Exec(values...)
	return err
}

// Commit makes the added rows visible to readers of the databases.
func (d *Databases) Commit() error {
	if d == nil {
		return nil
	}
	for i := range d.open {
		db := &d.open[i]
		if db.tx == nil {
			continue
		}
		err := db.tx.Commit()
		db.tx, db.insert = nil, nil
		if err != nil {
			return fmt.Errorf("simulator: committing %s: %w", db.table.name, err)
		}
	}
	return nil
}

// Close commits the added rows and closes the databases.
func (d *Databases) Close() error {
	if d == nil {
		return nil
	}
	err := d.Commit()
	for i := range d.open {
		if db := d.open[i].db; db != nil {
			err = errors.Join(err, db.Close())
		}
	}
	return err
}

// lastCycle returns the highest stored counter, and when that cycle began (Unix seconds); -1 and 0
// if there is none.
func (d *Databases) lastCycle() (counter, start int64, err error) {
	if d == nil {
		return -1, 0, nil
	}
	const newest = "SELECT counter, COALESCE(json_extract(cycleRecord, '$.start'), 0)" +
		" FROM cycles ORDER BY counter DESC LIMIT 1"
	err = d.open[tableCycles].db.QueryRow(newest).Scan(&counter, &start)
	if errors.Is(err, sql.ErrNoRows) {
		return -1, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("simulator: looking for the last cycle: %w", err)
	}
	return counter, start, nil
}
