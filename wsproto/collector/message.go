package collector

import (
	"bytes"
	"fmt"
	"time"

	"distributor/wsproto"
	"distributor/wsproto/shardus"
)

// A Message is one record of the stream, or a notice. Its slices are valid until the next call of
// Next.
type Message struct {
	Stream   string    // "cycle", "originalTx" or "receipt"
	Record   []byte    // canonical JSON; nil for a notice
	Notice   []byte    // the notice, {"type":"gap",…}; nil for a record
	Text     []byte    // the whole signed message
	Received time.Time // when its last bytes were read from the socket
	Verified bool      // false only for messages that Options.VerifyEvery leaves out
}

// A message is {"receipt":RECORD,"sign":{"owner":"64 digits","sig":"192 digits"}}. Everything but
// the record has a fixed length, so it can be split without parsing.
const (
	signStart  = `,"sign":{"owner":"`
	signMiddle = `","sig":"`
	signEnd    = `"}}`
	ownerSize  = 64
	sigSize    = 192
	signSize   = len(signStart) + ownerSize + len(signMiddle) + sigSize + len(signEnd)
)

// take returns the Message in text, verified unless VerifyEvery leaves it out. From the first one
// it learns the server's key.
func (c *Collector) take(text []byte) (Message, error) {
	m := Message{Text: text, Received: c.in.readAt}
	stream, record, owner, err := split(text, "receipt", "originalTx", "cycle")
	if err != nil {
		return m, err
	}
	m.Stream, m.Record = stream, record
	verify := c.options.VerifyEvery <= 1 || c.messages%uint64(c.options.VerifyEvery) == 0
	c.messages++
	if c.pinned && !verify {
		if string(owner) != c.ownerHex {
			return m, fmt.Errorf("%w: signed by %s, not by %s", ErrForged, owner, c.ownerHex)
		}
		return m, nil
	}
	key := c.owner
	if !c.pinned {
		if key, err = shardus.ParsePublicKey(string(owner)); err != nil {
			return m, fmt.Errorf("%w: %w", ErrForged, err)
		}
	}
	if _, _, err := shardus.VerifyMessage(text, key, c.options.HashKey); err != nil {
		return m, fmt.Errorf("%w: %w", ErrForged, err)
	}
	if !c.pinned {
		c.pin(key)
		c.options.Logger.Info("learned the server's key", "owner", c.ownerHex)
	}
	m.Verified = true
	return m, nil
}

func (c *Collector) pin(key shardus.PublicKey) {
	c.owner, c.ownerHex, c.pinned = key, key.String(), true
}

var noticeStart = []byte(`{"` + wsproto.NoticeMember + `":`)

// takeNotice verifies every notice, also with VerifyEvery, because there are few. It does not count
// in positions.
func (c *Collector) takeNotice(text []byte) (Message, error) {
	m := Message{Text: text, Received: c.in.readAt}
	key := c.owner
	_, notice, owner, err := split(text, wsproto.NoticeMember)
	if err != nil {
		return m, err
	}
	if !c.pinned {
		if key, err = shardus.ParsePublicKey(string(owner)); err != nil {
			return m, fmt.Errorf("%w: %w", ErrForged, err)
		}
	}
	if _, _, err := shardus.VerifyMessage(text, key, c.options.HashKey); err != nil {
		return m, fmt.Errorf("%w: a notice: %w", ErrForged, err)
	}
	if !c.pinned {
		c.pin(key)
	}
	m.Notice, m.Verified = notice, true
	return m, nil
}

// split returns the parts of a message of one of the streams. It checks only the outer form.
func split(text []byte, streams ...string) (stream string, record, owner []byte, err error) {
	for _, stream := range streams {
		head := len(`{"`) + len(stream) + len(`":`)
		if len(text) <= head+signSize || string(text[2:2+len(stream)]) != stream ||
			text[0] != '{' || text[1] != '"' || text[head-2] != '"' || text[head-1] != ':' {
			continue
		}
		record, sign := text[head:len(text)-signSize], text[len(text)-signSize:]
		owner, rest := sign[len(signStart):len(signStart)+ownerSize], sign[len(signStart)+ownerSize:]
		if !bytes.HasPrefix(sign, []byte(signStart)) || !bytes.HasPrefix(rest, []byte(signMiddle)) ||
			!bytes.HasSuffix(sign, []byte(signEnd)) {
			break
		}
		return stream, record, owner, nil
	}
	return "", nil, nil,
		fmt.Errorf("%w: not of the form of a firehose message: %.80q", ErrForged, text)
}
