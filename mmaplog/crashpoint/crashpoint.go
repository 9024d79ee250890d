// Package crashpoint names the moments between two durable steps: if a process is killed at such a
// moment, the next process has to understand what is on disk. A binary built with the tag
// crashpoints kills itself by SIGKILL when it passes one of them for the n-th time, as
// DISTRIBUTOR_CRASH_POINT=<name>:<n> says. In any other binary Pass is empty, is compiled away with
// its callers' arguments, and the variable has no effect.
//
// The package does not know what happens before and after a point; the code that calls Pass does.
// engine/enginetest kills the real binary at each of Names.
package crashpoint

// Point is one of these moments.
type Point uint8

// The points of the frame log, in the order of a frame's life.
const (
	FramesWritten   Point = iota // into the active segment, not committed
	EntryWritten                 // not committed
	FramesCounted                // the head's count is ahead of the head
	HeadPublished                // nobody was woken
	SpareCreated                 // the frames file of the next segment, not its index
	SpareMade                    // without a name
	IndexNamed                   // the next segment's index has its name, its frames do not
	FramesNamed                  // the segment before is not sealed
	SegmentSealed                // nothing is in the next one
	SegmentGrown                 // for a frame that is longer than a segment
	SegmentTrimmed               // not synced
	SegmentSynced                // the head's file was not
	HeadSynced                   // the head does not say so
	SyncedRaised                 // all done
	FloorRaised                  // the files below are there
	FramesUnlinked               // their index is there
	SegmentUnlinked              // all done
	LogSynced                    // at the close, which is not said
	CloseSaid                    // in the head, which was not synced

	// Recovery, and the making of a log.
	IDGivenUp       // there is no new one yet
	RecoveryBegun   // floor and state are what recovery wants
	RestRemoved     // what was no part of the log
	SegmentReopened // the active one, or a new one has its names
	HeadMade        // with a new ID, without its name
	HeadNamed       // its directory was not synced
	Recovered       // nothing was appended

	// The primary's files, in the order of engine/atomicfile.
	CheckpointCreated // aside, and empty
	CheckpointWritten // aside, not synced
	CheckpointSynced  // aside
	CheckpointNamed   // the directory is not synced
	CollectorsCreated
	CollectorsWritten
	CollectorsSynced
	CollectorsNamed
	NoticesCreated
	NoticesWritten
	NoticesSynced
	NoticesNamed

	count
)

// Names holds the names of all points, as the variable takes them.
var Names = [count]string{
	"frames-written", "entry-written", "frames-counted", "head-published", "spare-created",
	"spare-made", "index-named", "frames-named", "segment-sealed", "segment-grown",
	"segment-trimmed", "segment-synced", "head-synced", "synced-raised",
	"floor-raised", "frames-unlinked", "segment-unlinked", "log-synced", "close-said",
	"id-given-up", "recovery-begun", "rest-removed", "segment-reopened", "head-made", "head-named",
	"recovered",
	"checkpoint-created", "checkpoint-written", "checkpoint-synced", "checkpoint-named",
	"collectors-created", "collectors-written", "collectors-synced", "collectors-named",
	"notices-created", "notices-written", "notices-synced", "notices-named",
}

// Variable is the environment variable that a binary with the tag looks at.
const Variable = "DISTRIBUTOR_CRASH_POINT"
