// Package collector is a collector in Go: it connects to a distributor as the real collectors do, verifies every message
// and knows at each moment where in the stream it stands. The command `tail`, the demonstration, the benchmark's sampled
// clients and tests are made of it.
//
//	c, err := collector.Dial(ctx, collector.Options{URL: "http://127.0.0.1:6100", Keys: keys, HashKey: hashKey})
//	for err == nil {
//		var m collector.Message
//		if m, err = c.Next(ctx); err == nil { … m.Stream, m.Record … }
//	}
//
// The upgrade request is that of the TypeScript collector to the byte (TestHandshakeIsTheCollectors); what this one adds is
// the parameters `from` and `notices`, and only where it is asked to.
//
// # Positions
//
// A server pings with the position that it has sent up to. As a position counts the bytes of message frames (a compressed message as if it were not), the
// collector knows the exact position behind every further message, and checks the sum at the next ping: a message lost or
// sent twice on the way is a GapError. Dialing again with From at Position goes on without loss and without repetition.
// A server that never pings (the replaced service) leaves the position unknown. A notice (Options.Notices) counts nothing: the
// position behind it is that before it.
//
// # Limits
//
// A Collector belongs to one goroutine. It has one buffer, re-used for all messages, that grows to the largest message
// and never beyond MaxMessage; Message slices are borrowed from it until the next call of Next. It speaks plain TCP, takes no
// extension but permessage-deflate without context takeover (Options.Compress), and does not reconnect: the caller decides (cmd/distributor's tail does).
//
// Errors of the network, of the protocol and a close frame end the connection: each later Next returns the same error.
// A cancelled context, a message that does not verify and a gap do not: Next may be called again.
package collector
