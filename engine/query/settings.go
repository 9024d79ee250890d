package query

import (
	"cmp"
	"fmt"
	"time"

	"distributor/wsproto/shardus"
)

// Settings are the options that a reload may change.
type Settings struct {
	// Shown in GET /config, as configured.
	IP        string
	Port      int
	PublicKey string

	LimitToSubscribersOnly bool
	Subscribers            []Subscriber // if a key is listed twice, its last entry counts
	HideSubscribers        bool         // GET /config shows an empty list

	StopAtCycle int64 // rows of later cycles are neither answered nor counted; negative: no limit

	RequestTime time.Duration // from the end of a body to the start of its answer; 0: 10 s
	Memory      int64         // bytes of arriving bodies and of answers not read yet; 0: 256 MiB
}

// Subscriber is an entry of the subscriber list, as configured.
type Subscriber struct {
	PublicKey           string // 64 hex digits, in either case
	ExpirationTimestamp int64  // Unix milliseconds; 0: never
	SubscriptionType    string // shown in GET /config; the API admits subscribers of any type
}

// policy is Settings in the form that requests use. It is immutable.
type policy struct {
	limit  bool
	expiry map[shardus.PublicKey]int64 // Unix milliseconds; 0: never
	stop   int64                       // negative: no limit
	config []byte                      // the answer of GET /config

	requestTime time.Duration
	memory      int64
}

func newPolicy(s Settings) (*policy, error) {
	p := &policy{
		limit: s.LimitToSubscribersOnly, stop: s.StopAtCycle,
		expiry:      make(map[shardus.PublicKey]int64, len(s.Subscribers)),
		requestTime: cmp.Or(s.RequestTime, requestTime), memory: cmp.Or(s.Memory, memory),
	}
	shown := make([]shardus.Value, 0, len(s.Subscribers))
	for i, sub := range s.Subscribers {
		key, err := shardus.ParsePublicKey(sub.PublicKey)
		if err != nil {
			return nil, fmt.Errorf("query: subscribers[%d].publicKey: %w", i, err)
		}
		p.expiry[key] = sub.ExpirationTimestamp
		if !s.HideSubscribers {
			expiry := shardus.NumberValue(float64(sub.ExpirationTimestamp))
			shown = append(shown, shardus.ObjectValue(
				shardus.Member{Key: "expirationTimestamp", Value: expiry},
				shardus.Member{Key: "publicKey", Value: shardus.TextValue(sub.PublicKey)},
				shardus.Member{Key: "subscriptionType", Value: shardus.TextValue(sub.SubscriptionType)},
			))
		}
	}
	config, err := shardus.ObjectValue(shardus.Member{Key: "config", Value: shardus.ObjectValue(
		shardus.Member{Key: "DISTRIBUTOR_IP", Value: shardus.TextValue(s.IP)},
		shardus.Member{Key: "DISTRIBUTOR_PORT", Value: shardus.NumberValue(float64(s.Port))},
		shardus.Member{Key: "DISTRIBUTOR_PUBLIC_KEY", Value: shardus.TextValue(s.PublicKey)},
		shardus.Member{
			Key: "limitToSubscribersOnly", Value: shardus.BoolValue(s.LimitToSubscribersOnly),
		},
		shardus.Member{Key: "subscribers", Value: shardus.ArrayValue(shown...)},
	)}).AppendCanonical(nil)
	if err != nil {
		return nil, fmt.Errorf("query: text of GET /config: %w", err)
	}
	p.config = config
	return p, nil
}
