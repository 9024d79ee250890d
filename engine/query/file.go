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
	// busyWait is how long a query waits for a lock. WAL readers do not wait for writers at all; it is for the
	// moment of recovery after a writer's crash, and for databases in other journal modes. The wait cannot be
	// interrupted.
	busyWait = 2 * time.Second
	// lookAgain is how often a file is looked at: whether it is there, still the same one, and whether what was
	// missing has come.
	lookAgain = time.Second
	// keptStatements is how many prepared statements a connection keeps: more than there are for all tables.
	keptStatements = 96
	// idleTime is how long an unused connection is kept.
	idleTime = time.Minute
)

// file is a database file that may come, go and be replaced while the distributor runs.
type file struct {
	path string
	now  func() time.Time

	mu     sync.Mutex
	open   *opened // nil: none
	err    error   // why there is none
	looked time.Time
	closed bool
}

// opened is a file that was there: its connections and its tables. Who uses it holds a reference.
type opened struct {
	db   *sql.DB
	info os.FileInfo

	refs    int  // guarded by file.mu
	retired bool // guarded by file.mu: closed when nobody uses it

	mu     sync.Mutex
	tables map[string]described
}

// described is a table, or why it could not be described and when.
type described struct {
	table *table
	err   error
	when  time.Time
}

// use gives the file's connections. Whatever happens, release must be called with what came.
func (f *file) use() (*opened, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, ErrClosed
	}
	if now := f.now(); f.looked.IsZero() || now.Sub(f.looked) >= lookAgain {
		f.looked = now
		f.look()
	}
	if f.open == nil {
		return nil, f.err
	}
	f.open.refs++
	return f.open, nil
}

// look opens the file, or another one that has taken its place.
func (f *file) look() {
	info, err := os.Stat(f.path)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%w: it is no file", ErrUnreadable)
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

// dataSource is the driver's name for a file: read-only, and not able to change its mind. It is never opened as immutable:
// another process writes to it.
func dataSource(path string) string {
	if absolute, err := filepath.Abs(path); err == nil {
		path = absolute
	}
	u := url.URL{Path: path}
	return fmt.Sprintf("file:%s?mode=ro&_query_only=1&_busy_timeout=%d&_stmt_cache_size=%d", u.EscapedPath(), busyWait.Milliseconds(), keptStatements)
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

// table describes a table at its first use, and again from time to time while that fails. Several may do it at once.
func (o *opened) table(ctx context.Context, s spec, now time.Time) (*table, error) {
	o.mu.Lock()
	d, known := o.tables[s.name]
	o.mu.Unlock()
	if known && (d.err == nil || now.Sub(d.when) < lookAgain) {
		return d.table, d.err
	}
	d.table, d.err = describe(ctx, o.db, s)
	d.err, d.when = classify(d.err), now
	if !errors.Is(d.err, context.Canceled) { // that is the fault of one client
		o.mu.Lock()
		o.tables[s.name] = d
		o.mu.Unlock()
	}
	return d.table, d.err
}

// forget has a table described again, but not at once.
func (o *opened) forget(name string, why error, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.tables[name].err == nil { // else the time of that failure counts
		o.tables[name] = described{err: why, when: now}
	}
}
