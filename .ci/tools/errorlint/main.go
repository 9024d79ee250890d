// Errorlint is go-errorlint for `go vet -vettool`, which keeps the result of each package until the
// package changes. The command of go-errorlint itself loads all packages in each run.
package main

import (
	"github.com/polyfloyd/go-errorlint/errorlint"
	"golang.org/x/tools/go/analysis/unitchecker"
)

func main() { unitchecker.Main(errorlint.NewAnalyzer()) }
