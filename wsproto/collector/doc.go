// Package collector is a collector in Go. It connects to a distributor as the real collectors do,
// verifies every message, and knows its position in the stream at each moment. The command `tail`,
// the demonstration, the benchmark's sampled clients and the tests use it.
//
//	c, err := collector.Dial(ctx, collector.Options{
//		URL: "http://127.0.0.1:6100", Keys: keys, HashKey: hashKey,
//	})
//	for err == nil {
//		var m collector.Message
//		if m, err = c.Next(ctx); err == nil { … m.Stream, m.Record … }
//	}
//
// The upgrade request equals that of the TypeScript collector to the byte
// (TestHandshakeIsTheCollectors). This collector adds only the parameters `from` and `notices`, and
// only if Options ask for them.
//
// # Positions
//
// A server pings with the position up to which it has sent. A position counts the bytes of message
// frames; a compressed message counts as the uncompressed one. So the collector knows the exact
// position after every further message, and compares its own sum at the next ping: a message that
// was lost or sent twice is a GapError. A new Dial with From at Position continues without loss and
// without repetition. If a server never pings (the replaced service), the position stays unknown. A
// notice (Options.Notices) does not count: the position after a notice is the position before it.
//
// # Limits
//
// A Collector belongs to one goroutine. It has one buffer, reused for all messages, which grows to
// the largest message and never beyond MaxMessage. Message slices point into this buffer and are
// valid until the next call of Next. A Collector speaks plain TCP, accepts no extension but
// permessage-deflate without context takeover (Options.Compress), and does not reconnect: the
// caller may (the command `tail` does).
//
// Network errors, protocol errors and a close frame end the connection: each later Next returns the
// same error. A cancelled context, a message that does not verify and a gap do not end the
// connection: Next may be called again.
package collector
