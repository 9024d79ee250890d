package gateway

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// upgradeBurst is how many seconds' upgrades an address may make at once.
	// Upgrades are bounded apart from requests, and generously: a whole fleet
	// behind one address may come back at the same moment, and an upgrade costs
	// 47 µs, so that the default of 1000 a second is 5 % of a core.
	upgradeBurst = 10

	// maxOrigins bounds the memory of a limit to about 4 MB.
	maxOrigins = 16 << 10
	// evictionTries is how many origins are looked at to find one to forget.
	evictionTries = 8
)

// rates is a token bucket for each origin.
//
// The table is bounded. Whoever has more addresses than it has room makes it
// forget origins, and a forgotten origin starts with a full bucket: that can
// let requests through, but never cause one to be refused.
type rates struct {
	mu      sync.Mutex // guards all below
	limit   rate.Limit // a second
	burst   int
	buckets map[origin]*rate.Limiter
}

// set puts a limit into force; 0 is none. If it is another one than before,
// all buckets are full.
func (r *rates) set(perSecond, burst int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.buckets != nil && r.limit == rate.Limit(perSecond) && r.burst == burst {
		return
	}
	r.limit, r.burst, r.buckets = rate.Limit(perSecond), burst, make(map[origin]*rate.Limiter)
}

// A grant says how an origin stands.
type grant struct {
	limit, left int           // left: what it may do at once, after this
	wait        time.Duration // until it may come again; 0: it may now
	reset       time.Duration // until its bucket is full
}

// take takes a token for an origin, if there is one. ok is false when there is
// no limit to speak of.
func (r *rates) take(from origin, now time.Time) (g grant, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.limit == 0 {
		return grant{}, false
	}
	bucket := r.buckets[from]
	if bucket == nil {
		if len(r.buckets) >= maxOrigins {
			r.forgetOne(now)
		}
		bucket = rate.NewLimiter(r.limit, r.burst)
		r.buckets[from] = bucket
	}
	allowed := bucket.AllowN(now, 1)
	tokens := bucket.TokensAt(now)
	g = grant{limit: r.burst, left: int(math.Max(tokens, 0)), reset: r.after(float64(r.burst) - tokens)}
	if !allowed {
		g.wait = max(r.after(1-tokens), 1)
	}
	return g, true
}

// after is how long so many tokens take to come.
func (r *rates) after(tokens float64) time.Duration {
	return time.Duration(max(tokens, 0) / float64(r.limit) * float64(time.Second))
}

// forgetOne removes, of a few origins in the random order of a map, one with a
// full bucket, of which nothing is lost, or else the fullest.
func (r *rates) forgetOne(now time.Time) {
	var fullest origin
	most, tries := math.Inf(-1), 0
	for from, bucket := range r.buckets {
		if tokens := bucket.TokensAt(now); tokens > most {
			fullest, most = from, tokens
		}
		if tries++; tries == evictionTries || most >= float64(r.burst) {
			break
		}
	}
	delete(r.buckets, fullest)
}

// limited are those that limits for an address are for: programs on this
// machine, a proxy maybe, speak for others.
func (g *Gateway) limited(from origin) bool { return g.limitLoopback || !from.IsLoopback() }

// withinRate counts a request, and answers it if it is one too many, as the
// replaced service does. Health checks are not counted: a load balancer that
// is told 429 takes a good server out of service.
func (g *Gateway) withinRate(w http.ResponseWriter, r *http.Request) bool {
	from := originOf(r.RemoteAddr)
	if !g.limited(from) || r.URL.Path == "/is-alive" || r.URL.Path == "/is-healthy" {
		return true
	}
	got, ok := g.requests.take(from, g.now())
	if !ok {
		return true
	}
	h := w.Header()
	h.Set("X-Ratelimit-Limit", strconv.Itoa(got.limit))
	h.Set("X-Ratelimit-Remaining", strconv.Itoa(got.left))
	h.Set("X-Ratelimit-Reset", seconds(got.reset))
	if got.wait == 0 {
		return true
	}
	g.refused.add(rateLimited, fmt.Sprintf("more than %d requests a second", got.limit), r.RemoteAddr)
	h.Set("Retry-After", seconds(got.wait))
	writeJSON(w, rateLimited.status, tooMany{rateLimited.status, http.StatusText(rateLimited.status), "Rate limit exceeded, retry in " + inWords(got.wait)})
	return false
}

// tooMany has its members in the order of the replaced service's answer.
type tooMany struct {
	StatusCode int    `json:"statusCode"`
	Error      string `json:"error"`
	Message    string `json:"message"`
}

// seconds rounds up: who comes back then is not too early.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

func inWords(d time.Duration) string {
	if d > 999*time.Millisecond {
		return "1 second" // a limit is at least one a second
	}
	return strconv.FormatInt(int64((d+time.Millisecond-1)/time.Millisecond), 10) + " ms"
}

// withinUpgradeRate counts an upgrade, before anything else is looked at.
func (g *Gateway) withinUpgradeRate(r *http.Request) *refusal {
	from := originOf(r.RemoteAddr)
	if !g.limited(from) {
		return nil
	}
	if got, ok := g.upgrades.take(from, g.now()); ok && got.wait > 0 {
		return refuse(upgradesLimited, fmt.Sprintf("this address has made %d upgrades at once and more than %d a second, try again later", got.limit, got.limit/upgradeBurst))
	}
	return nil
}
