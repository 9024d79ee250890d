package encoder

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"distributor/engine/notice"
	"distributor/mmaplog/datalog"
	"distributor/wsproto"
	"distributor/wsproto/shardus"
)

// gapNotice is the text of a notice that reports a gap to clients that asked for notices.
type gapNotice struct {
	Type   string `json:"type"`
	Stream string `json:"stream"`
	Reason string `json:"reason"`
	After  place  `json:"after"`           // the end of what was read before the gap
	Next   string `json:"next"`            // data log from which reading continued
	Bytes  uint64 `json:"bytes,omitempty"` // bytes that are known to be lost
	Time   int64  `json:"time"`            // Unix milliseconds
}

type place struct {
	File   string `json:"file"`
	Offset uint64 `json:"offset"`
}

// tell saves a notice of a gap, at the end of the committed frames, before any frame behind the gap
// is committed. Like the append of a frame, it waits while the disk is full: once progress is
// saved, the gap is not found again.
func (e *Encoder) tell(ctx context.Context, stream datalog.Stream, g datalog.Gap) error {
	text, err := json.Marshal(gapNotice{
		Type: wsproto.NoticeGap, Stream: stream.String(), Reason: string(g.Reason),
		After: place{stream.FileName(g.After.Number), g.After.Offset},
		Next:  stream.FileName(g.Next), Bytes: g.Bytes, Time: g.Time.UnixMilli(),
	})
	if err == nil {
		text, err = shardus.AppendRecord(nil, text)
	}
	if err != nil {
		return fmt.Errorf("encoder: notice of a gap: %w", err)
	}
	n := notice.Notice{Offset: e.o.Frames.Head(),
		Text: string(e.o.Signer.AppendMessage(nil, wsproto.NoticeMember, text))}
	waited := false
	for {
		err := e.o.Notices.Add(n, e.o.Frames.Floor())
		if err == nil {
			break
		}
		if e.full.Swap(&err); !waited {
			e.o.Log.Error("a notice of a gap cannot be saved; it is tried again", "error", err)
		}
		waited = true
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(retryFull):
		}
	}
	if waited {
		e.full.Store(nil)
		e.o.Log.Info("the notice of a gap is saved")
	}
	return e.write(ctx, e.o.Frames.Mark)
}
