package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"distributor/engine/config"
	"distributor/wsproto/shardus"
)

// configuration turns the result of config.Load into findings. cfg is nil if err is not.
func configuration(cfg *config.Config, warnings []config.Warning, err error) []Finding {
	const name = "configuration"
	var found []Finding
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			found = append(found, problem(name, strings.TrimSpace(line),
				"correct the setting; `distributor serve --help` lists the values that each key accepts"))
		}
	} else if cfg.File != "" {
		found = append(found, fine(name, "%s can be used", cfg.File))
	}
	for _, w := range warnings {
		remedy := "correct the setting, or leave it if it is intended"
		if cfg != nil && cfg.File == "" && strings.HasPrefix(w.Text, config.DefaultFile) {
			remedy = "if this is not intended, run doctor in the distributor's directory or pass --config PATH"
		}
		found = append(found, warning(name, w.Text, remedy))
	}
	return found
}

func keys(_ context.Context, v visit) []Finding {
	const name, remedy = "keys", "set DISTRIBUTOR_PUBLIC_KEY and DISTRIBUTOR_SECRET_KEY from one `distributor keygen`"
	secret, err := shardus.ParseSecretKey(string(v.cfg.SecretKey))
	if err != nil {
		return []Finding{problem(name, "DISTRIBUTOR_SECRET_KEY cannot be used: "+err.Error(), remedy)}
	}
	public, err := shardus.ParsePublicKey(v.cfg.PublicKey)
	if err != nil {
		return []Finding{problem(name, "DISTRIBUTOR_PUBLIC_KEY cannot be used: "+err.Error(), remedy)}
	}
	hashKey, err := shardus.ParseHashKey(v.cfg.HashKey)
	if err != nil {
		return []Finding{problem(name, "DISTRIBUTOR_HASH_KEY cannot be used: "+err.Error(),
			"set DISTRIBUTOR_HASH_KEY to the network's 64 hex digits, or remove the key to use the default")}
	}
	if got := shardus.NewSigner(secret, hashKey).PublicKey(); got != public {
		return []Finding{problem(name,
			fmt.Sprintf("DISTRIBUTOR_SECRET_KEY belongs to the public key %s, but DISTRIBUTOR_PUBLIC_KEY is %s", got, public), remedy)}
	}
	var found []Finding
	switch {
	case v.cfg.UsesSampleKeys() && listensBeyond(v.cfg.ListenAddr):
		found = append(found, warning(name,
			"the configured keys are the published sample keys: anybody can sign as this distributor",
			remedy))
	case v.cfg.UsesSampleKeys():
		found = append(found, fine(name,
			"the configured keys are the published sample keys; the distributor listens on loopback only"))
	default:
		found = append(found, fine(name, "signs as %s", public))
	}
	if fi, err := os.Stat(v.cfg.File); err == nil && !v.cfg.UsesSampleKeys() &&
		fi.Mode().Perm()&0o004 != 0 {
		found = append(found, warning(name, v.cfg.File+" can be read by every user of this machine",
			"if the file contains the secret key: chmod 640 "+v.cfg.File))
	}
	return found
}

// listensBeyond reports whether other machines can connect. It assumes that they can if listenAddr
// is a name other than localhost.
func listensBeyond(listenAddr string) bool {
	addr, err := netip.ParseAddr(listenAddr)
	return listenAddr != "localhost" && (err != nil || !addr.IsLoopback())
}

func subscribers(_ context.Context, v visit) []Finding {
	const name = "subscribers"
	if !v.cfg.LimitToSubscribersOnly {
		return []Finding{fine(name, "limitToSubscribersOnly is false: any collector with a key pair may connect")}
	}
	good, expired := 0, 0
	var found []Finding
	for i, s := range v.cfg.Subscribers {
		if _, err := shardus.ParsePublicKey(s.PublicKey); err != nil {
			found = append(found, problem(name,
				fmt.Sprintf("subscribers[%d].publicKey cannot be used: %v", i, err),
				"correct the publicKey in the list subscribers: 64 hex digits"))
			continue
		}
		if s.ExpirationTimestamp != 0 && s.ExpirationTimestamp <= v.now.UnixMilli() {
			expired++
		} else {
			good++
		}
	}
	switch {
	case good == 0:
		found = append(found, warning(name,
			fmt.Sprintf("limitToSubscribersOnly is true, but of %d subscribers none may connect now",
				len(v.cfg.Subscribers)), "add subscribers, or correct expirationTimestamp: Unix milliseconds, 0 for never"))
	case expired > 0:
		found = append(found, warning(name,
			fmt.Sprintf("subscribers: %d may connect, the subscription of %d has expired", good, expired),
			"correct expirationTimestamp (Unix milliseconds) if this is not intended, then reload (SIGHUP)"))
	default:
		found = append(found, fine(name, "%d subscribers may connect", good))
	}
	return found
}
