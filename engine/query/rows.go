package query

import (
	"database/sql"
	"encoding/base64"
	"fmt"
	"math"
	"strconv"

	"distributor/wsproto/shardus"
)

// rowReader turns rows into canonical text. It reuses its memory from row to row. Beyond the
// answer, a row allocates only the texts that the driver makes.
type rowReader struct {
	table  *table
	values []any // as the driver returns them: nil, int64, float64, string, []byte
	into   []any // pointers to values
}

func newRowReader(t *table) *rowReader {
	r := &rowReader{table: t, values: make([]any, len(t.columns)), into: make([]any, len(t.columns))}
	for i := range r.values {
		r.into[i] = &r.values[i]
	}
	return r
}

// rowError means that a row cannot be answered, because a JSON column holds no JSON.
type rowError struct {
	column string
	err    error
}

func (e *rowError) Error() string { return fmt.Sprintf("column %s: %v", e.column, e.err) }
func (e *rowError) Unwrap() error { return e.err }

// append appends the current row of rows. On a *rowError dst is returned unchanged. Any other error
// comes from the database.
func (r *rowReader) append(dst []byte, rows *sql.Rows) ([]byte, error) {
	if err := rows.Scan(r.into...); err != nil {
		return dst, err
	}
	start := len(dst)
	object := r.table.only == ""
	for i := range r.table.columns {
		c := &r.table.columns[i]
		if object {
			dst = append(dst, "{,"[min(i, 1)])
			dst = append(dst, c.member...)
		}
		var err error
		switch {
		case c.flag:
			dst = strconv.AppendBool(dst, r.values[i] == int64(1) || r.values[i] == float64(1))
		case !object:
			dst, err = appendWhole(dst, r.values[i])
		case c.json:
			dst, err = appendJSON(dst, r.values[i])
		default:
			dst, err = appendPlain(dst, r.values[i])
		}
		if err != nil {
			return dst[:start], &rowError{c.name, err}
		}
	}
	if object {
		dst = append(dst, '}')
	}
	return dst, nil
}

// appendWhole appends the one column that is the whole row. An empty value is null.
func appendWhole(dst []byte, v any) ([]byte, error) {
	if v == nil || v == "" || v == int64(0) || v == float64(0) {
		return append(dst, "null"...), nil
	}
	return appendJSON(dst, v)
}

// appendJSON appends a column that holds JSON text. An empty text stays empty. A number is
// possible, because in a column of type JSON SQLite stores text that looks like a number as a
// number: it is the same JSON.
func appendJSON(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case string:
		if v == "" {
			return append(dst, `""`...), nil
		}
		start := len(dst)
		dst = append(dst, v...)
		if shardus.IsCanonical(dst[start:]) { // as archivers write it
			return dst, nil
		}
		return shardus.AppendRecord(dst[:start], []byte(v))
	case []byte:
		return shardus.AppendRecord(dst, v)
	case float64:
		if math.IsInf(v, 0) {
			return dst, fmt.Errorf("%w: %v", shardus.ErrSyntax, v)
		}
	}
	return appendPlain(dst, v)
}

// exact is the largest integer up to which all integers are exact as JavaScript numbers.
const exact = 1 << 53

// appendPlain appends a value as it is. Bytes become a Buffer object, as Node's driver makes them.
func appendPlain(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case int64:
		if v <= exact && v >= -exact {
			return strconv.AppendInt(dst, v, 10), nil
		}
		return shardus.NumberValue(float64(v)).AppendCanonical(dst)
	case float64:
		return shardus.NumberValue(v).AppendCanonical(dst)
	case string:
		return shardus.TextValue(v).AppendCanonical(dst)
	case []byte:
		dst = append(dst, `{"value":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, v)
		return append(dst, `","dataType":"bb"}`...), nil
	}
	return dst, fmt.Errorf("a value of type %T", v)
}
