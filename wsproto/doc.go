// Package wsproto holds the WebSocket protocol as the firehose speaks it: the bytes on a client's
// connection. Sockets, loops and timers are not here. The package owns
//
//   - the frames that the server sends (AppendTextFrame, AppendControl, AppendClose), and their
//     compressed form (Deflater, Inflater),
//   - the parsing of frames from clients (Reader),
//   - the reasons for which connections end (Disconnect),
//   - the position of a client in the stream, and where it wants to begin (Position, From),
//   - the rules and bytes of the upgrade (CheckUpgrade, Upgrade, NegotiateDeflate).
//
// The package does not authenticate: the gateway does, with wsproto/shardus. It does not inflate
// messages from clients and does not keep them, because the server has no use for them: the Reader
// counts and drops them. The Handler decides how many are too many.
//
// # Frames
//
// All frames of the server are unmasked and final:
//
//	message   81 | length | {"receipt":…,"sign":{…}}      length: 1 byte up to 125,
//	                                                        7e + 2 bytes up to 65535,
//	                                                        7f + 8 bytes above;
//	                                                        big-endian, always the shortest
//	ping      89 | length | position token                 the client's pong returns the token
//	pong      8a | length | the client's payload
//	close     88 | length | code (2 bytes) | reason        or 88 00: no code
//
// With permessage-deflate (RFC 7692) a message may be compressed, each message on its own:
//
//	message   c1 | length | DEFLATE of the text, flushed, without the last 00 00 ff ff
//
// Frames of a client have the same form, with the mask bit set in the length byte and a mask of
// four bytes before the payload.
//
// A position token is the payload of a ping, and a parameter of the upgrade URL:
//
//	000102030405060708090a0b0c0d0eff-12345
//	└ ID of the frame log, hex ────┘ └ offset in bytes, decimal
//
// A client that answers a ping has read all frames that end at or before the token's offset.
// Between two pings of one connection, the difference of their offsets equals the bytes of the
// message frames that arrive; a compressed message counts as the uncompressed frame.
//
// # Use
//
// The functions are pure and may be called from any goroutine. A Reader belongs to one connection
// and one goroutine; it allocates only when it fails. Errors about a client wrap the Disconnect to
// close with. A function panics only for a frame of our own that no client would accept.
//
// # Compatibility
//
// The replaced service uses npm ws 8.17, and so do collectors. These behaviours are kept from ws,
// against the letter of the RFC or the habits of gobwas/ws. Each has a test:
//
//   - Versions 8 and 13 are both accepted; the first subprotocol offered is answered whatever it
//     is; no extension is answered unless the caller asks for it; refusals are one line in ws'
//     words: TestRecordedHandshakes.
//   - The checks of the upgrade run in ws' order: TestCheckUpgradeOrder. Repeated headers are
//     joined by ", ": TestRepeatedHeaders. A request without "Connection: Upgrade" is no upgrade:
//     TestRecordedHandshakes.
//   - Subprotocols are parsed as strictly as in ws (no empty ones, no duplicates):
//     TestSubprotocols.
//   - Close codes 1012 to 1014 are accepted, which gobwas/ws refuses: TestReaderCloseCodes.
//   - A message may have 100 MiB: TestReaderRefuses.
//
// These behaviours differ from ws and follow the RFC:
//
//   - Sec-WebSocket-Version must be the plain number; another value is answered with 426 (ws: 400)
//     and Sec-WebSocket-Version: 13.
//   - A Sec-WebSocket-Extensions that breaks its grammar is 400 (ws checks it only if it
//     compresses).
//   - HTTP/1.0 is 400.
//   - A payload length with the highest bit set is 1002 (ws: 1009), and so is a payload length in a
//     longer form than needed.
//   - Text is checked for UTF-8 while it is dropped (TestTextIsCheckedWhereverItIsCut). Compressed
//     text is not checked: inflating it would need a window for each client.
package wsproto
