package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"distributor/engine/config"
	"distributor/engine/doctor"
)

const doctorHelp = `Checks everything that "distributor serve" would need with the same file, environment
and flags, and prints what is wrong and how to correct it. It changes nothing and may run beside
a distributor.

usage: distributor doctor [--json] [flags of serve]

  --json    print the report as JSON

Every finding is "ok", "warning" or "problem". The exit status is 0 without a problem, 1 with a
problem, and 78 if the arguments are wrong. "distributor serve --help" lists the other flags.
`

func doctorCommand(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	asJSON := false
	rest := slices.DeleteFunc(slices.Clone(args), func(arg string) bool {
		asJSON = asJSON || arg == "--json"
		return arg == "--json"
	})
	if len(rest) > 0 && len(rest[0]) > 0 && rest[0][0] != '-' {
		fmt.Fprintf(stderr, "distributor doctor: unexpected argument %q; see --help\n", rest[0])
		return exitConfig
	}
	report, err := doctor.Examine(ctx, config.Source{Env: os.Environ(), Args: rest})
	switch {
	case errors.Is(err, config.ErrHelp):
		fmt.Fprint(stdout, doctorHelp)
		return exitOK
	case err != nil:
		fmt.Fprintln(stderr, "distributor doctor:", err)
		return exitFailed
	case asJSON:
		e := json.NewEncoder(stdout)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		err = e.Encode(report)
	default:
		_, err = report.WriteTo(stdout)
	}
	if err != nil || report.Problems > 0 {
		return exitFailed
	}
	return exitOK
}
