package gateway

import (
	"container/list"
	"context"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	// holdMost is how long a request over a limit waits for its turn before it is refused. Real
	// collectors exit after three refusals in a row, and send the next request when the last one was
	// answered: to them a limit is a delay.
	holdMost = time.Second

	// upgradeBurst is how many seconds' upgrades an address may make at once. A whole fleet behind
	// one address may come back at the same moment. An upgrade costs 47 µs, so the default of 1000
	// a second is 5 % of a core.
	upgradeBurst = 10

	// healthRate is how many health checks an address may make a second, and at once. A health
	// check costs as much as a 404, because it is answered from memory.
	healthRate = 1000

	// maxOrigins bounds the memory of a limit to about 4 MB.
	maxOrigins = 16 << 10
	// evictionTries is how many origins forgetOne looks at.
	evictionTries = 8
)

// rates is a token bucket for each origin. A request that finds the bucket empty waits, in the
// order of arrival, for at most hold.
//
// The requests that wait are bounded by the connections, because each of them has one. The buckets
// are bounded by maxOrigins. A client with more addresses than that makes rates forget origins, and
// a forgotten origin starts with a full bucket: no request is refused by that.
type rates struct {
	hold time.Duration // 0: a request over the limit is refused at once

	mu      sync.Mutex // guards all below, and all buckets
	limit   int        // a second; 0: no limit
	burst   int
	buckets map[origin]*bucket
}

// bucket keeps to the limit that was in force when it was made, so that a reload does not concern
// the requests that wait.
type bucket struct {
	limit  float64 // tokens a second
	burst  float64
	tokens float64 // as of at
	at     time.Time
	queue  list.List // of chan struct{}: closed when its request is the first
}

// set puts a limit into force; 0 is none. If it is another one than before, all buckets are full.
func (r *rates) set(perSecond, burst int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.buckets != nil && r.limit == perSecond && r.burst == burst {
		return
	}
	r.limit, r.burst, r.buckets = perSecond, burst, make(map[origin]*bucket)
}

// A grant says how an origin stands after take.
type grant struct {
	allowed     bool
	limit, left int // left: how many requests it may make at once
	// when not allowed: until there is a token beyond those for requests that wait
	wait  time.Duration
	reset time.Duration // until its bucket is full
}

// take takes a token for an origin. If there is none, take waits until a token comes, ctx ends, or
// hold is over. A request whose client has gone when its turn comes (alive) takes no token. limited
// is false if there is no limit.
func (r *rates) take(ctx context.Context, from origin, alive func() bool) (g grant, limited bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.limit == 0 {
		return grant{}, false
	}
	b := r.bucket(from)
	if b.fill(); b.queue.Len() == 0 && b.tokens >= 1 {
		b.tokens--
		return b.grant(true), true
	}
	return b.grant(r.hold > 0 && b.await(ctx, &r.mu, r.hold, alive)), true
}

// await waits for a token, with mu unlocked meanwhile.
func (b *bucket) await(ctx context.Context, mu *sync.Mutex, hold time.Duration,
	alive func() bool) bool {
	turn := make(chan struct{})
	place := b.queue.PushBack(turn)
	defer b.leave(place)
	over := time.NewTimer(hold)
	defer over.Stop()
	for late := false; ; {
		var token <-chan time.Time // nil: others are before this request
		if b.queue.Front() == place {
			turn = nil
			if b.fill(); b.tokens >= 1 {
				if !alive() {
					return false
				}
				b.tokens--
				return true
			}
			token = time.After(b.after(1 - b.tokens))
		}
		if late || ctx.Err() != nil {
			return false
		}
		mu.Unlock()
		select {
		case <-turn:
		case <-token:
		case <-over.C:
			late = true
		case <-ctx.Done():
		}
		mu.Lock()
	}
}

// leave removes a request from the queue, and signals the next request if it is now the first.
func (b *bucket) leave(place *list.Element) {
	first := b.queue.Front() == place
	b.queue.Remove(place)
	if next := b.queue.Front(); first && next != nil {
		close(next.Value.(chan struct{}))
	}
}

func (b *bucket) fill() {
	now := time.Now()
	b.tokens = min(b.burst, b.tokens+now.Sub(b.at).Seconds()*b.limit)
	b.at = now
}

func (b *bucket) grant(allowed bool) grant {
	waiting := float64(b.queue.Len())
	g := grant{
		allowed: allowed, limit: int(b.burst), left: int(max(b.tokens-waiting, 0)),
		reset: b.after(b.burst - b.tokens + waiting),
	}
	if !allowed {
		g.wait = max(b.after(1+waiting-b.tokens), 1)
	}
	return g
}

