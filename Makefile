# `make help` lists what there is. Everything is built from go.mod; nothing has to be installed but Go, a C compiler
# (for SQLite) and, for `make collectors` alone, Node.js.

GO       ?= go
FUZZTIME ?= 30s
FUZZ     ?= ^Fuzz
RACETIME ?= 20m

.DEFAULT_GOAL := help
.PHONY: settings build run check short test collectors day lint race fuzz soak floods progress mutants
.PHONY: powerloss bench bench-quick bench-publish bench-compare bench-test clean help

build: ## build bin/distributor
	$(GO) build -o bin/distributor ./cmd/distributor

run: build ## show the main job: a simulated archiver, the distributor, a verifying collector, live, until Ctrl-C
	@exec bin/distributor demo

test: build ## all Go tests, the real binary included
	@echo "All Go tests: about five minutes on two cores. A package prints its line when it" \
	  "and those before it have ended."
	$(GO) test ./...

collectors: build ## real collectors (npm ws and lib-crypto-utils) against the real binary; needs Node.js 18 or newer
	cd testdata/collectors && npm ci --no-audit --no-fund && node --test

MINUTES ?= 10

day: export MINUTES := $(MINUTES)
day: ## a day of two stand-ins for the real collector in MINUTES (default 10) of kills, restarts and handovers; root, Node.js
	cd testdata/collectors && npm ci --no-audit --no-fund
	cd engine/enginetest && $(GO) test -count=1 -timeout 0 -v -run '^TestDay$$'

TOOL = $(GO) tool -modfile=$(CURDIR)/.ci/tools/go.mod

lint: ## formatting, vet, staticcheck, errorlint, lines of at most 100 columns
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$unformatted" || { echo "not gofmt-ed: $$unformatted"; exit 1; }
	.ci/width
	$(GO) vet ./...
	$(GO) -C bench vet ./...
	$(TOOL) staticcheck ./...
	cd bench && $(TOOL) staticcheck ./...
	$(GO) vet -vettool=$$($(GO) -C .ci/tools tool -n errorlint) ./...

# Many tests wait, so lint and tests share the cores. lint vets the tests.
check: ## before each commit: lint, and beside it the short tests, with a few of the real binary
	@$(MAKE) --no-print-directory -j2 lint short

short: ## the short tests of all packages, six at a time
	$(GO) test -short -vet=off -p 6 ./...

race: ## all Go tests under the race detector
	$(GO) test -race -timeout $(RACETIME) ./...

# What is found is written to testdata/fuzz of the package, to be kept: every `make test` runs it again. Small inputs are
# not worth the minute that Go would give to making them smaller.
fuzz: ## every fuzz target for FUZZTIME (default 30s) each; FUZZ=regexp for some of them
	@set -e; for p in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '$(FUZZ)' $$p | grep '^Fuzz' || true); do \
	    echo "== $$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 50x $$p; done; done

# From within the package, so that the output comes as it is made. SCENARIOS, SEED and JOBS come from the environment.
SOAK ?= $(if $(SCENARIOS),,10m)

soak: export SOAK := $(SOAK)
soak: ## the judge: scenarios of faults by seed, for SOAK (default 10m) or SCENARIOS of them, from SEED on, JOBS at a time
	cd engine/enginetest && $(GO) test -count=1 -timeout 0 -run '^TestSoak$$'

floods: export FLOODS := $(MINUTES)m
floods: ## strangers flood the public port, each flood for MINUTES (default 10), seven at a time, three times
	cd engine/enginetest && $(GO) test -count=1 -timeout 0 -v -run '^TestFloods$$'

PROGRESS ?= 4

progress: export PROGRESS := $(PROGRESS)
progress: ## collectors at a quarter of the stream's rate, cut every 10 s, PROGRESS times (default 4): how far each gets
	cd engine/enginetest && $(GO) test -count=1 -timeout 0 -run '^TestProgress$$'

mutants: ## the judge judged: deliberate bugs that it must find, all or those with MUTANT in their names
	cd engine/enginetest && MUTANTS=1 $(GO) test -count=1 -timeout 0 -run '^TestMutants$$'

# From within the package, so that the progress comes as it is made. SEED comes from the environment.
powerloss: export CUTS ?= 500
powerloss: ## the frame log under CUTS (default 500) power losses of a real ext4, by SEED; needs root and loop devices
	cd mmaplog/framelog && $(GO) test -count=1 -timeout 0 -run '^TestPowerLoss$$'

# bench is a Go module of its own, so what it is compared with is no requirement of the distributor.
bench: build ## the load tests, with their report (about half an hour)
	$(GO) -C bench run .

bench-quick: build ## the same, shorter and less exact (minutes)
	$(GO) -C bench run . -quick

bench-publish: build ## the same as bench, and its figures into bench/README.md
	$(GO) -C bench run . --publish README.md

ROUNDS ?= 3

bench-compare: build ## quick scenarios of this tree and of commit BASE by turns, ROUNDS times: ratios
	@test -n "$(BASE)" || { echo "say which commit: make bench-compare BASE=main"; exit 1; }
	@tree=$$(mktemp -d) && trap 'git worktree remove --force $$tree' EXIT && \
	  trap 'exit 1' INT TERM && \
	  git worktree add --quiet --detach $$tree $(BASE) && \
	  $(GO) -C $$tree build -o $$tree/bin/distributor ./cmd/distributor && \
	  $(GO) -C bench run . -quick --base $$tree/bin/distributor --times $(ROUNDS) --peers "" \
	    $(SCENARIOS)

bench-test: ## the benchmark's own tests
	$(GO) -C bench test ./...

settings: ## write the settings of docs/CONFIGURATION.md, after a change to engine/config
	$(GO) test ./engine/config -update

clean: ## remove what was built
	rm -rf bin bench/out bench/ws/node_modules testdata/collectors/node_modules

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22
