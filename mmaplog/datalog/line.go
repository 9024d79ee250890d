package datalog

import "bytes"

var trailerStarts = [2][]byte{[]byte("End: Number of entries: "), []byte("End: Number of bytes: ")}

// maxTrailerDigits bounds the number in a trailer: 20 digits hold any 64-bit count.
const maxTrailerDigits = 20

// chomp drops the one carriage return that a CRLF writer puts before the newline. Any other
// carriage return is white space inside the record and stays.
func chomp(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		return line[:n-1]
	}
	return line
}

// isBlank reports whether a line holds only JSON white space, so that it cannot hold a record.
func isBlank(line []byte) bool {
	for _, c := range line {
		if c != ' ' && c != '\t' && c != '\r' {
			return false
		}
	}
	return true
}

// isTrailer reports whether a line is a trailer. The whole line must match: the same words inside a
// record are data. The count is ignored, because it is wrong after restarts.
func isTrailer(line []byte) bool {
	for _, start := range trailerStarts {
		digits, ok := bytes.CutPrefix(line, start)
		if !ok {
			continue
		}
		if len(digits) == 0 || len(digits) > maxTrailerDigits {
			return false
		}
		for _, c := range digits {
			if c < '0' || c > '9' {
				return false
			}
		}
		return true
	}
	return false
}
