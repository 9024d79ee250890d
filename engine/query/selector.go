package query

import (
	"fmt"
	"math"
	"math/big"
	"unicode/utf16"
	"unicode/utf8"

	"distributor/wsproto/shardus"
)

// The first selector of the endpoint that a request gives decides what it selects; the others are
// ignored. A number counts as given if it is not zero; start, startCycle and cycle also if they are
// zero. Nothing here does I/O.

// mode is the kind of query of a selection.
type mode uint8

const (
	nothing mode = iota // an empty list
	latest              // the newest rows, newest first
	rows                // rows by their place in the order of the table
	between             // rows of a span of cycles (of cycleinfo: the cycles themselves)
	counted             // the number of rows of a span of cycles
	tallied             // the number of rows of each cycle of a span
	byID                // the rows with some ids
	byOther             // the row with a second id (appReceiptId)
)

// selection is what a request selects of its table. The zero value selects an empty list.
type selection struct {
	mode     mode
	limit    int64 // most rows
	offset   int64 // rows skipped before them
	from, to float64
	ids      []string
	total    bool // answer the number of rows of from..to too
	only     bool // answer that number alone
}

// The limits of the replaced service.
const (
	txIDLength   = 64      // in UTF-16 units
	maxSpan      = 100     // cycles: endCycle - startCycle
	maxWhole     = 1 << 53 // beyond it numbers in JSON are not exact
	maxListItems = 100
)

// limits are the limits that differ between endpoints, with their texts.
type limits struct {
	rows     float64 // most rows of count, of a page, and of end - start
	tooMany  string  // refusal of a larger count
	rowsName string
	spanName string // end of the refusal of a span of too many cycles
}

func number(v shardus.Value, name string) float64 { return v.Get(name).Number() }
func given(v shardus.Value, name string) bool     { return v.Get(name).Kind() == shardus.Number }

func whole(f float64) bool {
	return f == math.Trunc(f) && math.Abs(f) <= maxWhole
}

func (l limits) latest(v shardus.Value) (selection, *refusal) {
	count := number(v, "count")
	switch {
	case count < 0:
		return selection{}, refuse("Invalid count")
	case count > l.rows:
		return selection{}, refuse(l.tooMany)
	case !whole(count): // SQLite would reject it
		return selection{}, refuse("Invalid count")
	}
	return selection{mode: latest, limit: int64(count)}, nil
}

// span reads a pair of bounds. An end that is missing or 0 equals the start.
func span(
	v shardus.Value, start, end string, widest float64, tooWide string,
) (from, to float64, why *refusal) {
	from, to = number(v, start), number(v, end)
	if to == 0 {
		to = from
	}
	if from < 0 || to < from {
		return 0, 0, refuse("Invalid " + start + " and " + end + " counters")
	}
	if to-from > widest {
		return 0, 0, refuse(tooWide)
	}
	return from, to, nil
}

func (l limits) rowSpan(v shardus.Value) (from, to float64, why *refusal) {
	tooWide := fmt.Sprintf("Exceed maximum limit of %d %s", int(l.rows), l.rowsName)
	return span(v, "start", "end", l.rows, tooWide)
}

// byRow reads start and end as positions in the table.
func (l limits) byRow(v shardus.Value) (selection, *refusal) {
	from, to, why := l.rowSpan(v)
	if why != nil {
		return selection{}, why
	}
	if !whole(from) || !whole(to) {
		return selection{}, refuse("Invalid start and end counters")
	}
	return selection{mode: rows, offset: int64(from), limit: int64(to-from) + 1}, nil
}

func (l limits) cycleSpan(v shardus.Value) (from, to float64, why *refusal) {
	tooWide := fmt.Sprintf("Exceed maximum limit of %d cycles%s", maxSpan, l.spanName)
	return span(v, "startCycle", "endCycle", maxSpan, tooWide)
}

// page reads the page number; 0 if there is none.
func page(v shardus.Value) (float64, *refusal) {
	p := number(v, "page")
	if p != 0 && (p < 1 || !whole(p)) {
		return 0, refuse("Invalid page number")
	}
	return p, nil
}

func selectCycles(v shardus.Value, l limits) (selection, *refusal) {
	switch {
	case number(v, "count") != 0:
		return l.latest(v)
	case given(v, "start"):
		from, to, why := l.rowSpan(v)
		return selection{mode: between, from: from, to: to, limit: -1}, why
	}
	return selection{}, unspecified("cycle")
}

// unspecified returns the one refusal that the replaced service does not sign.
func unspecified(what string) *refusal {
	why := refuse("not specified which " + what + " to show")
	why.unsigned = true
	return why
}

// selectTransfers is for originalTx and receipt.
func selectTransfers(v shardus.Value, l limits) (selection, *refusal) {
	switch {
	case number(v, "count") != 0:
		return l.latest(v)
	case v.Get("txId").Text() != "":
		id := v.Get("txId")
		if units(id.Text()) != txIDLength {
			return selection{}, refuseEcho("Invalid txId ", quote(id), "")
		}
		return selection{mode: byID, ids: []string{id.Text()}}, nil
	case v.Get("txIdList").Text() != "":
		ids, why := idList(v.Get("txIdList"), l)
		return selection{mode: byID, ids: ids}, why
	case given(v, "start"):
		return l.byRow(v)
	case given(v, "startCycle"):
		from, to, why := l.cycleSpan(v)
		if why != nil {
			return selection{}, why
		}
		switch v.Get("type").Text() {
		case "tally":
			return selection{mode: tallied, from: from, to: to}, nil
		case "count":
			return selection{mode: counted, from: from, to: to}, nil
		}
		p, why := page(v)
		return selection{
			mode: between, from: from, to: to, limit: int64(l.rows), offset: offset(p, l),
		}, why
	}
	return selection{}, nil
}

