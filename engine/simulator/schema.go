package simulator

import (
	_ "embed"
	"strings"
)

// recordedSchema is what sqlite_master of an archiver's databases held: "-- <file>", then its
// statements. Their types count to the letter: NUMBER, JSON and BOOLEAN decide how SQLite stores a
// value.
//
//go:embed recorded/schema.sql
var recordedSchema string

// table is one of the archiver's five databases: a file that holds one table of the same name.
type table struct {
	name    string
	columns int
	upsert  string // what becomes of an older row; empty: it is replaced
}

// fileName is the database's file in the archiver's folder.
func (t *table) fileName() string { return t.name + ".sqlite3" }

func (t *table) schema() string {
	_, of, _ := strings.Cut(recordedSchema, "-- "+t.fileName()+"\n")
	of, _, _ = strings.Cut(of, "-- ")
	return of
}

// insert is the statement that takes a row, with its columns in the order of the schema.
func (t *table) insert() string {
	verb := "INSERT OR REPLACE"
	if t.upsert != "" {
		verb = "INSERT"
	}
	values := strings.Repeat(", ?", t.columns)[2:]
	return verb + " INTO " + t.name + " VALUES (" + values + ") " + t.upsert
}

const (
	tableCycles = iota
	tableOriginalTxs
	tableAccounts
	tableTransactions
	tableReceipts
	tableCount
)

// tables is in the order in which a batch is committed: who sees a receipt finds what it names.
var tables = [tableCount]table{
	tableCycles:      {name: "cycles", columns: 3},
	tableOriginalTxs: {name: "originalTxsData", columns: 4},
	// An account has one row, its newest state.
	tableAccounts: {name: "accounts", columns: 6, upsert: "ON CONFLICT (accountId) DO UPDATE" +
		" SET data = excluded.data, timestamp = excluded.timestamp, hash = excluded.hash," +
		" cycleNumber = excluded.cycleNumber, isGlobal = excluded.isGlobal" +
		" WHERE excluded.timestamp >= accounts.timestamp"},
	tableTransactions: {name: "transactions", columns: 6},
	tableReceipts:     {name: "receipts", columns: 11},
}
