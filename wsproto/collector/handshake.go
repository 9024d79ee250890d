package collector

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"distributor/wsproto"
	"distributor/wsproto/shardus"

	"github.com/gobwas/httphead"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"
)

// maxAnswer bounds the server's answer to the upgrade, in bytes.
const maxAnswer = 64 << 10

var errAnswerTooLong = errors.New("answer to the upgrade is too long")

// RequestURL returns the URL with the signed request, as the real collector makes it:
// `?data=` + encodeURIComponent(safeStringify({collectorInfo, sender, sign})).
func RequestURL(o Options, now time.Time) (string, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrOptions, err)
	}
	if (u.Scheme != "http" && u.Scheme != "ws") || u.Host == "" || u.User != nil {
		return "", fmt.Errorf("%w: the URL must be http://host:port or ws://host:port, not %q",
			ErrOptions, u.Redacted())
	}
	if o.Keys == (shardus.SecretKey{}) {
		return "", fmt.Errorf("%w: no key pair", ErrOptions)
	}
	u.Scheme, u.Fragment = "ws", ""
	kind := cmp.Or(o.SubscriptionType, "FIREHOSE")
	signer := shardus.NewSigner(o.Keys, o.HashKey)
	request := shardus.ObjectValue(
		shardus.Member{Key: "collectorInfo", Value: shardus.ObjectValue(
			shardus.Member{Key: "subscriptionType", Value: shardus.TextValue(kind)},
			shardus.Member{Key: "timestamp", Value: shardus.NumberValue(float64(now.UnixMilli()))},
		)},
		shardus.Member{Key: "sender", Value: shardus.TextValue(signer.PublicKey().String())},
	)
	signed, err := signer.AppendSigned(nil, request)
	if err != nil {
		return "", fmt.Errorf("collector: signing the upgrade request: %w", err)
	}
	query := "data=" + encodeURIComponent(signed)
	if o.From != (wsproto.From{}) {
		query += "&from=" + o.From.String()
	}
	if o.Notices {
		query += "&notices=" + wsproto.NoticeGap
	}
	if u.RawQuery != "" {
		query += "&" + u.RawQuery
	}
	u.RawQuery = query
	return u.String(), nil
}

// encodeURIComponent is JavaScript's function. (url.QueryEscape encodes blanks and !*'()
// differently.)
func encodeURIComponent(text []byte) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for _, c := range text {
		switch {
		case c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z',
			strings.IndexByte("-_.!~*'()", c) >= 0:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&0xf])
		}
	}
	return b.String()
}

// offer is permessage-deflate in the only form that a Collector can read: each message on its own.
var offer = wsflate.Parameters{ServerNoContextTakeover: true, ClientNoContextTakeover: true}

// connect dials and upgrades within ctx. If compress is set it sends the offer. early holds frames
// that arrived with the answer. deflate tells whether the server accepted the offer.
func connect(
	ctx context.Context, requestURL string, compress bool,
) (conn net.Conn, early []byte, deflate bool, err error) {
	var raw net.Conn
	var refused error
	dialer := ws.Dialer{
		NetDial: func(ctx context.Context, network, address string) (net.Conn, error) {
			var d net.Dialer
			var err error
			if raw, err = d.DialContext(ctx, network, address); err != nil {
				return nil, err
			}
			return &bounded{Conn: raw, left: maxAnswer}, nil
		},
		OnStatusError: func(status int, reason []byte, answer io.Reader) {
			refused = &RefusedError{Status: status, Reason: refusalReason(answer, string(reason))}
		},
	}
	if compress {
		dialer.Extensions = []httphead.Option{offer.Option()}
	}
	_, buffered, shaken, err := dialer.Dial(ctx, requestURL)
	switch {
	case refused != nil:
		return nil, nil, false, refused
	case ctx.Err() != nil && err != nil:
		return nil, nil, false, fmt.Errorf("%w: connecting: %w", ErrLost, context.Cause(ctx))
	case errors.Is(err, errAnswerTooLong), isHandshakeError(err):
		return nil, nil, false, fmt.Errorf("%w: %w", ErrProtocol, err)
	case err != nil:
		return nil, nil, false, fmt.Errorf("%w: connecting: %w", ErrLost, err)
	}
	if deflate, err = accepted(shaken.Extensions); err != nil {
		_ = raw.Close()
		return nil, nil, false, err
	}
	if buffered != nil {
		early, _ = buffered.Peek(buffered.Buffered())
		early = bytes.Clone(early)
		ws.PutReader(buffered)
	}
	return raw, early, deflate, nil
}

// accepted tells whether the server's answer accepts the offer. The Dialer has checked that it
// names no other extension.
func accepted(answer []httphead.Option) (bool, error) {
	if len(answer) == 0 {
		return false, nil
	}
	var p wsflate.Parameters
	if err := p.Parse(answer[0]); err != nil {
		return false, fmt.Errorf("%w: the answer to the offer of compression: %w", ErrProtocol, err)
	}
	if len(answer) > 1 || !p.ServerNoContextTakeover {
		return false, fmt.Errorf(
			"%w: the answer to the offer of compression is not what was offered", ErrProtocol)
	}
	return true, nil
}

// isHandshakeError tells whether err means an invalid 101 answer, not a network error.
func isHandshakeError(err error) bool {
	var protocol ws.ProtocolError
	for _, known := range []error{
		ws.ErrMalformedResponse, ws.ErrHandshakeBadProtocol, ws.ErrHandshakeBadUpgrade,
		ws.ErrHandshakeBadConnection, ws.ErrHandshakeBadSecAccept,
		ws.ErrHandshakeBadSubProtocol, ws.ErrHandshakeBadExtensions,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return errors.As(err, &protocol)
}

// bounded is a connection from which at most left bytes can be read. The Dialer itself would read a
// line of any length.
type bounded struct {
	net.Conn
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, errAnswerTooLong
	}
	n, err := b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// refusalReason returns the server's text: the member "error" or "message" of a JSON body, else the
// body, else the reason phrase (the replaced service's 401 has no complete headers, and no body).
func refusalReason(answer io.Reader, phrase string) string {
	response, err := http.ReadResponse(bufio.NewReader(answer), nil)
	if err != nil {
		return clip(phrase)
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	var object struct {
		Error   any
		Message any
	}
	if json.Unmarshal(body, &object) == nil {
		for _, words := range []any{object.Error, object.Message} {
			if s, ok := words.(string); ok && s != "" {
				return clip(s)
			}
		}
	}
	if text := strings.TrimSpace(string(body)); text != "" {
		return clip(text)
	}
	return clip(phrase)
}

// clip shortens a text from the server, and makes it safe for one line of a log.
func clip(s string) string {
	if len(s) > 300 {
		s = s[:300]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
