package enginetest

import "encoding/json"

// Scenario has the steps of clients and writers, and the expected outcome of each connection.
type Scenario struct {
	Name     string
	Workers  int
	Config   *ScenarioConfig
	Steps    []ScenarioStep
	Expected map[string]Outcome // by connection
}

// ScenarioConfig has the settings of a scenario. Subscribers are named by their keys.
type ScenarioConfig struct {
	LimitToSubscribersOnly bool
	MaxClientsPerChild     int `json:"MAX_CLIENTS_PER_CHILD"`
	Subscribers            []struct {
		Keys             string
		ExpiresInMs      *int64 `json:"expires_in_ms"` // from the start
		SubscriptionType string
	}
}

// ScenarioStep is one action of a client or a writer.
type ScenarioStep struct {
	Op, As, Keys, Type, Stream, Text, Name, To string
	IDs                                        []string
	Ms                                         int64
	Code                                       uint16
	Set                                        *ScenarioConfig
}

// Outcome is the expected outcome of one connection.
type Outcome struct {
	Opened bool
	Got    []string   // ids of the messages; nil: any
	GotAny [][]string `json:"got_any"` // allowed alternatives of Got
	Pongs  []string
	Close  json.RawMessage // a Closing; null: still open; missing: any
}

// Closing is the expected end of a connection.
type Closing struct {
	Code     uint16
	WithinMs []int64 `json:"within_ms"` // least and most time after connecting
}
