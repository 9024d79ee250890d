package query

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"testing"

	"distributor/engine/gateway"
	"distributor/engine/query/querytest"
)

// configured is a configuration of the corpus.
func configured(t *testing.T, c querytest.Config) Settings {
	var keys struct {
		LimitToSubscribersOnly  bool
		Subscribers             []Subscriber
		StopDistributionAtCycle *int64
	}
	if err := json.Unmarshal(c.Settings, &keys); err != nil {
		t.Fatal(err)
	}
	s := Settings{LimitToSubscribersOnly: keys.LimitToSubscribersOnly, Subscribers: keys.Subscribers,
		StopAtCycle: -1}
	if stop := keys.StopDistributionAtCycle; stop != nil {
		s.StopAtCycle = *stop
	}
	return s
}

// TestCorpus sends every recorded request over HTTP to a gateway with this API, except GET
// /metrics, which this package does not answer. enginetest sends all of them to the real binary.
func TestCorpus(t *testing.T) {
	corpus := querytest.Read()
	if len(corpus.Cases) != 1367 {
		t.Fatalf("%d cases", len(corpus.Cases))
	}
	for name, config := range corpus.Configs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := serve(t, newAPI(t, unpack(t, config.DB), configured(t, config)))
			for _, c := range corpus.Of(name) {
				if c.Path == "/metrics" && c.Method != http.MethodPost {
					continue
				}
				got, err := c.Ask(address)
				if err == nil {
					err = corpus.Check(c, got)
				}
				if err != nil {
					t.Errorf("%s: %v", c.Name, err)
				}
			}
		})
	}
}

func serve(t *testing.T, api http.Handler) (addr string) {
	g := gateway.New(gateway.Options{
		API: onAllRoutes(api), Settings: gateway.Settings{MaxConnections: 100},
		Log: slog.New(slog.DiscardHandler),
	})
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := g.Shutdown(ctx, 0); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// onAllRoutes is a gateway's API with one handler.
func onAllRoutes(h http.Handler) map[string]http.Handler {
	api := make(map[string]http.Handler)
	for _, route := range Routes() {
		api[route] = h
	}
	return api
}
