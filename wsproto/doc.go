// Package wsproto holds the WebSocket protocol as the firehose speaks it: what goes over a client's connection, byte by
// byte, and nothing of sockets, loops or timers. It owns
//
//   - the frames that we send (AppendTextFrame, AppendControl, AppendClose), and their compressed form (Deflater, Inflater),
//   - the parsing of what clients send (Reader),
//   - why connections end (Disconnect),
//   - where in the stream a client is, or wants to begin (Position, From),
//   - the rules and bytes of the upgrade (CheckUpgrade, Upgrade, NegotiateDeflate).
//
// It does not authenticate (that is the gateway, with wsproto/shardus), does not inflate what clients send, and does not keep what
// they say: a collector has nothing to say, so its messages are counted and dropped. How much of that is too much is for the
// Handler to decide.
//
// # Frames
//
// All are unmasked and final:
//
//	message   81 | length | {"receipt":…,"sign":{…}}      length: 1 byte up to 125, 7e + 2 bytes up to 65535,
//	                                                        7f + 8 bytes above; big-endian, always the shortest
//	ping      89 | length | position token                 the client's pong brings the token back
//	pong      8a | length | the client's payload
//	close     88 | length | code (2 bytes) | reason        or 88 00: no code
//
// With permessage-deflate (RFC 7692) a message may come compressed, each for itself:
//
//	message   c1 | length | DEFLATE of the text, flushed, without the last 00 00 ff ff
//
// What a client sends looks alike, with the mask bit set in the length byte and four bytes of mask before the payload.
//
// A position token is the ping's payload and a parameter of the upgrade URL:
//
//	000102030405060708090a0b0c0d0eff-12345
//	└ life of the frame log, hex ──┘ └ offset in bytes, decimal
//
// A client that answers a ping has read all frames that end at or before the token's offset. The bytes of the message
// frames that arrive between two pings of one connection are as many as the offsets differ; a compressed message counts as the
// plain frame.
//
// # Use
//
// The functions are pure and safe from anywhere. A Reader belongs to one connection and one goroutine; it allocates
// only when it fails. Errors about a client wrap the Disconnect to close with; panics are for frames of our own that no
// client would accept.
//
// # Compatibility
//
// The replaced service speaks through npm ws 8.17; collectors do too. Kept from it, against the letter of the RFC or the
// habits of gobwas/ws, each with the test that pins it:
//
//   - Versions 8 and 13 are both accepted; the first subprotocol offered is answered whatever it is; no extension is
//     answered unless the caller wants it to be; refusals are HTML-typed one-liners in ws' words: TestRecordedHandshakes.
//   - The checks of the upgrade come in ws' order: TestCheckUpgradeOrder. Repeated headers are joined by ", ":
//     TestRepeatedHeaders. A request without "Connection: Upgrade" is no upgrade: TestRecordedHandshakes.
//   - Subprotocols are parsed as strictly as ws does (no empty ones, none twice): TestSubprotocols.
//   - Close codes 1012 to 1014 are accepted, which gobwas/ws refuses: TestReaderCloseCodes.
//   - The limit of a message is 100 MiB: TestReaderRefuses.
//
// Different from it, by the RFC: Sec-WebSocket-Version must be the plain number, and another is answered with 426 (ws: 400)
// and Sec-WebSocket-Version: 13; a Sec-WebSocket-Extensions that breaks its grammar is 400 (ws looks at it only where it
// compresses); HTTP/1.0 is 400; a payload length with the highest bit set is 1002 (ws: 1009), and so is one in a longer form
// than needed. Text is checked for UTF-8 as it is thrown away (TestTextIsCheckedWhereverItIsCut), but not what came
// compressed: a window for each client would be needed to inflate it.
package wsproto
