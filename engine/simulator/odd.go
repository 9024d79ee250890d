package simulator

import (
	"bytes"
	"strconv"
)

// Odd says which share of records, 0 to 1, comes with something odd that a reader must get right.
type Odd struct {
	NonCanonical float64 // written with its members in another order and with white space: the same record
	Trailer      float64 // the record has a memo that reads like a log's trailer
	Damaged      float64 // after the record comes a line that breaks off: no record
	Blank        float64 // after the record comes a blank line

	// Of receipts: what the newest archiver logs and does not store. Both are records, and are
	// sent.
	Refused  float64 // the archiver did not accept it: it has no applyTimestamp
	Repeated float64 // after it comes the same again: with executionShardKey, without applyTimestamp
}

type oddKind int

const (
	oddNonCanonical oddKind = iota
	oddTrailer
	oddDamaged
	oddBlank
	oddRefused
	oddRepeated
	oddKinds
)

var oddNames = [oddKinds]string{
	"noncanonical", "trailer", "damaged", "blank", "refused", "repeated",
}

func (o *Odd) share(k oddKind) *float64 {
	return [oddKinds]*float64{
		&o.NonCanonical, &o.Trailer, &o.Damaged, &o.Blank, &o.Refused, &o.Repeated,
	}[k]
}

// appendNonCanonical appends another spelling of a canonical object: last member first, spaces and
// tabs between its members. No line ends: they would make two lines of it.
func appendNonCanonical(dst, record []byte) []byte {
	first := memberEnd(record, 1)
	if record[first] == '}' { // one member only: white space must do
		dst = append(dst, "{ "...)
		return append(dst, record[1:]...)
	}
	dst = append(dst, "{ "...)
	dst = append(dst, record[first+1:len(record)-1]...)
	dst = append(dst, " ,\t"...)
	dst = append(dst, record[1:first]...)
	return append(dst, " }"...)
}

// appendMember appends the canonical object record with one text member more, in its sorted place.
// value needs no escapes.
func appendMember(dst, record []byte, name, value string) []byte {
	at := memberPlace(record, name)
	last := record[at] == '}'
	dst = append(dst, record[:at]...)
	if last && at > 1 {
		dst = append(dst, ',')
	}
	dst = append(append(append(dst, '"'), name...), `":"`...)
	dst = append(dst, value...)
	dst = append(dst, '"')
	if !last {
		dst = append(dst, ',')
	}
	return append(dst, record[at:]...)
}

// appendWithout appends the canonical object record without a member that it has, and not as its
// last.
func appendWithout(dst, record []byte, name string) []byte {
	at := memberPlace(record, name)
	dst = append(dst, record[:at]...)
	return append(dst, record[memberEnd(record, at)+1:]...)
}

// memberPlace returns where the member of that name begins, or would stand: at the quote of a name,
// or at the brace that ends the record.
func memberPlace(record []byte, name string) int {
	at := 1
	for record[at] != '}' {
		key := record[at+1:]
		if string(key[:bytes.IndexByte(key, '"')]) >= name {
			break
		}
		if at = memberEnd(record, at); record[at] == ',' {
			at++
		}
	}
	return at
}

// memberEnd returns where the member that begins at from ends: at the comma, or the brace, behind it.
func memberEnd(record []byte, from int) int {
	depth := 0
	for i := from; ; i++ {
		switch record[i] {
		case '"':
			for i++; record[i] != '"'; i++ {
				if record[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			depth--
		case ',':
			if depth == 0 {
				return i
			}
		}
	}
}

// trailerMemo is what a mischievous user writes into a transaction to stop its readers.
func (r *random) trailerMemo() string {
	kind := []string{"entries", "bytes"}[r.IntN(2)]
	return "End: Number of " + kind + ": " + strconv.Itoa(r.between(1, 1000))
}
