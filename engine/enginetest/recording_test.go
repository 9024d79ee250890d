package enginetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"distributor/wsproto/collector"
	"distributor/wsproto/shardus"
)

// recording loads the recording at the first call.
var recording = sync.OnceValues(func() (*Recording, error) {
	return LoadRecording("../../testdata/firehose.json.gz")
})

func loadRecording(t *testing.T) *Recording {
	t.Helper()
	r, err := recording()
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Transcripts) < 50 || len(r.Scenarios) < 20 || len(r.Records) < 500 {
		t.Fatalf("%d transcripts, %d scenarios, %d records: that is not all", len(r.Transcripts),
			len(r.Scenarios), len(r.Records))
	}
	return r
}

func (r *Recording) key(t *testing.T, name string) shardus.SecretKey {
	t.Helper()
	key, err := shardus.ParseSecretKey(r.Keys[name].SecretKey)
	if err != nil {
		t.Fatalf("key %q: %v", name, err)
	}
	return key
}

// quiet is how long no message may come after the last expected one. It covers several reads of the
// data logs (FILE_STREAM_INTERVAL_MS is 100).
const quiet = 350 * time.Millisecond

// shortShare is the share of the recordings that -short plays: one in shortShare.
const shortShare = 4

// TestTranscripts replays recorded changes of data logs with the real binary. A collector must get
// exactly the expected messages, byte for byte and in order.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	r := loadRecording(t)
	for i, script := range r.Transcripts {
		if testing.Short() && i%shortShare != 0 {
			continue
		}
		t.Run(script.Name, func(t *testing.T) {
			t.Parallel()
			d := New(t, script.Config)
			if err := r.Perform(script.Setup, d.Logs, 1); err != nil {
				t.Fatal(err)
			}
			d.Start()
			p := MustConnect(t, d.URL, PeerOptions{Key: r.key(t, "known")})
			if err := r.Perform(script.Steps, d.Logs, 1); err != nil {
				t.Fatal(err)
			}
			want := make(map[string][]string)
			due := 0
			for stream, ids := range script.Expected {
				want[stream] = without(expand(ids), script.Optional)
				due += len(want[stream])
			}
			got := func() map[string][]string { return r.sort(p.Texts(), want, script.Optional) }
			reached(func() bool {
				n := 0
				for _, ids := range got() {
					n += len(ids)
				}
				return n >= due
			})
			time.Sleep(quiet)
			for stream, ids := range got() {
				if !slices.Equal(ids, want[stream]) {
					t.Errorf("%s: %s", stream, difference(ids, want[stream]))
				}
			}
		})
	}
}

// sort returns the record ids of messages, by stream. If several records have the same message, it
// returns one that is expected.
func (r *Recording) sort(texts []string, want map[string][]string,
	optional []string) map[string][]string {
	got := map[string][]string{"cycle": nil, "originalTx": nil, "receipt": nil}
	for _, text := range texts {
		var outer map[string]json.RawMessage
		_ = json.Unmarshal([]byte(text), &outer)
		stream := "none"
		for s := range got {
			if _, ok := outer[s]; ok {
				stream = s
			}
		}
		ids := r.byText[text]
		name := fmt.Sprintf("no message that was due: %.200s", text)
		for _, id := range ids {
			if name = ids[0]; slices.Contains(want[stream], id) {
				name = id
				break
			}
		}
		if !slices.ContainsFunc(ids, func(id string) bool { return slices.Contains(optional, id) }) {
			got[stream] = append(got[stream], name)
		}
	}
	return got
}

func without(ids, optional []string) []string {
	return slices.DeleteFunc(ids, func(id string) bool { return slices.Contains(optional, id) })
}

// difference describes where two lists begin to differ.
func difference(got, want []string) string {
	i := 0
	for i < len(got) && i < len(want) && got[i] == want[i] {
		i++
	}
	return fmt.Sprintf("got %d messages, %d are due; the first %d agree, then came %.400q where %.200q is due", len(got), len(want), i,
		got[i:min(len(got), i+4)], want[i:min(len(want), i+4)])
}

