package enginetest

import "encoding/json"

// Scenario is a history of connections, and what each side must see.
type Scenario struct {
	Name     string
	Workers  int
	Config   *ScenarioConfig
	Steps    []ScenarioStep
	Expected map[string]Outcome // by connection
}

// ScenarioConfig are the settings of a scenario; subscribers are named by their
// keys.
type ScenarioConfig struct {
	LimitToSubscribersOnly bool
	MaxClientsPerChild     int `json:"MAX_CLIENTS_PER_CHILD"`
	Subscribers            []struct {
		Keys             string
		ExpiresInMs      *int64 `json:"expires_in_ms"` // from the start
		SubscriptionType string
	}
}

// ScenarioStep is one thing that happens.
type ScenarioStep struct {
	Op, As, Keys, Type, Stream, Text, Name, To string
	IDs                                        []string
	Ms                                         int64
	Code                                       uint16
	Set                                        *ScenarioConfig
}

// Outcome is what one connection must have seen.
type Outcome struct {
	Opened bool
	Got    []string   // nil: whatever
	GotAny [][]string `json:"got_any"`
	Pongs  []string
	Close  json.RawMessage // a Closing; null: still open; nothing: whatever
}

// Closing is how a connection must have been closed.
type Closing struct {
	Code     uint16
	WithinMs []int64 `json:"within_ms"` // after connecting, at least and at most
}
