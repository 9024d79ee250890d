package query

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"
)

// source is a table in its file, as requests use it.
type source struct {
	spec
	file *file
	work semaphore // shared by all sources
	log  *slog.Logger

	failing        atomic.Pointer[DatabaseError] // error of the last query; nil: none
	rows           atomic.Uint64                 // answered
	damaged        atomic.Uint64                 // left out
	damageLoggedAt atomic.Int64                  // when damage was last logged, Unix seconds
}

// maxAnswer bounds an answer, in bytes. Node's own limit for a text is about four times as much.
const maxAnswer = 128 << 20

// damageLogged is the least time between two log lines about damaged rows of a table.
const damageLogged = 10 * time.Minute

// errNoOther is for tables without the column of the second id. It is no failure of the database.
var errNoOther = errors.New("there is no such id in its transactions")

// query lets f query the database. It returns nil, a *DatabaseError, or context.Canceled.
func (s *source) query(ctx context.Context, f func(reader) error) error {
	o, err := s.file.use()
	defer s.file.release(o)
	if err == nil {
		var t *table
		if t, err = o.table(ctx, s.spec, s.file.now()); err == nil {
			err = f(reader{ctx, s, o, newRowReader(t)})
		}
	}
	if errors.Is(err, errNoOther) {
		return &DatabaseError{s.name, s.file.path, err}
	}
	if err = classify(err); errors.Is(err, context.Canceled) {
		return err
	}
	return s.note(o, err)
}

// note records the outcome of a query, and logs it if it has changed.
func (s *source) note(o *opened, err error) error {
	if err == nil {
		if s.failing.Load() != nil && s.failing.Swap(nil) != nil {
			s.log.Info("database answers again", "table", s.name, "path", s.file.path)
		}
		return nil
	}
	failure := &DatabaseError{s.name, s.file.path, err}
	if errors.Is(err, ErrTimeout) || errors.Is(err, ErrTooLarge) || errors.Is(err, ErrClosed) {
		return failure // caused by the request or by us, not by the database
	}
	if errors.Is(err, ErrSchema) && o != nil {
		o.forget(s.name, err, s.file.now())
	}
	if before := s.failing.Swap(failure); before == nil || kind(before) != kind(err) {
		s.log.Error("database does not answer; it is tried again for each request",
			"table", s.name, "path", s.file.path, "error", err)
	}
	return failure
}

// reader queries one database for one request.
type reader struct {
	ctx context.Context
	*source
	opened *opened
	row    *rowReader
}

func (r reader) sql() *statements { return &r.row.table.sql }

// list appends the rows that a statement returns, with commas between them, and one before the
// first if a row precedes it. Damaged rows are left out.
func (r reader) list(dst []byte, statement string, args ...any) ([]byte, error) {
	found, err := r.opened.db.QueryContext(r.ctx, statement, args...)
	if err != nil {
		return dst, err
	}
	defer found.Close()
	// The semaphore is acquired after the first row, because the first row may wait for a lock.
	working := false
	for found.Next() {
		if !working {
			if err := r.work.acquire(r.ctx); err != nil {
				return dst, err
			}
			defer r.work.release()
			working = true
		}
		start := len(dst)
		if dst[start-1] != '[' {
			dst = append(dst, ',')
		}
		var bad *rowError
		if dst, err = r.row.append(dst, found); errors.As(err, &bad) {
			dst = dst[:start]
			r.damage(bad)
			continue
		}
		if err != nil {
			return dst, err
		}
		if len(dst) > maxAnswer {
			return dst, ErrTooLarge
		}
		r.rows.Add(1)
	}
	return dst, found.Err()
}

func (s *source) damage(bad *rowError) {
	s.damaged.Add(1)
	now := s.file.now().Unix()
	// If the clock was set back, log too.
	before := s.damageLoggedAt.Load()
	due := now < before || now-before >= int64(damageLogged.Seconds())
	if due && s.damageLoggedAt.CompareAndSwap(before, now) {
		s.log.Warn("a damaged row is left out of answers", "table", s.name, "path", s.file.path,
			"error", bad, "left_out_so_far", s.damaged.Load())
	}
}

// count returns the number that a statement returns.
func (r reader) count(statement string, args ...any) (n int64, err error) {
	err = r.opened.db.QueryRowContext(r.ctx, statement, args...).Scan(&n)
	return n, err
}

// tally appends {"cycle":…,"<name>":count} for each cycle.
func (r reader) tally(dst []byte, args ...any) ([]byte, error) {
	found, err := r.opened.db.QueryContext(r.ctx, r.sql().tallied, args...)
	if err != nil {
		return dst, err
	}
	defer found.Close()
	for found.Next() {
		var cycle any
		var n int64
		if err := found.Scan(&cycle, &n); err != nil {
			return dst, err
		}
		if dst[len(dst)-1] != '[' {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"cycle":`...)
		if dst, err = appendPlain(dst, cycle); err != nil {
			return dst, err
		}
		dst = append(append(append(dst, `,"`...), r.name...), `":`...)
		dst = append(strconv.AppendInt(dst, n, 10), '}')
	}
	return dst, found.Err()
}

// probe checks whether the database answers, and returns its failure or nil.
func (s *source) probe(ctx context.Context) *DatabaseError {
	err := s.query(ctx, func(r reader) error {
		if s.failing.Load() == nil {
			return nil // its file exists and its table is known; requests find other failures
		}
		_, err := r.count(r.sql().probe)
		return err
	})
	var failure *DatabaseError
	errors.As(err, &failure)
	return failure
}
