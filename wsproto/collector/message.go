package collector

import (
	"bytes"
	"fmt"
	"time"

	"distributor/wsproto"
	"distributor/wsproto/shardus"
)

// A Message is one record of the stream, or a notice. Its slices are borrowed until the next call of Next.
type Message struct {
	Stream   string    // "cycle", "originalTx" or "receipt"
	Record   []byte    // canonical JSON; nil for a notice
	Notice   []byte    // what the distributor itself has to say here, {"type":"gap",…}; it comes with Options.Notices only
	Text     []byte    // the whole signed message
	Received time.Time // when its last bytes were read from the socket
	Verified bool      // false only for those that Options.VerifyEvery leaves out
}

// A message is {"receipt":RECORD,"sign":{"owner":"64 digits","sig":"192 digits"}}: all but the record has a fixed
// length, so it comes apart without being parsed.
const (
	signStart  = `,"sign":{"owner":"`
	signMiddle = `","sig":"`
	signEnd    = `"}}`
	ownerSize  = 64
	sigSize    = 192
	signSize   = len(signStart) + ownerSize + len(signMiddle) + sigSize + len(signEnd)
)

// take makes a Message of text, verified unless it is not its turn. With the first one it learns the server's key.
func (c *Collector) take(text []byte) (Message, error) {
	m := Message{Text: text, Received: c.in.readAt}
	stream, record, owner, err := split(text, "receipt", "originalTx", "cycle")
	if err != nil {
		return m, err
	}
	m.Stream, m.Record = stream, record
	turn := c.options.VerifyEvery <= 1 || c.messages%uint64(c.options.VerifyEvery) == 0
	c.messages++
	if c.pinned && !turn {
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

// takeNotice verifies a notice, whatever VerifyEvery says: there are few. It does not count in positions.
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

// split takes a message of one of the streams apart by its outer shape alone.
func split(text []byte, streams ...string) (stream string, record, owner []byte, err error) {
	for _, stream := range streams {
		head := len(`{"`) + len(stream) + len(`":`)
		if len(text) <= head+signSize || string(text[2:2+len(stream)]) != stream || text[0] != '{' || text[1] != '"' ||
			text[head-2] != '"' || text[head-1] != ':' {
			continue
		}
		record, sign := text[head:len(text)-signSize], text[len(text)-signSize:]
		owner, rest := sign[len(signStart):len(signStart)+ownerSize], sign[len(signStart)+ownerSize:]
		if !bytes.HasPrefix(sign, []byte(signStart)) || !bytes.HasPrefix(rest, []byte(signMiddle)) || !bytes.HasSuffix(sign, []byte(signEnd)) {
			break
		}
		return stream, record, owner, nil
	}
	return "", nil, nil, fmt.Errorf("%w: not of the form of a firehose message: %.80q", ErrForged, text)
}
