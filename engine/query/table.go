package query

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"distributor/wsproto/shardus"
)

// spec describes a table before its database is read. Of a list of names the first one that the
// table has is used: archivers' names come first, then collectors'.
type spec struct {
	name string
	// order is the column of cycles. Rows are ordered by it, by timestamp (except cycles), and by
	// rowid.
	order []string
	id    []string
	other []string // column of the second id; may be missing
	only  string   // the one column that is answered, not as an object; "": all columns
	flag  string   // a column that is answered as a boolean: whether it is 1
}

var (
	cyclesSpec = spec{
		name: "cycles", order: []string{"counter"}, id: []string{"cycleMarker"}, only: "cycleRecord",
	}
	accountsSpec = spec{
		name: "accounts", order: []string{"cycleNumber", "cycle"}, id: []string{"accountId"},
	}
	transactionsSpec = spec{
		name: "transactions", order: []string{"cycleNumber", "cycle"}, id: []string{"txId"},
		other: []string{"appReceiptId", "txHash"},
	}
	receiptsSpec = spec{
		name: "receipts", order: []string{"cycle"}, id: []string{"receiptId"},
		flag: "globalModification",
	}
	originalTxsSpec = spec{
		name: "originalTxsData", order: []string{"cycle"}, id: []string{"txId"},
	}
)

// table is a spec with the columns of its database. It is immutable.
type table struct {
	spec
	columns []column // in canonical order of their names
	sql     statements
}

// column is one column of an answer.
type column struct {
	name   string
	member []byte // `"name":`
	json   bool   // holds JSON text
	flag   bool
}

// statements are the queries of a table. Variants with a stop cycle take it as their first
// argument.
type statements struct {
	latest, rows, byID, byOther, total [2]string // without and with a stop cycle
	between, counted, tallied          string
	probe                              string
}

// describe reads a table's columns. It returns ErrSchema if the table is missing, or lacks a column
// that every query needs.
func describe(ctx context.Context, db *sql.DB, s spec) (*table, error) {
	found, err := db.QueryContext(ctx, "SELECT name, type FROM pragma_table_info(?)", s.name)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	var members []shardus.Member // only for their canonical order
	types := make(map[string]string)
	for found.Next() {
		var name, declared string
		if err := found.Scan(&name, &declared); err != nil {
			return nil, err
		}
		types[name] = declared
		members = append(members, shardus.Member{Key: name})
	}
	if err := found.Err(); err != nil {
		return nil, err
	}
	if len(types) == 0 {
		return nil, fmt.Errorf("%w: no table %s", ErrSchema, s.name)
	}
	t := &table{spec: s}
	for name := range shardus.ObjectValue(members...).All() {
		if s.only != "" && name != s.only {
			continue
		}
		t.columns = append(t.columns, column{
			name: name, member: append(quote(shardus.TextValue(name)), ':'),
			json: strings.EqualFold(types[name], "JSON"), flag: name == s.flag && name != "",
		})
	}
	if len(t.columns) == 0 {
		return nil, fmt.Errorf("%w: table %s has no column %s", ErrSchema, s.name, s.only)
	}
	pick := func(names []string) string {
		i := slices.IndexFunc(names, func(n string) bool { _, ok := types[n]; return ok })
		if i < 0 {
			return ""
		}
		return names[i]
	}
	order := []string{pick(s.order)}
	if s.only == "" {
		order = append(order, pick([]string{"timestamp"}))
	}
	for i, name := range append(order, pick(s.id)) {
		if name == "" {
			wanted := slices.Concat(s.order, []string{"timestamp"}, s.id)
			return nil, fmt.Errorf("%w: table %s needs columns %s",
				ErrSchema, s.name, strings.Join(wanted, ", "))
		}
		if i < len(order) {
			order[i] = identifier(name)
		}
	}
	t.sql = t.statements(order, pick(s.id), pick(s.other))
	return t, nil
}

// identifier quotes a name with backticks. In double quotes SQLite takes an unknown name for a
// text.
func identifier(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// statements writes the queries. order holds the columns that rows are ordered by, quoted. rowid
// decides between equal rows. It is the end of every index entry, so it costs nothing if there is
// an index.
func (t *table) statements(order []string, id, other string) statements {
	// The driver converts columns that were declared BOOLEAN or DATE. An expression has no declared
	// type, and + leaves its value as it is.
	list := make([]string, len(t.columns))
	for i, c := range t.columns {
		list[i] = "+" + identifier(c.name)
	}
	cycle, from := order[0], " FROM "+identifier(t.name)
	all := "SELECT " + strings.Join(list, ", ") + from
	ascending := " ORDER BY " + strings.Join(order, ", ") + ", rowid"
	descending := " ORDER BY " + strings.Join(order, " DESC, ") + " DESC, rowid DESC"
	one := " ORDER BY rowid LIMIT 1"

	inSpan := " WHERE " + cycle + " BETWEEN ? AND ?"
	count := "SELECT COUNT(*)" + from
	s := statements{
		between: all + inSpan + ascending + " LIMIT ? OFFSET ?",
		counted: count + inSpan,
		tallied: "SELECT " + cycle + ", COUNT(*)" + from + inSpan +
			" GROUP BY " + cycle + " ORDER BY " + cycle,
		total: [2]string{count, count + " WHERE " + cycle + " BETWEEN 0 AND ?"},
		probe: "SELECT COUNT(*) FROM (SELECT 1" + from + " LIMIT 1)",
	}
	for i, upTo := range []string{"", cycle + " <= ?"} {
		where, and := "", " WHERE "
		if upTo != "" {
			where, and = " WHERE "+upTo, " WHERE "+upTo+" AND "
		}
		s.latest[i] = all + where + descending + " LIMIT ?"
		s.rows[i] = all + where + ascending + " LIMIT ? OFFSET ?"
		s.byID[i] = all + and + identifier(id) + " = ?" + one
		if other != "" {
			s.byOther[i] = all + and + identifier(other) + " = ?" + one
		}
	}
	return s
}
