// Package ipc connects the distributor's processes: channels that carry packets and descriptors,
// the start of child processes, and the backoff between their starts.
//
// It does not know the messages on a channel. Packages handoff (primary and worker), handover (old
// and new process) and query (primary and query process) own them. A channel has no name in a file
// system, so no other process can come between.
package ipc
