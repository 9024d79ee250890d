package simulator

import (
	_ "embed"
	"strings"
)

// recordedSchema is the contents of sqlite_master of an archiver's databases: "-- <file>", then its
// statements. Their types must stay as they are: NUMBER, JSON and BOOLEAN decide how SQLite stores
// a value.
//
//go:embed recorded/schema.sql
var recordedSchema string

// table is one of the archiver's five databases: a file that holds one table of the same name.
type table struct {
	name    string
	columns int
	upsert  string // conflict clause for an older row; empty: it is replaced
}

// fileName returns the name of the database's file in the archiver's directory.
func (t *table) fileName() string { return t.name + ".sqlite3" }

func (t *table) schema() string {
	_, of, _ := strings.Cut(recordedSchema, "-- "+t.fileName()+"\n")
	of, _, _ = strings.Cut(of, "-- ")
	return of
}

// insert returns the statement that inserts a row, with its columns in the order of the schema.
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

// tables is in the order in which a batch is committed, so that a reader who sees a receipt finds
// the rows that the receipt names.
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
