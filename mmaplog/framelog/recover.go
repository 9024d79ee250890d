package framelog

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/edsrzf/mmap-go"

	"distributor/mmaplog/crashpoint"
)

// Recovery describes what OpenWriter found and did.
type Recovery struct {
	ID          ID
	NewID       string // why the log has a new ID; empty: it kept its ID
	Fresh       bool   // no file of a log was there
	Trusted     bool   // the log was closed on this boot, so no frame had to be verified
	RolledBack  bool   // the log ends before Options.Reached: its files are those of an older copy
	Head, Floor uint64
	Frames      uint64 // frames verified
	Bytes       uint64 // bytes verified
	// GivenUp lists committed frames at the end that are lost; their records are after LastSource.
	GivenUp []Damage
	Damaged []Damage // lost in the middle; the floor is above them
	Took    time.Duration
}

// OpenWriter opens the log in o.Dir for writing, or makes one. It verifies all kept frames first,
// unless the log was closed on this boot. Frames that were appended and not committed are gone.
// Damage is not an error: it is listed in the Recovery, logged, and lies below the floor. Errors:
// ErrLocked, ErrVersion, ErrNoSpace, and those of the file system.
func OpenWriter(o Options) (*Writer, Recovery, error) {
	began := time.Now()
	o, err := o.withDefaults()
	if err != nil {
		return nil, Recovery{}, err
	}
	if err := os.MkdirAll(o.Dir, dirMode); err != nil {
		return nil, Recovery{}, fmt.Errorf("framelog: make directory: %w", err)
	}
	w := &Writer{opts: o, spare: make(chan spare, 1)}
	if w.lock, err = lockDir(o.Dir); err != nil {
		return nil, Recovery{}, err
	}
	r, err := w.recoverGuarded()
	if err != nil {
		if w.active != nil {
			w.active.close()
		}
		w.letGo()
		return nil, Recovery{}, noSpace(err)
	}
	w.ahead, w.behind, w.beside = newQueue(), newQueue(), newQueue()
	w.finishOld()
	w.askSpare()
	r.Took = time.Since(began)
	r.report(&o)
	return w, r, nil
}

func (r *Recovery) report(o *Options) {
	for _, d := range r.Damaged {
		o.Log.Error("frame log: DAMAGE: committed frames are lost; nothing below them is served",
			"dir", o.Dir, "file", d.File, "start", d.Start, "end", d.End, "what", d.What)
	}
	for _, d := range r.GivenUp {
		o.Log.Error("frame log: committed frames at the end are given up, to be made again",
			"dir", o.Dir, "file", d.File, "start", d.Start, "end", d.End, "what", d.What)
	}
	o.Log.Info("frame log: open", "dir", o.Dir, "id", r.ID.String(), "new_id", r.NewID,
		"head", r.Head, "floor", r.Floor, "trusted", r.Trusted,
		"frames_verified", r.Frames, "bytes_verified", r.Bytes, "took", r.Took)
}

// recoverGuarded calls recover and turns memory faults into errors: a file system may refuse stores
// into mapped pages.
func (w *Writer) recoverGuarded() (r Recovery, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer w.recoverStore(&err)
	return w.recover()
}

