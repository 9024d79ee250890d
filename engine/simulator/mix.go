package simulator

// Mix chooses streams by weight, as evenly as possible: among any number of successive records,
// each stream has its share, plus or minus one. It is a smooth weighted round robin, without
// randomness.
type Mix struct {
	weight, credit [len(Streams)]float64
	total          float64
}

// NewMix takes one weight for each of Streams. A stream of weight 0 is never chosen. At least one
// weight must be above 0.
func NewMix(cycle, originalTx, receipt float64) *Mix {
	m := &Mix{
		weight: [len(Streams)]float64{cycle, originalTx, receipt},
		total:  cycle + originalTx + receipt,
	}
	if cycle > 0 {
		m.credit[0] = m.total // a cycle is first, because the records after it belong to it
	}
	return m
}

// StandardMix is the mix of an archiver on a busy network: 2 % cycles, 28 % originalTx, 70 %
// receipts.
func StandardMix() *Mix { return NewMix(2, 28, 70) }

// Next returns the stream of the next record.
func (m *Mix) Next() string { return Streams[m.next()] }

func (m *Mix) next() int {
	best := -1
	for i, w := range m.weight {
		m.credit[i] += w
		if w > 0 && (best < 0 || m.credit[i] > m.credit[best]) {
			best = i
		}
	}
	m.credit[best] -= m.total
	return best
}
