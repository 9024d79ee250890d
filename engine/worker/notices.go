package worker

import (
	"time"

	"distributor/engine/notice"
	"distributor/wsproto"
)

// notices are the notices for clients that asked for them. The primary saves a notice, marks the
// frame log, and then commits the frames that follow. So a worker that loads the head first and the
// mark second knows all notices before that head.
type notices struct {
	list   notice.List
	marks  uint64    // of the frame log, before the list was read
	read   bool      // the list was read at least once
	failed time.Time // when the list could not be read; the next attempt is noticeRetry later
}

// noticeRetry is the least time between two attempts to read the notices.
const noticeRetry = time.Second

// refreshNotices reads the notices if there may be new ones, and tells whether there may be.
func (l *loop) refreshNotices() bool {
	marks := l.frames.Marks()
	if l.notices.read && marks == l.notices.marks || l.now.Sub(l.notices.failed) < noticeRetry {
		return false
	}
	list, err := notice.Load(l.settings.Notices)
	if err != nil {
		if l.notices.failed.IsZero() {
			l.log.Error("cannot read the notices; clients get them late", "error", err)
		}
		l.notices.failed = l.now
		return false
	}
	l.notices = notices{list: list, marks: marks, read: true}
	return true
}

// noticeBarrier returns the offset that c's data must not pass now, because of the next notice or
// because later notices are not known, and tells whether a notice is due before more data.
func (l *loop) noticeBarrier(c *client) (barrier uint64, due bool) {
	head := l.frames.Head() // before the mark
	l.refreshNotices()
	list := &l.notices.list
	c.nextNotice = max(c.nextNotice, list.First)
	for ; c.nextNotice-list.First < uint64(len(list.Notices)); c.nextNotice++ {
		if at := list.Notices[c.nextNotice-list.First].Offset; at >= c.from {
			return max(min(at, head), c.cursor), at <= c.cursor
		}
	}
	return max(head, c.cursor), false
}

// composeNotice puts the notice that is due into c.pendingOutput.
func (l *loop) composeNotice(c *client) {
	n := l.notices.list.Notices[c.nextNotice-l.notices.list.First]
	c.pendingOutput = wsproto.AppendTextFrame(c.pendingOutput, []byte(n.Text))
	c.nextNotice++
}