// recover brings the directory into the state that examine found to be right. The process may be
// killed and the power may fail at any step: the next recovery then comes to the same end. This
// needs only this order:
//
//   - The head of an ID that is given up stays until the new head has its name, so that its
//     ancestors and floor stay known.
//   - Entries that are given up are off the disk before frames take their place. Else a power loss
//     might bring them back, and an offset would mean other bytes than before, under an ID that
//     counts as an ancestor.
//   - The floor and the open state in the head are on disk before files are removed and anything is
//     appended. Else after a power loss the removed files might count as damage, or the log as
//     closed.
func (w *Writer) recover() (r Recovery, err error) {
	dir, fault := w.opts.Dir, w.opts.fault
	if err := w.openHead(); err != nil {
		return r, err
	}
	defer func() {
		if errors.Is(err, errSync) && w.head != nil {
			w.lose()
		}
	}()
	var h *known
	if w.head != nil {
		h = w.head.known()
	}
	f, err := w.findings(h)
	if err != nil {
		return r, err
	}
	defer closeScanned(f.segments)
	r = Recovery{NewID: f.newID, Fresh: h == nil && len(f.pairs) == 0,
		Trusted: f.trusted, RolledBack: f.rolledBack,
		Head: f.head, Floor: f.floor, GivenUp: f.cut, Damaged: f.damaged}
	if !f.trusted {
		r.Frames, r.Bytes = f.verified()
	}

	if h != nil && !h.sameBoot(w.opts.boot) {
		w.head.Lost.Store(0) // what is read now is what is on disk
	}
	if h != nil && f.newID != "" { // from here on readers of the old ID get ErrReplaced
		w.head.Gone.Store(h.floor)
		w.head.State.Store(stateGone)
		w.head.Floor.Store(goneFloor)
		w.head.Boot = w.opts.boot
		crashpoint.Pass(crashpoint.IDGivenUp)
	} else if h != nil {
		w.head.Boot = w.opts.boot // before the state: an open log of another boot gets a new ID
		w.head.State.Store(stateOpen)
		w.head.Floor.Store(f.floor) // before anything below it goes
		w.head.Head.Store(f.head)   // where it was, but for known.counted
		w.head.Synced.Store(h.durable())
		crashpoint.Pass(crashpoint.RecoveryBegun)
	}
	// Of one that was left the disk knows that it is open.
	if h != nil && (h.state != stateLeft || !f.trusted || len(f.pairs) > len(f.segments)) {
		if err := syncFile(w.headFile, w.headPath(), fault); err != nil {
			return r, err
		}
	}
	removed, err := w.removeRest(f)
	if err != nil {
		return r, err
	}
	crashpoint.Pass(crashpoint.RestRemoved)
	if err := w.openActive(f, h); err != nil {
		return r, err
	}
	crashpoint.Pass(crashpoint.SegmentReopened)
	if f.newID != "" {
		err = w.newHead(f, h)
	} else {
		w.head.Frames.Store(w.frames)
		if removed || w.head.Lost.Load() != 0 { // else a removed segment may come back
			err = syncDir(dir, fault)
		}
	}
	if err != nil {
		return r, err
	}
	w.id, r.ID = w.head.ID, w.head.ID
	crashpoint.Pass(crashpoint.Recovered)
	return r, nil
}

// findings decides what is left of the log, by trust if the log allows it.
func (w *Writer) findings(h *known) (*findings, error) {
	if f := trust(w.opts.Dir, h, w.opts.boot); f != nil && !w.opts.Reached.beyond(h) {
		return f, nil
	} else if f != nil {
		closeScanned(f.segments)
	}
	f, err := examine(w.opts.Dir, h, w.opts.boot)
	if err == nil && w.opts.Reached.beyond(h) && f.newID == "" {
		f.rolledBack = true
		f.newID = fmt.Sprintf("it ends at %d and had reached %d: "+
			"its files were put back from an older copy", f.head, w.opts.Reached.Head)
	}
	return f, err
}

// openHead maps the head file. If the file is missing or damaged, w.head stays nil.
func (w *Writer) openHead() error {
	path := w.headPath()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("framelog: open head: %w", err)
	}
	w.headFile = f
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("framelog: open head: %w", err)
	}
	if info.Size() != pageSize {
		w.opts.Log.Error("frame log: DAMAGE: the head file is not one page",
			"path", path, "size", info.Size())
		return nil
	}
	if w.headMap, err = mapFile(f, pageSize, mmap.RDWR, w.opts.fault); err != nil {
		return err
	}
	err = guarded(asHead(w.headMap).valid)
	if errors.Is(err, ErrVersion) {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err != nil {
		w.opts.Log.Error("frame log: DAMAGE: the head file is not usable",
			"path", path, "error", err)
		unmap(&w.headMap)
		return nil
	}
	w.head = asHead(w.headMap)
	if _, ok := w.head.Lineage.list(); !ok {
		w.opts.Log.Error("frame log: DAMAGE: the list of earlier IDs is not usable; "+
			"positions under earlier IDs cannot be translated", "path", path)
	}
	return nil
}

// removeRest unlinks files that are not part of the log: spares, halves of segments, segments below
// the floor or beyond the head.
func (w *Writer) removeRest(f *findings) (removed bool, err error) {
	keep := map[uint64]bool{}
	for _, s := range f.segments {
		keep[s.base] = f.keeps(s)
	}
	for _, p := range f.pairs {
		if keep[p.base] {
			continue
		}
		w.opts.Log.Info("frame log: removing a segment that is not part of the log",
			"dir", w.opts.Dir, "base", fmt.Sprintf("%016x", p.base))
		if err := unlinkSegment(w.opts.Dir, p.base, w.opts.fault); err != nil {
			return removed, err
		}
		removed = true
	}
	if err := unlink(filepath.Join(w.opts.Dir, tempHead), w.opts.fault); err != nil {
		return removed, err
	}
	return removed, errors.Join(
		removeSpare(w.opts.Dir, w.opts.fault), removeCopies(w.opts.Dir, w.opts.fault))
}

