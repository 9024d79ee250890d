package framelog

import (
	"hash/crc32"
	"unsafe"
)

// maxAncestors bounds a lineage: a position under one of this many earlier IDs can still be served.
const maxAncestors = 64

// Ancestor is an earlier ID of the log. Offsets up to End mean the same bytes under the earlier ID
// as under the present ID. A collector with a position beyond End has frames that were given up.
type Ancestor struct {
	ID  ID
	End uint64
}

// lineage is the chain of ancestors in a head page, newest first. Entries behind the last one are
// zero.
type lineage struct {
	Ancestors [maxAncestors]Ancestor
	Check     uint64 // CRC-32C of the ancestors; 0 if there are none
}

func (l *lineage) check() uint64 {
	if l.Ancestors[0].ID == (ID{}) {
		return 0
	}
	return uint64(crc32.Checksum(
		unsafe.Slice((*byte)(unsafe.Pointer(l)), unsafe.Offsetof(l.Check)), castagnoli))
}

// list returns the ancestors. If the lineage is damaged, ok is false and all ancestors are lost.
func (l *lineage) list() (all []Ancestor, ok bool) {
	if l.Check != l.check() {
		return nil, false
	}
	for _, a := range l.Ancestors {
		if a.ID == (ID{}) {
			break
		}
		all = append(all, a)
	}
	return all, true
}

// set stores the newest maxAncestors of all.
func (l *lineage) set(all []Ancestor) {
	*l = lineage{}
	copy(l.Ancestors[:], all)
	l.Check = l.check()
}

// descend returns the ancestors of a log that gets a new ID and ends at head: h itself and the
// ancestors of h. No ancestor's End is beyond what is left of its successor.
func (h *known) descend(head uint64) []Ancestor {
	all := append([]Ancestor{{h.id, unknown}}, h.ancestors...)
	for i := range all {
		all[i].End = min(all[i].End, head)
	}
	return all
}
