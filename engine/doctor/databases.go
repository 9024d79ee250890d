package doctor

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mattn/go-sqlite3"

	problems "distributor/engine/problem"
)

// Doctor must leave no file behind, but SQLite would: to read a database in WAL mode, SQLite
// creates the files -wal and -shm if they do not exist. So the journal's files decide how doctor
// opens a database:
//
//	no -wal, or an empty one   immutable=1: no locks, no journal
//	-wal and -shm              mode=ro&readonly_shm=1: a reader beside the archiver
//	-wal without -shm          immutable=1: rows in the journal are not seen
//
// A database opened as immutable may look damaged if the archiver writes to it meanwhile. So doctor
// reads such a database a second time.

// apiNeeds are the columns of each table that the HTTP API needs. Of alternatives, separated by |,
// one is enough.
var apiNeeds = []struct {
	table   string
	columns []string
}{
	{"cycles", []string{"counter", "cycleMarker", "cycleRecord"}},
	{"accounts", []string{"accountId", "timestamp", "cycleNumber|cycle"}},
	{"transactions", []string{"txId", "timestamp", "cycleNumber|cycle"}},
	{"receipts", []string{"receiptId", "timestamp", "cycle"}},
	{"originalTxsData", []string{"txId", "timestamp", "cycle"}},
}

// walTooBig is far above the size at which SQLite checkpoints by itself (4 MB).
const walTooBig = 256 << 20

func databases(ctx context.Context, v visit) []Finding {
	if path := v.cfg.ArchiverDBPath; path != "" {
		var tables []string
		for _, n := range apiNeeds {
			tables = append(tables, n.table)
		}
		return []Finding{database(ctx, path, tables)}
	}
	dir := v.cfg.ArchiverDBDir
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return []Finding{problem("databases", absolute(dir)+" is not there",
			problems.DatabaseFailing.Remedy(nil, ""))}
	}
	d := v.cfg.ArchiverData
	var found []Finding
	for i, file := range []string{d.CycleDB, d.AccountDB, d.TransactionDB, d.ReceiptDB,
		d.OriginalTxDataDB} {
		found = append(found, database(ctx, filepath.Join(dir, file), []string{apiNeeds[i].table}))
	}
	return found
}

func database(ctx context.Context, path string, tables []string) Finding {
	name := "databases: " + filepath.Base(path)
	wal, err := headerOf(path)
	if err != nil {
		text := err.Error()
		switch {
		case errors.Is(err, fs.ErrNotExist):
			text = absolute(path) + " is not there"
		case errors.Is(err, io.EOF):
			text = "the file is empty"
		}
		return problem(name, text, problems.DatabaseFailing.Remedy(nil, ""))
	}
	text, err := contents(ctx, path, tables)
	var damaged sqlite3.Error
	if errors.As(err, &damaged) &&
		(damaged.Code == sqlite3.ErrCorrupt || damaged.Code == sqlite3.ErrNotADB) {
		text, err = contents(ctx, path, tables)
	}
	if err != nil {
		return problem(name, err.Error(), problems.DatabaseFailing.Remedy(nil, ""))
	}
	walSize := fileSize(path + "-wal")
	switch _, noShm := os.Stat(path + "-shm"); {
	case walSize > walTooBig:
		return warning(name, fmt.Sprintf("%s; its WAL has grown to %s", text, size(walSize)),
			"find the program that reads the database all the time (fuser): it keeps the archiver from checkpointing, and queries get slow")
	case walSize > 0 && noShm != nil:
		return warning(name, fmt.Sprintf("%s, not counting %s in a WAL that nobody has open", text,
			size(walSize)), "start the archiver: it did not stop cleanly, and recovers the WAL when it starts")
	case walSize > 0:
		text += ", WAL " + size(walSize)
	case wal:
		text += ", WAL"
	default:
		text += ", no WAL"
	}
	return fine(name, "%s, %s", text, size(fileSize(path)))
}

// headerOf reports whether a database is in WAL mode. The error io.EOF means that the file is
// empty.
func headerOf(path string) (wal bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var header [20]byte
	switch n, err := io.ReadFull(f, header[:]); {
	case n == 0 && err == io.EOF:
		return false, io.EOF
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return false, err
	case string(header[:16]) != "SQLite format 3\x00":
		return false, fmt.Errorf("%s is no SQLite database", absolute(path))
	}
	return header[18] == 2, nil
}

func fileSize(path string) int64 {
	fi, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return fi.Size()
}

// contents opens a database without leaving a file behind and describes its tables.
func contents(ctx context.Context, path string, tables []string) (string, error) {
	u := url.URL{Path: absolute(path)}
	how := "immutable=1"
	if _, err := os.Stat(path + "-shm"); err == nil && fileSize(path+"-wal") > 0 {
		how = "readonly_shm=1"
	}
	db, err := sql.Open("sqlite3", fmt.Sprintf("file:%s?mode=ro&%s&_query_only=1&_busy_timeout=200",
		u.EscapedPath(), how))
	if err != nil {
		return "", err
	}
	defer db.Close()
	var parts []string
	for _, need := range apiNeeds {
		if !slices.Contains(tables, need.table) {
			continue
		}
		if err := hasColumns(ctx, db, need.table, need.columns); err != nil {
			return "", err
		}
		var rows sql.NullInt64 // the newest row's number: at least the number of rows
		if err := db.QueryRowContext(ctx, `SELECT max(rowid) FROM "`+need.table+
			`"`).Scan(&rows); err != nil {
			return "", fmt.Errorf("%s: %w", need.table, err)
		}
		parts = append(parts, fmt.Sprintf("%s: about %d rows", need.table, rows.Int64))
	}
	return strings.Join(parts, ", "), nil
}

func hasColumns(ctx context.Context, db *sql.DB, table string, columns []string) error {
	rows, err := db.QueryContext(ctx, "SELECT name FROM pragma_table_info(?)", table)
	if err != nil {
		return err
	}
	defer rows.Close()
	var has []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		has = append(has, name)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if len(has) == 0 {
		return fmt.Errorf("there is no table %s", table)
	}
	for _, c := range columns {
		if !slices.ContainsFunc(strings.Split(c, "|"), func(name string) bool {
			return slices.Contains(has, name)
		}) {
			return fmt.Errorf("table %s has no column %s", table, strings.ReplaceAll(c, "|", " or "))
		}
	}
	return nil
}
