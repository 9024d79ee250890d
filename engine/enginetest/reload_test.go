package enginetest

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"distributor/wsproto"
	"distributor/wsproto/collector"
	"distributor/wsproto/shardus"
)

// subscribers returns a list for the configuration, of keys that do not expire.
func subscribers(keys ...shardus.SecretKey) []Settings {
	list := []Settings{}
	for _, k := range keys {
		list = append(list, Settings{"publicKey": k.Public().String(), "expirationTimestamp": 0,
			"subscriptionType": "FIREHOSE"})
	}
	return list
}

func mustBeRefused(t *testing.T, d *Distributor, key shardus.SecretKey) {
	t.Helper()
	_, err := Connect(t, d.URL, PeerOptions{Key: key})
	var refused *collector.RefusedError
	if !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized ||
		!strings.Contains(refused.Reason, `"reason":"unknown_subscriber"`) {
		t.Errorf("want a refusal of an unknown subscriber, not: %v", err)
	}
}

// TestReload checks that both signals apply a changed list of subscribers, and that a file with an
// error changes nothing and is logged with its line and key.
func TestReload(t *testing.T) {
	for name, signal := range map[string]syscall.Signal{"SIGHUP": syscall.SIGHUP,
		"SIGUSR1": syscall.SIGUSR1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stays, goes, comes := newKey(t), newKey(t), newKey(t)
			d := New(t, Settings{"limitToSubscribersOnly": true, "subscribers": subscribers(stays, goes)})
			book := NewBook()
			archiver := NewArchiver(t, ArchiverOptions{Dir: d.Logs, Book: book, Sizes: []int{100}})
			d.Start()
			pid, workers := d.Pid(), d.Workers()
			staying, going := MustConnect(t, d.URL, PeerOptions{Key: stays}),
				MustConnect(t, d.URL, PeerOptions{Key: goes})
			mustBeRefused(t, d, comes)

			d.Configure(Settings{"subscribers": subscribers(stays, comes)})
			if l := d.Reload(signal); l.Msg != "configuration reloaded" ||
				fmt.Sprint(l.Attrs["applied"], l.Attrs["refused"]) != "1 0" {
				t.Errorf("the log says %s", l.Text)
			}
			going.WaitClosed(t, wsproto.SubscriptionExpired.Code)
			mustBeRefused(t, d, goes)
			coming := MustConnect(t, d.URL, PeerOptions{Key: comes})

			d.WriteConfig(`{
  "limitToSubscribersOnly": true,
  "subscribers": [{"publicKey": 5}]
}`)
			l := d.Reload(signal)
			if text := fmt.Sprint(l.Attrs["error"]); l.Level != "ERROR" ||
				!strings.Contains(text, "distributor-config.json:3:") ||
				!strings.Contains(text, "subscribers[0].publicKey") {
				t.Errorf("broken file: got %s, want an error with line and key", l.Text)
			}
			mustBeRefused(t, d, goes)

			d.Configure(Settings{"DISTRIBUTOR_PORT": d.Port + 1, "DATA_LOG_STALE_MS": 1_000_000})
			if l := d.Reload(signal); fmt.Sprint(l.Attrs["applied"], l.Attrs["refused"]) != "1 1" {
				t.Errorf("the log says %s", l.Text)
			}
			d.WaitLog("a warning about the port", func(l Line) bool {
				return l.Msg == "configuration change needs a restart" &&
					strings.Contains(l.Text, "DISTRIBUTOR_PORT")
			})

			// Connections that the changes do not concern are unaffected.
			if err := archiver.Write(10); err != nil {
				t.Fatal(err)
			}
			for _, p := range []*Peer{staying, coming} {
				Until(t, "the other subscribers get the records", func() bool {
					return len(p.Texts()) == 10
				}, nil)
			}
			if d.Pid() != pid || len(workers) != 1 || workers[0].Gone(0) {
				t.Error("processes were replaced")
			}
			d.Stop()
		})
	}
}

// TestReloadLimit checks that switching the list of subscribers on closes collectors that are not
// in it, and that switching it off accepts everybody.
func TestReloadLimit(t *testing.T) {
	t.Parallel()
	listed, stranger := newKey(t), newKey(t)
	d := New(t, Settings{"subscribers": subscribers(listed)})
	d.Start()
	first, other := MustConnect(t, d.URL, PeerOptions{Key: listed}),
		MustConnect(t, d.URL, PeerOptions{Key: stranger})
	d.Configure(Settings{"limitToSubscribersOnly": true})
	d.Reload(syscall.SIGHUP)
	other.WaitClosed(t, wsproto.SubscriptionExpired.Code)
	mustBeRefused(t, d, stranger)
	if ended, end := first.Ended(); ended {
		t.Errorf("the listed subscriber was closed with %v", end)
	}
	d.Configure(Settings{"limitToSubscribersOnly": false})
	d.Reload(syscall.SIGHUP)
	MustConnect(t, d.URL, PeerOptions{Key: stranger})
}
