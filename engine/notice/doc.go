// Package notice keeps what is to be told to the clients that asked for notices,
// each at its place in the stream: beside the frame log, because a client that
// did not ask gets the frame log's bytes and nothing else.
//
//	primary   Book.Add    the file is replaced, then the frame log is marked, then frames that come after are committed
//	worker    Load        when the mark has moved, before frames of a newer head are sent
//
// A notice at offset n goes out when a client has all before n, and before any
// byte behind it. So the client that begins at n gets it as well: twice rather
// than never, if it came back just there.
package notice
