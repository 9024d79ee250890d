// Package notice stores the notices for clients that asked for notices, each with its offset in the
// frame log. Notices are stored beside the frame log, because a client that did not ask gets
// exactly the frame log's bytes.
//
//	primary   Book.Add    replaces the file, marks the frame log; later frames are committed after it
//	worker    Load        when the mark has moved, before frames of a newer head are sent
//
// A notice at offset n is sent when a client has everything before n, and before any byte behind n.
// A client that begins at n gets the notice as well: twice, if it reconnected at exactly this
// offset, rather than never.
package notice
