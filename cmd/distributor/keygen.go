package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/pflag"

	"distributor/wsproto/shardus"
)

const keygenHelp = `Generates an Ed25519 key pair and prints it as JSON, in the form that the configuration
(DISTRIBUTOR_PUBLIC_KEY, DISTRIBUTOR_SECRET_KEY) and "distributor tail --key-file" accept.
Keep the secret key secret: anybody who has it can sign as you.

usage: distributor keygen [--config]

`

func keygenCommand(_ context.Context, args []string, stdout, stderr io.Writer) int {
	flags := pflag.NewFlagSet("keygen", pflag.ContinueOnError)
	flags.SetOutput(stderr)
	asConfig := flags.Bool("config", false, "print the key pair as lines of distributor-config.json")
	flags.Usage = func() { fmt.Fprint(stdout, keygenHelp, flags.FlagUsages()) }
	switch err := flags.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		return exitOK
	case err != nil || flags.NArg() > 0:
		fmt.Fprintln(stderr, "distributor keygen: wrong arguments; see --help")
		return exitConfig
	}
	public, secret, err := shardus.GenerateKey()
	if err != nil {
		fmt.Fprintln(stderr, "distributor keygen:", err)
		return exitFailed
	}
	if *asConfig {
		fmt.Fprintf(stdout, "\"DISTRIBUTOR_PUBLIC_KEY\": %q,\n\"DISTRIBUTOR_SECRET_KEY\": %q\n",
			public.String(), secret.Reveal())
		return exitOK
	}
	e := json.NewEncoder(stdout)
	e.SetIndent("", "  ")
	if err := e.Encode(map[string]string{"publicKey": public.String(),
		"secretKey": secret.Reveal()}); err != nil {
		return exitFailed
	}
	return exitOK
}
