package simulator

// table is one of the archiver's five databases: a file that holds one table of the same name. The SQL is
// that of archivers, to the letter of its types: NUMBER, JSON and BOOLEAN decide how SQLite stores a value.
type table struct {
	name    string
	columns string
	indices []string
	insert  string
}

// fileName is the database's file in the archiver's folder.
func (t *table) fileName() string { return t.name + ".sqlite3" }

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
	tableCycles: {
		name:    "cycles",
		columns: "(`cycleMarker` TEXT NOT NULL UNIQUE PRIMARY KEY, `counter` NUMBER NOT NULL, `cycleRecord` JSON NOT NULL)",
		indices: []string{"`cycles_idx` ON `cycles` (`counter` ASC)"},
		insert:  "INSERT OR REPLACE INTO cycles (cycleMarker, counter, cycleRecord) VALUES (?, ?, ?)",
	},
	tableOriginalTxs: {
		name:    "originalTxsData",
		columns: "(`txId` TEXT NOT NULL, `timestamp` BIGINT NOT NULL, `cycle` NUMBER NOT NULL, `originalTxData` JSON NOT NULL, PRIMARY KEY (`txId`, `timestamp`))",
		indices: []string{
			"`originalTxsData_cycle` ON `originalTxsData` (`cycle` ASC)",
			"`originalTxsData_timestamp` ON `originalTxsData` (`timestamp` ASC)",
			"`originalTxsData_cycle_timestamp` ON `originalTxsData` (`cycle` ASC, `timestamp` ASC)",
			"`originalTxsData_txId` ON `originalTxsData` (`txId`)",
		},
		insert: "INSERT OR REPLACE INTO originalTxsData (txId, timestamp, cycle, originalTxData) VALUES (?, ?, ?, ?)",
	},
	tableAccounts: {
		name:    "accounts",
		columns: "(`accountId` TEXT NOT NULL UNIQUE PRIMARY KEY, `data` JSON NOT NULL, `timestamp` BIGINT NOT NULL, `hash` TEXT NOT NULL, `cycleNumber` NUMBER NOT NULL, `isGlobal` BOOLEAN NOT NULL)",
		indices: []string{
			"`accounts_cycleNumber` ON `accounts` (`cycleNumber` ASC)",
			"`accounts_timestamp` ON `accounts` (`timestamp` ASC)",
			"`accounts_cycleNumber_timestamp` ON `accounts` (`cycleNumber` ASC, `timestamp` ASC)",
		},
		// An account has one row, its newest state.
		insert: "INSERT INTO accounts (accountId, data, timestamp, hash, cycleNumber, isGlobal) VALUES (?, ?, ?, ?, ?, ?)" +
			" ON CONFLICT (accountId) DO UPDATE SET data = excluded.data, timestamp = excluded.timestamp, hash = excluded.hash," +
			" cycleNumber = excluded.cycleNumber, isGlobal = excluded.isGlobal WHERE excluded.timestamp >= accounts.timestamp",
	},
	tableTransactions: {
		name:    "transactions",
		columns: "(`txId` TEXT NOT NULL UNIQUE PRIMARY KEY, `appReceiptId` TEXT, `timestamp` BIGINT NOT NULL, `cycleNumber` NUMBER NOT NULL, `data` JSON NOT NULL, `originalTxData` JSON NOT NULL)",
		indices: []string{
			"`transactions_timestamp` ON `transactions` (`timestamp` ASC)",
			"`transactions_cycleNumber_timestamp` ON `transactions` (`cycleNumber` ASC, `timestamp` ASC)",
			"`transactions_appReceiptId_idx` ON `transactions` (`appReceiptId`)",
		},
		insert: "INSERT OR REPLACE INTO transactions (txId, appReceiptId, timestamp, cycleNumber, data, originalTxData) VALUES (?, ?, ?, ?, ?, ?)",
	},
	tableReceipts: {
		name:    "receipts",
		columns: "(`receiptId` TEXT NOT NULL UNIQUE PRIMARY KEY, `tx` JSON NOT NULL, `cycle` NUMBER NOT NULL, `applyTimestamp` BIGINT NOT NULL, `timestamp` BIGINT NOT NULL, `signedReceipt` JSON NOT NULL, `afterStates` JSON, `beforeStates` JSON, `appReceiptData` JSON, `executionShardKey` TEXT NOT NULL, `globalModification` BOOLEAN NOT NULL)",
		indices: []string{
			"`receipts_cycle` ON `receipts` (`cycle` ASC)",
			"`receipts_timestamp` ON `receipts` (`timestamp` ASC)",
			"`receipts_cycle_timestamp` ON `receipts` (`cycle` ASC, `timestamp` ASC)",
		},
		insert: "INSERT OR REPLACE INTO receipts (receiptId, tx, cycle, applyTimestamp, timestamp, signedReceipt, afterStates, beforeStates, appReceiptData, executionShardKey, globalModification)" +
			" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	},
}
