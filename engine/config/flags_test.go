package config

import (
	"slices"
	"strings"
	"testing"
)

// A command line that is shown contains no key, in whatever form it was given.
func TestHideSecrets(t *testing.T) {
	key := strings.Repeat("0a", 64)
	for _, c := range []struct{ args, want []string }{
		{nil, nil},
		{[]string{"distributor", "--LOG_LEVEL", "debug"},
			[]string{"distributor", "--LOG_LEVEL", "debug"}},
		{[]string{"d", "--DISTRIBUTOR_SECRET_KEY", key, "--VERBOSE"},
			[]string{"d", "--DISTRIBUTOR_SECRET_KEY", "(secret)", "--VERBOSE"}},
		{[]string{"d", "--DISTRIBUTOR_SECRET_KEY=" + key},
			[]string{"d", "--DISTRIBUTOR_SECRET_KEY=(secret)"}},
		{[]string{"d", "--DISTRIBUTOR_SECRET_KEY", "short"},
			[]string{"d", "--DISTRIBUTOR_SECRET_KEY", "(secret)"}},
		{[]string{"d", "--DISTRIBUTOR_SECRET_KEY=", key},
			[]string{"d", "--DISTRIBUTOR_SECRET_KEY=(secret)", "(secret)"}},
		{[]string{"d", "-distributor_secret_key", "short"},
			[]string{"d", "-distributor_secret_key", "(secret)"}},
		{[]string{"d", "--DISTRIBUTOR_SECRETKEY=x" + key},
			[]string{"d", "--DISTRIBUTOR_SECRETKEY=x(secret)"}},
		{[]string{"d", "--", key}, []string{"d", "--", "(secret)"}},
		{[]string{"d", "--DISTRIBUTOR_PUBLIC_KEY", key[:64], "--DISTRIBUTOR_SECRET_KEY"},
			[]string{"d", "--DISTRIBUTOR_PUBLIC_KEY", key[:64], "--DISTRIBUTOR_SECRET_KEY"}},
	} {
		before := slices.Clone(c.args)
		if got := HideSecrets(c.args); !slices.Equal(got, c.want) || !slices.Equal(c.args, before) {
			t.Errorf("%q: %q", c.args, got)
		}
	}
}