func offset(page float64, l limits) int64 { return int64(max(page-1, 0) * l.rows) }

// selectStates is for account and transaction, without their ids.
func selectStates(v shardus.Value, l limits) (selection, *refusal) {
	switch {
	case number(v, "count") != 0:
		return l.latest(v)
	case given(v, "start"):
		return l.byRow(v)
	case given(v, "startCycle"):
		from, to, why := l.cycleSpan(v)
		if why != nil {
			return selection{}, why
		}
		p, why := page(v)
		return selection{
			mode: between, from: from, to: to, limit: int64(l.rows), offset: offset(p, l),
			total: true, only: p == 0,
		}, why
	}
	return selection{}, nil
}

func selectAccounts(v shardus.Value, l limits) (selection, *refusal) {
	if s, why := selectStates(v, l); why != nil || s.mode != nothing {
		return s, why
	}
	if id := v.Get("accountId").Text(); id != "" {
		return selection{mode: byID, ids: []string{id}}, nil
	}
	return selection{}, unspecified("account")
}

func selectTransactions(v shardus.Value, l limits) (selection, *refusal) {
	if s, why := selectStates(v, l); why != nil || s.mode != nothing {
		return s, why
	}
	if id := v.Get("txId").Text(); id != "" {
		return selection{mode: byID, ids: []string{id}}, nil
	}
	if id := v.Get("appReceiptId").Text(); id != "" {
		return selection{mode: byOther, ids: []string{id}}, nil
	}
	return selection{}, unspecified("account") // the replaced service's word
}

// selectCycle is for cycleData.
func selectCycle(v shardus.Value, _ limits) (selection, *refusal) {
	cycle := number(v, "cycle")
	if !given(v, "cycle") || cycle < 0 {
		return selection{}, refuse("Invalid cycle. Must be a number >= 0")
	}
	return selection{mode: counted, from: cycle, to: cycle}, nil
}

// idList reads txIdList: JSON text of a list of ids. A text in place of a list is a list of its
// characters, as in JavaScript.
func idList(text shardus.Value, l limits) ([]string, *refusal) {
	invalid := func() ([]string, *refusal) {
		return nil, refuseEcho("Invalid txIdList ", quote(text), "")
	}
	list, err := shardus.Parse([]byte(text.Text()))
	if err != nil {
		return invalid()
	}
	length := list.Len()
	switch list.Kind() {
	case shardus.Text:
		length = units(list.Text())
	case shardus.Object:
		length = int(min(number(list, "length"), maxWhole))
	}
	if length > maxListItems {
		return nil, refuse(fmt.Sprintf("Exceed maximum limit of %d %s", maxListItems, l.rowsName))
	}
	var ids []string
	switch list.Kind() {
	case shardus.Array:
		for _, id := range list.All() {
			if id.Kind() != shardus.Text || units(id.Text()) != txIDLength {
				return nil, refuseEcho("Invalid txId ", quotedText(id), " in the List")
			}
			ids = append(ids, id.Text())
		}
	case shardus.Text:
		if length > 0 { // a character is not an id
			_, size := utf8.DecodeRuneInString(list.Text())
			first := quote(shardus.TextValue(list.Text()[:size]))
			return nil, refuseEcho("Invalid txId ", first, " in the List")
		}
	default:
		return invalid()
	}
	return ids, nil
}

// quotedText returns what a JavaScript template makes of a value, as canonical JSON text.
func quotedText(v shardus.Value) []byte {
	if v.Kind() == shardus.Text {
		return quote(v)
	}
	return quote(shardus.TextValue(string(appendText(nil, v))))
}

func appendText(dst []byte, v shardus.Value) []byte {
	switch v.Kind() {
	case shardus.Text:
		return append(dst, v.Text()...)
	case shardus.BigInt:
		n, ok := new(big.Int).SetString(v.Hex(), 16)
		if !ok || len(v.Hex()) > 1024 { // more decimal digits would cost too much
			return append(append(dst, "0x"...), v.Hex()...)
		}
		return n.Append(dst, 10)
	case shardus.Null, shardus.Number, shardus.Bool:
		return append(dst, quote(v)...)
	case shardus.Array:
		for i := range v.Len() {
			if i > 0 {
				dst = append(dst, ',')
			}
			if item := v.Index(i); item.Kind() != shardus.Null {
				dst = appendText(dst, item)
			}
		}
		return dst
	}
	return append(dst, "[object Object]"...)
}

// units returns the length of a text as JavaScript counts it, in UTF-16 units.
func units(text string) int {
	n := 0
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		if r == utf8.RuneError && size == 1 { // a lone surrogate: see shardus.Value.Text
			n, i = n+1, i+3
			continue
		}
		n, i = n+utf16.RuneLen(r), i+size
	}
	return n
}