// expirySpeed is a factor for how long subscriptions last, and for the time limits of the closes
// when they expire.
const expirySpeed = 0.4

// TestScenarios replays recorded scenarios of several collectors with the real binary.
func TestScenarios(t *testing.T) {
	t.Parallel()
	r := loadRecording(t)
	for i, script := range r.Scenarios {
		if testing.Short() && i%shortShare != 0 {
			continue
		}
		t.Run(script.Name, func(t *testing.T) {
			t.Parallel()
			s := &stage{t: t, r: r, began: time.Now(), peers: make(map[string]*actor)}
			s.d = New(t, Settings{"NUMBER_OF_WORKERS": max(1, script.Workers)})
			if script.Workers > 1 {
				// Else the first worker would get all clients.
				s.d.Configure(Settings{"MAX_CLIENTS_PER_CHILD": 1})
			}
			s.configure(script.Config)
			for _, stream := range []string{"cycle", "originalTx", "receipt"} {
				if err := errors.Join(appendFile(filepath.Join(s.d.Logs, stream+"-log1.txt"), nil),
					appendFile(filepath.Join(s.d.Logs, "active-"+stream+"-log.txt"),
						[]byte(stream+"-log1.txt"))); err != nil {
					t.Fatal(err)
				}
			}
			s.d.Start()
			Until(t, "all workers are there", func() bool {
				return len(children(s.d.Pid(), "worker")) >= max(1, script.Workers)
			}, nil)
			// Expiry times count from now, not from before the start.
			s.began = time.Now()
			s.configure(script.Config)
			s.d.Reload(syscall.SIGUSR1)
			for _, step := range script.Steps {
				s.play(step)
			}
			s.waitConfirmed()
			for name, want := range script.Expected {
				s.check(name, want)
			}
		})
	}
}

// stage is one scenario being played.
type stage struct {
	t     *testing.T
	r     *Recording
	d     *Distributor
	began time.Time
	peers map[string]*actor
}

// actor is one connection.
type actor struct {
	*Peer
	refused *collector.RefusedError
	at      time.Time
	due     int // records written since it connected
	left    bool
}

func (s *stage) configure(c *ScenarioConfig) {
	s.t.Helper()
	if c == nil {
		return
	}
	settings := Settings{"limitToSubscribersOnly": c.LimitToSubscribersOnly}
	if c.MaxClientsPerChild > 0 {
		settings["MAX_CLIENTS_PER_CHILD"] = c.MaxClientsPerChild
	}
	var list []Settings
	for _, sub := range c.Subscribers {
		expires := int64(0)
		if sub.ExpiresInMs != nil {
			expires = s.began.UnixMilli() + int64(float64(*sub.ExpiresInMs)*expirySpeed)
		}
		kind := "FIREHOSE"
		if sub.SubscriptionType != "" {
			kind = sub.SubscriptionType
		}
		list = append(list, Settings{"publicKey": s.r.Keys[sub.Keys].PublicKey,
			"expirationTimestamp": expires, "subscriptionType": kind})
	}
	if list != nil {
		settings["subscribers"] = list
	}
	s.d.Configure(settings)
}

