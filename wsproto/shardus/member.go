package shardus

import "strconv"

// TopLevelInt gives the number of a top-level member of a canonical object, without a parse of the rest: for the
// "counter" or "cycle" that stopDistributionAtCycle looks at. ok is false where there is no such member or it is no
// number. member is plain ASCII. Text that is not canonical gives any answer, but never a panic.
func TopLevelInt(canonical []byte, member string) (n float64, ok bool) {
	t := canonical
	if !hasPrefix(t, 0, `{"`) {
		return 0, false
	}
	for i := 1; i < len(t) && t[i] == '"'; i++ {
		start := i + 1
		end := textEnd(t, start)
		if end+1 >= len(t) {
			return 0, false
		}
		key := t[start:end]
		i = end + 2
		if string(key) == member {
			stop := i
			for stop < len(t) && t[stop] != ',' && t[stop] != '}' {
				stop++
			}
			if i == stop || t[i] != '-' && (t[i] < '0' || t[i] > '9') {
				return 0, false
			}
			n, err := strconv.ParseFloat(string(t[i:stop]), 64)
			return n, err == nil
		}
		if i = skipValue(t, i); i >= len(t) || t[i] != ',' {
			return 0, false
		}
	}
	return 0, false
}

// skipValue gives the index behind the value that begins at i: of the comma or the end of what it stands in.
func skipValue(t []byte, i int) int {
	for depth := 0; i < len(t); i++ {
		switch t[i] {
		case '"':
			i = textEnd(t, i+1)
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
	return i
}

// textEnd gives the index of the quote that ends a text, len(t) where there is none.
func textEnd(t []byte, i int) int {
	for i = plainEnd(t, i); i < len(t) && t[i] != '"'; i = plainEnd(t, i) {
		if t[i] == '\\' {
			i++
		}
		i++
	}
	return min(i, len(t))
}
