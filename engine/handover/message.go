package handover

import "time"

// Message is one packet. Exactly one member is set. The JSON names are a wire format.
type Message struct {
	// From the old process to the new one.
	Offer    *Offer `json:"estate,omitempty"`
	Released bool   `json:"yours,omitempty"`

	// From the new process to the old one.
	Ready   bool  `json:"ready,omitempty"`
	Serving bool  `json:"serving,omitempty"`
	Stop    *Stop `json:"stop,omitempty"`

	// Both ways.
	Positions []Position `json:"positions,omitempty"`
	// Release lists keys. From the new process: close your connection of each, and report its end.
	// From the old process: it has no connection of these keys any more, and has sent their last
	// positions before.
	Release []string `json:"release,omitempty"`
}

// Offer says what the old process hands over. Addresses are as they were configured: the new
// process takes a listener only if its own configuration has the same text.
type Offer struct {
	StateDir string `json:"stateDir"` // Run makes it absolute
	Public   string `json:"public"`
	Admin    string `json:"admin,omitempty"` // empty: no listener
	// Activated says that the service manager has opened the public listener, and keeps it.
	Activated bool `json:"activated,omitempty"`
	// Problems holds the old process's health problems: when each began, by component.
	Problems map[string]time.Time `json:"problems,omitempty"`
}

// Stop has the old process send its collectors away within a shorter time.
type Stop struct {
	WithinMS int64 `json:"withinMS"`
}

// Position is how far a collector has got.
type Position struct {
	Key    string `json:"k"`
	Offset uint64 `json:"o"`           // it has confirmed everything before, or begins there
	Begins bool   `json:"b,omitempty"` // a connection has begun since the key's last Position
}
