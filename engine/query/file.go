package query

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	_ "github.com/mattn/go-sqlite3" // the driver "sqlite3"
)

const (
	// poolSize bounds the connections of a database file. Each may take 2 MB of cache.
	poolSize = 4
	// busyWait is how long a query waits for a lock. WAL readers do not wait for writers. The wait is
	// for the recovery after a writer's crash, and for databases in other journal modes. It cannot be
	// interrupted.
	busyWait = 2 * time.Second
	// recheckEvery is the interval of checks of a file: whether it exists, whether it is still the
	// same one, and whether a table that could not be described now can.
	recheckEvery = time.Second
	// keptStatements is how many prepared statements a connection keeps: more than all tables have.
	keptStatements = 96
	// idleTime is how long an unused connection is kept.
	idleTime = time.Minute
)

// file is a database file that may appear, disappear and be replaced while the distributor runs.
type file struct {
	path string
	now  func() time.Time

	mu      sync.Mutex // guards the fields below
	open    *opened    // nil: none
	err     error      // why open is nil
	checked time.Time  // when the file was last checked
	closed  bool
}

// opened holds the connections and tables of a file that exists. Each user holds a reference.
type opened struct {
	db   *sql.DB
	info os.FileInfo

	refs    int  // guarded by file.mu
	retired bool // guarded by file.mu: close it with the last reference

	mu     sync.Mutex
	tables map[string]described
}

// described is a table, or why and when it could not be described.
type described struct {
	table *table
	err   error
	when  time.Time
}

// use returns the file's connections. The caller must call release with the result, also if it is
// an error.
func (f *file) use() (*opened, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, ErrClosed
	}
	if now := f.now(); f.checked.IsZero() || now.Sub(f.checked) >= recheckEvery {
		f.checked = now
		f.reopen()
	}
	if f.open == nil {
		return nil, f.err
	}
	f.open.refs++
	return f.open, nil
}

// reopen opens the file if it is not open, or another one is in its place.
func (f *file) reopen() {
	info, err := os.Stat(f.path)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%w: it is not a regular file", ErrUnreadable)
	}
	if err == nil && f.open != nil && os.SameFile(info, f.open.info) {
		return
	}
	f.retire()
	if err != nil {
		f.err = classify(err)
		return
	}
	db, err := sql.Open("sqlite3", dataSource(f.path))
	if err != nil {
		f.err = classify(err)
		return
	}
	db.SetMaxOpenConns(poolSize)
	db.SetMaxIdleConns(poolSize)
	db.SetConnMaxIdleTime(idleTime)
	f.open = &opened{db: db, info: info, tables: make(map[string]described)}
}

// dataSource returns the driver's name for a file, read-only. It is never opened as immutable,
// because another process writes to it.
func dataSource(path string) string {
	if absolute, err := filepath.Abs(path); err == nil {
		path = absolute
	}
	u := url.URL{Path: path}
	return fmt.Sprintf("file:%s?mode=ro&_query_only=1&_busy_timeout=%d&_stmt_cache_size=%d",
		u.EscapedPath(), busyWait.Milliseconds(), keptStatements)
}

func (f *file) retire() {
	if o := f.open; o != nil {
		f.open, o.retired = nil, true
		if o.refs == 0 {
			_ = o.db.Close()
		}
	}
}

func (f *file) release(o *opened) {
	if o == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if o.refs--; o.refs == 0 && o.retired {
		_ = o.db.Close()
	}
}

func (f *file) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.retire()
}

// table describes a table at its first use, and while that fails again every recheckEvery. Several
// goroutines may do so at once.
func (o *opened) table(ctx context.Context, s spec, now time.Time) (*table, error) {
	o.mu.Lock()
	d, known := o.tables[s.name]
	o.mu.Unlock()
	if known && (d.err == nil || now.Sub(d.when) < recheckEvery) {
		return d.table, d.err
	}
	d.table, d.err = describe(ctx, o.db, s)
	d.err, d.when = classify(d.err), now
	if !errors.Is(d.err, context.Canceled) { // a client left: this says nothing about the table
		o.mu.Lock()
		o.tables[s.name] = d
		o.mu.Unlock()
	}
	return d.table, d.err
}

// forget makes table describe a table again, after recheckEvery.
func (o *opened) forget(name string, why error, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.tables[name].err == nil { // else the time of that failure counts
		o.tables[name] = described{err: why, when: now}
	}
}