// openActive prepares the last segment for appending at the head, or begins a new segment there.
func (w *Writer) openActive(f *findings, h *known) (err error) {
	dir, fault := w.opts.Dir, w.opts.fault
	last, count := f.last()
	w.last, w.tail = f.sources(), f.head
	// After a failed sync the last segment is written again. A segment that grows cannot be.
	seal := w.head != nil && w.head.Lost.Load() != 0
	for _, s := range f.segments {
		if !f.keeps(s) {
			continue
		}
		w.counted.segments.Add(1)
		if s == last && s.sealed != f.head && !seal {
			break
		}
		w.kept = append(w.kept, span{s.base, min(s.limit, f.head)})
		if err := w.repairSeal(s, min(s.limit, f.head)); err != nil {
			return err
		}
	}
	if h != nil {
		w.frames = h.frames
	}
	if last != nil {
		w.frames = asHeader(last.index).Frames + uint64(count)
	}
	if last != nil && last.sealed != f.head && !seal {
		frames, index := segmentPath(dir, last.base, framesExt), segmentPath(dir, last.base, indexExt)
		size := int64(0) // keep the size: readers have mapped the file
		if f.newID != "" {
			size = w.opts.SegmentBytes // it may have been trimmed; readers of the old ID left it
		}
		if w.active, err = openSegment(frames, index, 0, size, fault); err != nil {
			return err
		}
		if w.active.reopen(last.base, count, int(f.head-last.base)) {
			return syncFile(w.active.files[1], w.active.paths[1], fault)
		}
		return nil
	}
	if w.active, err = createSpare(dir, w.opts.SegmentBytes, fault); err != nil {
		return err
	}
	w.counted.segments.Add(1)
	return w.active.begin(dir, f.head, w.frames, &w.last, fault)
}

// repairSeal stores the end of a segment that others follow, if its header says another end.
func (w *Writer) repairSeal(s *scanned, end uint64) error {
	if s.sealed == end {
		return nil
	}
	path := segmentPath(w.opts.Dir, s.base, indexExt)
	if s.sealed != 0 { // else it is sealed now, or the seal had not reached the disk
		w.opts.Log.Error("frame log: DAMAGE repaired: the sealed end was wrong",
			"path", path, "was", s.sealed, "is", end)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("framelog: repair seal: %w", err)
	}
	defer f.Close()
	page, err := mapFile(f, pageSize, mmap.RDWR, w.opts.fault)
	if err != nil {
		return err
	}
	defer unmap(&page)
	asHeader(page).Sealed.Store(end)
	return nil
}

// reopen makes a mapped segment the active one, with its first count entries and used bytes. It
// zeroes later entries, the last one first: readers search the whole index, and every unused entry
// must end beyond the head or be zero. If changed is true, the caller has to sync the index before
// anything is appended.
func (s *segment) reopen(base uint64, count, used int) (changed bool) {
	s.base, s.count, s.used = base, count, used
	changed = s.header.Sealed.Swap(0) != 0
	for i := len(s.entries) - 1; i >= count; i-- {
		if e := &s.entries[i]; !e.isZero() {
			*e = entry{}
			changed = true
		}
	}
	return changed
}

// newHead makes a head with a new ID. The file is complete before it gets its name, and has its
// name before anything is appended.
func (w *Writer) newHead(f *findings, old *known) error {
	unmap(&w.headMap)
	w.head = nil
	if w.headFile != nil {
		w.headFile.Close()
	}
	temp, fault := filepath.Join(w.opts.Dir, tempHead), w.opts.fault
	file, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return fmt.Errorf("framelog: make head: %w", err)
	}
	w.headFile = file
	if err := allocate(file, temp, pageSize, fault); err != nil {
		return err
	}
	if w.headMap, err = mapFile(file, pageSize, mmap.RDWR, fault); err != nil {
		return err
	}
	h := asHead(w.headMap)
	h.Magic, h.Version = headMagic, formatVersion
	rand.Read(h.ID[:])
	h.Check = h.check()
	h.Boot = w.opts.boot
	h.Head.Store(f.head)
	h.Frames.Store(w.frames)
	h.Floor.Store(f.floor)
	h.State.Store(stateOpen)
	if old != nil {
		h.Synced.Store(min(old.durable(), f.head))
		if old.sameBoot(w.opts.boot) {
			h.Lost.Store(old.lost)
		}
		h.Lineage.set(old.descend(f.head))
	}
	if err := syncFile(file, temp, fault); err != nil {
		return err
	}
	crashpoint.Pass(crashpoint.HeadMade)
	if err := rename(temp, w.headPath(), fault); err != nil {
		return err
	}
	crashpoint.Pass(crashpoint.HeadNamed)
	w.head = h
	err = syncDir(w.opts.Dir, fault)
	if err == nil && old == nil { // the directory may be new as well
		err = syncDir(filepath.Dir(filepath.Clean(w.opts.Dir)), fault)
	}
	return err
}