// after returns how long it takes until this many tokens have come, rounded up so that a timer of
// that length is never too early.
func (b *bucket) after(tokens float64) time.Duration {
	return time.Duration(math.Ceil(max(tokens, 0) / b.limit * float64(time.Second)))
}

func (r *rates) bucket(from origin) *bucket {
	b := r.buckets[from]
	if b == nil {
		if len(r.buckets) >= maxOrigins {
			r.forgetOne()
		}
		full := float64(r.burst)
		b = &bucket{limit: float64(r.limit), burst: full, tokens: full, at: time.Now()}
		r.buckets[from] = b
	}
	return b
}

// forgetOne removes one of a few origins, in the random order of a map: one with a full bucket,
// which loses nothing, or otherwise the one with the fullest bucket.
func (r *rates) forgetOne() {
	var fullest origin
	most, tries := math.Inf(-1), 0
	for from, b := range r.buckets {
		b.fill()
		if b.tokens > most {
			fullest, most = from, b.tokens
		}
		if tries++; tries == evictionTries || most >= b.burst {
			break
		}
	}
	delete(r.buckets, fullest)
}

// limited reports whether limits for an address apply to an origin. They do not apply to programs
// on this machine, such as a proxy, because those speak for others.
func (g *Gateway) limited(from origin) bool { return g.limitLoopback || !from.IsLoopback() }

// withinRate counts a request and holds it while it is over its limit. If it stays over the limit,
// withinRate answers as the replaced service does. Health checks count apart, so that neither
// blocks the other.
func (g *Gateway) withinRate(w http.ResponseWriter, r *http.Request, health bool) bool {
	from := originOf(r.RemoteAddr)
	if !g.limited(from) {
		return true
	}
	limit := &g.requests
	if health {
		limit = &g.checks
	}
	got, ok := limit.take(r.Context(), from, func() bool { return !peerClosed(connOf(r)) })
	if !ok {
		return true
	}
	h := w.Header()
	h.Set("X-Ratelimit-Limit", strconv.Itoa(got.limit))
	h.Set("X-Ratelimit-Remaining", strconv.Itoa(got.left))
	h.Set("X-Ratelimit-Reset", seconds(got.reset))
	if got.allowed {
		return true
	}
	if !g.countGone(r) {
		g.refused.add(rateLimited, fmt.Sprintf("more than %d requests a second", got.limit), r.RemoteAddr)
	}
	h.Set("Retry-After", seconds(got.wait))
	writeJSON(w, rateLimited.status, tooMany{
		rateLimited.status, http.StatusText(rateLimited.status),
		"Rate limit exceeded, retry in " + inWords(got.wait),
	})
	return false
}

// countGone reports whether the client of a held request has left, and counts the request if so.
func (g *Gateway) countGone(r *http.Request) bool {
	gone := r.Context().Err() != nil || peerClosed(connOf(r))
	if gone {
		g.refused.add(clientGone, "the client left while its request was over a limit", r.RemoteAddr)
	}
	return gone
}

// tooMany has its members in the order of the replaced service's answer.
type tooMany struct {
	StatusCode int    `json:"statusCode"`
	Error      string `json:"error"`
	Message    string `json:"message"`
}

// seconds formats d in whole seconds, rounded up so that a client that waits this long is not too
// early.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

func inWords(d time.Duration) string {
	switch {
	case d > time.Second:
		return seconds(d) + " seconds"
	case d > 999*time.Millisecond:
		return "1 second"
	}
	return strconv.FormatInt(int64((d+time.Millisecond-1)/time.Millisecond), 10) + " ms"
}

// withinUpgradeRate counts an upgrade before any part of it is checked, and holds it while it is
// over the limit.
func (g *Gateway) withinUpgradeRate(r *http.Request) *refusal {
	from := originOf(r.RemoteAddr)
	if !g.limited(from) {
		return nil
	}
	got, ok := g.upgrades.take(r.Context(), from, func() bool { return !peerClosed(connOf(r)) })
	switch {
	case !ok || got.allowed:
		return nil
	case r.Context().Err() != nil || peerClosed(connOf(r)):
		return refuse(clientGone, "the client left while its upgrade was over the limit")
	}
	return refuse(upgradesLimited,
		fmt.Sprintf("this address has made %d upgrades at once and more than %d a second, try again later",
			got.limit, got.limit/upgradeBurst))
}