func (s *stage) play(step ScenarioStep) {
	s.t.Helper()
	a := s.peers[step.As]
	switch step.Op {
	case "connect":
		a = &actor{at: time.Now()}
		s.peers[step.As] = a
		var err error
		if a.Peer, err = Connect(s.t, s.d.URL, PeerOptions{Key: s.r.key(s.t, step.Keys),
			Type: step.Type}); err != nil && !errors.As(err, &a.refused) {
			s.t.Fatalf("%s: %v", step.As, err)
		}
	case "append":
		var data []byte
		for _, id := range expand(step.IDs) {
			line, err := s.r.line(id)
			if err != nil {
				s.t.Fatal(err)
			}
			data = append(append(data, line...), '\n')
			for _, a := range s.peers {
				a.due++
			}
		}
		stream := step.Stream
		if stream == "" {
			stream = "receipt"
		}
		if err := appendFile(filepath.Join(s.d.Logs, stream+"-log1.txt"), data); err != nil {
			s.t.Fatal(err)
		}
	case "wait":
		s.waitConfirmed()
		time.Sleep(time.Duration(step.Ms) * time.Millisecond)
	case "wait-closed":
		if a.Peer != nil {
			reached(func() bool { ended, _ := a.Ended(); return ended })
		}
	case "close":
		a.left = true
		a.Close(step.Code)
	case "terminate":
		a.left = true
		a.Terminate()
	case "say":
		a.Say(step.Text)
	case "ping":
		a.Ping(step.Text)
	case "config":
		s.configure(step.Set)
	case "signal":
		if step.Name != "SIGUSR1" {
			s.t.Fatalf("signal %s", step.Name)
		}
		if step.To == "all" {
			for _, w := range s.d.Workers() {
				w.Signal(s.t, syscall.SIGUSR1)
			}
		}
		s.d.Reload(syscall.SIGUSR1)
	default:
		s.t.Fatalf("there is no step %q", step.Op)
	}
}

// waitConfirmed waits until all connected actors have their messages and have confirmed them. Else
// the distributor might repeat messages when the key reconnects, because a recorded pause can be
// too short for a busy machine.
func (s *stage) waitConfirmed() {
	reached(func() bool {
		for _, a := range s.peers {
			if a.Peer == nil || a.left {
				continue
			}
			if ended, _ := a.Ended(); !ended && (len(a.Texts()) < a.due || !a.Confirmed()) {
				return false
			}
		}
		return true
	})
}

func (s *stage) check(name string, want Outcome) {
	s.t.Helper()
	a := s.peers[name]
	if want.Opened != (a.Peer != nil) {
		s.t.Errorf("%s: let in is %v, want %v (%v)", name, a.Peer != nil, want.Opened, a.refused)
	}
	if a.Peer == nil {
		return
	}
	var got []string
	for _, text := range a.Texts() {
		ids := s.r.byText[text]
		got = append(got, strings.Join(append(ids, fmt.Sprintf("no record's: %.100s", text))[:1], ""))
	}
	if want.Got != nil && !slices.Equal(got, expand(want.Got)) {
		s.t.Errorf("%s: got %q, want %q", name, got, want.Got)
	}
	if want.GotAny != nil && !slices.ContainsFunc(want.GotAny, func(w []string) bool {
		return slices.Equal(got, expand(w))
	}) {
		s.t.Errorf("%s: got %q, want one of %q", name, got, want.GotAny)
	}
	if want.Pongs != nil {
		if !reached(func() bool {
			return len(a.Pongs()) >= len(want.Pongs)
		}) || !slices.Equal(a.Pongs(), want.Pongs) {
			s.t.Errorf("%s: pongs %q, want %q", name, a.Pongs(), want.Pongs)
		}
	}
	if want.Close == nil {
		return
	}
	var closing *Closing
	if err := json.Unmarshal(want.Close, &closing); err != nil {
		s.t.Fatal(err)
	}
	ended, end := a.Ended()
	if closing == nil {
		if ended {
			s.t.Errorf("%s: closed with %v, want it open", name, end)
		}
		return
	}
	if end == nil || end.Code != closing.Code {
		s.t.Errorf("%s: ended is %v with %v, want code %d", name, ended, end, closing.Code)
		return
	}
	if w := closing.WithinMs; w != nil {
		if after := float64(a.endedAt.Sub(a.at).Milliseconds()); after < float64(w[0])*expirySpeed ||
			after > float64(w[1])*expirySpeed {
			s.t.Errorf("%s: closed after %v ms, want %v times %v", name, after, w, expirySpeed)
		}
	}
}
