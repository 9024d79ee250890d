package simulator

import (
	"bytes"
	"strconv"
)

// Odd gives the shares of records, 0 to 1, with something odd that a reader must handle.
type Odd struct {
	NonCanonical float64 // the same record, with its members in another order, and with white space
	Trailer      float64 // the record has a memo that reads like a log's trailer
	Damaged      float64 // after the record comes a line that breaks off, which is no record
	Blank        float64 // after the record comes a blank line

	// These are for receipts: the newest archiver logs them and does not store them. Both are records,
	// and are sent.
	Refused  float64 // the archiver did not accept it: it has no applyTimestamp
	Repeated float64 // after it comes a copy, with executionShardKey, without applyTimestamp
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

// appendNonCanonical appends another form of a canonical object: with its first member last, and
// with spaces and tabs between members. Line ends are not used, because they would end the line.
func appendNonCanonical(dst, record []byte) []byte {
	first := memberEnd(record, 1)
	if record[first] == '}' { // with one member only white space can differ
		dst = append(dst, "{ "...)
		return append(dst, record[1:]...)
	}
	dst = append(dst, "{ "...)
	dst = append(dst, record[first+1:len(record)-1]...)
	dst = append(dst, " ,\t"...)
	dst = append(dst, record[1:first]...)
	return append(dst, " }"...)
}

// appendMember appends the canonical object record with one text member added, in its sorted place.
// value must need no escapes.
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

// appendWithout appends the canonical object record without a member. The record must have it, and
// not as its last member.
func appendWithout(dst, record []byte, name string) []byte {
	at := memberPlace(record, name)
	dst = append(dst, record[:at]...)
	return append(dst, record[memberEnd(record, at)+1:]...)
}

// memberPlace returns where the member with that name begins, or would begin: at the quote of a
// name, or at the brace that ends the record.
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

// memberEnd returns where the member that begins at from ends: at the comma or brace after it.
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

// trailerMemo returns a memo like one that a malicious user writes to stop readers of the log.
func (r *random) trailerMemo() string {
	kind := []string{"entries", "bytes"}[r.IntN(2)]
	return "End: Number of " + kind + ": " + strconv.Itoa(r.between(1, 1000))
}
