package query

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mattn/go-sqlite3"
)

// These errors say why a database does not answer. The text around them names the database and
// SQLite's error.
var (
	// ErrMissing: there is no such file.
	ErrMissing = errors.New("query: the database is not there")
	// ErrUnreadable: the file exists, but cannot be opened or read: permissions, a directory, an I/O
	// error.
	ErrUnreadable = errors.New("query: the database cannot be read")
	// ErrDamaged: the file is not an SQLite database, or is a damaged one.
	ErrDamaged = errors.New("query: the file is no sound database")
	// ErrLocked: another process has kept the database locked for longer than a query waits.
	ErrLocked = errors.New("query: the database is locked")
	// ErrSchema: the database lacks a table or a column that the query needs.
	ErrSchema = errors.New("query: the database lacks what was asked for")
	// ErrTimeout: the query took longer than a request may take.
	ErrTimeout = errors.New("query: it took too long")
	// ErrTooLarge: the answer would be longer than maxAnswer.
	ErrTooLarge = errors.New("query: the answer would be too large")
	// ErrCrowded: answers that clients have not read yet and bodies that are arriving hold too much
	// memory, either all of them or those of one address.
	ErrCrowded = errors.New("query: slow clients hold too much memory")
	// ErrBusy: the query process has as many requests as it may have at a time, in all or from one
	// address.
	ErrBusy = errors.New("query: too many requests are under way")
	// ErrClosed: the API was closed.
	ErrClosed = errors.New("query: closed")
)

// DatabaseError is an error of one table's database.
type DatabaseError struct {
	Table string // "receipts", …
	Path  string // the whole path: for the operator, not for clients
	Err   error  // one of the errors above, with SQLite's error
}

func (e *DatabaseError) Error() string {
	return fmt.Sprintf("%s: database %s (%s)", e.Err, e.Table, e.Path)
}

func (e *DatabaseError) Unwrap() error { return e.Err }

// public returns the text for clients: it names the database, but not its directory.
func (e *DatabaseError) public() string {
	text := strings.TrimPrefix(e.Err.Error(), "query: ")
	text = strings.ReplaceAll(text, filepath.Dir(e.Path)+string(filepath.Separator), "")
	return fmt.Sprintf("database %s (%s): %s", e.Table, filepath.Base(e.Path), text)
}

var sentinels = []error{
	ErrMissing, ErrUnreadable, ErrDamaged, ErrLocked, ErrSchema,
	ErrTimeout, ErrTooLarge, ErrCrowded, ErrBusy, ErrClosed, context.Canceled,
}

// kind returns the index in sentinels of the one that err wraps, or -1.
func kind(err error) int {
	return slices.IndexFunc(sentinels, func(known error) bool { return errors.Is(err, known) })
}

// classify wraps an error of the driver in its sentinel. It returns context.Canceled unchanged: the
// client has left.
func classify(err error) error {
	var s sqlite3.Error
	switch {
	case err == nil || kind(err) >= 0:
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return ErrTimeout
	case errors.Is(err, fs.ErrNotExist):
		return ErrMissing
	case errors.As(err, &s):
		switch s.Code {
		case sqlite3.ErrBusy, sqlite3.ErrLocked:
			return fmt.Errorf("%w: %w", ErrLocked, err)
		case sqlite3.ErrNotADB, sqlite3.ErrCorrupt, sqlite3.ErrFormat:
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		case sqlite3.ErrError, sqlite3.ErrSchema:
			return fmt.Errorf("%w: %w", ErrSchema, err)
		case sqlite3.ErrInterrupt: // only a context interrupts
			return ErrTimeout
		}
	}
	return fmt.Errorf("%w: %w", ErrUnreadable, err)
}
