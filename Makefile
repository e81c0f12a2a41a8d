# Everything a developer runs. `make help` lists the targets.

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.NOTPARALLEL: # go uses all cores by itself

# Pinned: this version understands the Go version in go.mod and resolves through
# the module proxy.
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.7.0

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT  := $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
LDFLAGS := -X main.version=$(VERSION) -X main.commit=$(COMMIT)

TESTFLAGS   ?=
TESTTIMEOUT ?= 10m
FUZZTIME    ?= 10s
BENCH       ?= .
BENCHTIME   ?= 1s
BENCHFLAGS  ?=
PKGS        ?= ./...
MINUTES     ?= 10
SEED        ?=
DEVFLAGS    ?=

.PHONY: help
help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/chancery, with the PKCS#11 driver where cgo is on
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/chancery ./cmd/chancery

.PHONY: dev
dev: build ## run a whole cluster here (DEVFLAGS='--nodes 3 --keystore pkcs11')
	bin/chancery dev --dir .dev $(DEVFLAGS)

.PHONY: deps
deps: ## install what the tests need beside Go
	scripts/deps

.PHONY: test
test: deps check cross race unit seeded processes ## all that CI checks; installs what it needs

# fsm, cluster and authority have been tested by then, under the race detector.
.PHONY: unit
unit: # the packages that race leaves out, except those that start processes
	go test -timeout $(TESTTIMEOUT) $(TESTFLAGS) $$(go list ./... | grep -vE '/chancery/(fsm|cluster|authority|integration|cmd/chancery)(/|$$)')

.PHONY: seeded
seeded: # errors that we put into our own protocol: its simulator must find each
	go test -tags chancery_faults -run Seeded -timeout $(TESTTIMEOUT) $(TESTFLAGS) ./cluster/lease
	go test -tags chancery_faults -timeout $(TESTTIMEOUT) $(TESTFLAGS) ./fsm/fault

# One after the other: they measure themselves against real elections.
.PHONY: processes
processes: TESTTIMEOUT = 15m
processes: # real processes: stories of the command line, kills, damage
	go test -p 1 -timeout $(TESTTIMEOUT) $(TESTFLAGS) ./cmd/chancery/... ./integration/...

.PHONY: check
check: fmt vet scripts arch ## the quick half of test: format, vet, scripts, shape of the tree

.PHONY: fmt
fmt: # gofmt as a check; it changes nothing
	@echo "+ gofmt -l"
	@found=$$(find . -path './.*' -prune -o -name '*.go' -print0 | xargs -0 gofmt -l); \
	  if [[ -n "$$found" ]]; then echo "not formatted, run gofmt -w on:"; echo "$$found"; exit 1; fi

.PHONY: vet
vet: # go vet over all packages, also as the laboratory builds them
	go vet ./...
	go vet -tags chancery_faults ./...

.PHONY: scripts
scripts: # syntax and lint of shell scripts, unit file and Vagrantfile
	@scripts/lint

.PHONY: arch
arch: # import arrows, purity, raft hearsay
	go test $(TESTFLAGS) -run 'Arrows|Purity|Hearsay' ./integration

.PHONY: race
race: ## the race detector over fsm, cluster and authority
	go test -race -timeout $(TESTTIMEOUT) $(TESTFLAGS) ./fsm/... ./cluster/... ./authority/...

.PHONY: lint
lint: fmt vet scripts ## gofmt, go vet, staticcheck (pinned), scripts
	go run $(STATICCHECK) ./...

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME (10s)
	@scripts/fuzz $(FUZZTIME) $(PKGS)

.PHONY: bench
bench: ## servers against their yardsticks, as ratios (BENCHFLAGS='-only sign -v')
	go run ./integration/bench $(BENCHFLAGS)

.PHONY: microbench
microbench: ## Go benchmarks of the packages (BENCH=regexp BENCHTIME=1s PKGS=./...)
	go test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -benchmem -timeout 60m $(PKGS)

.PHONY: integration
integration: build ## real processes, kills and restarts, at full length
	CHANCERY_INTEGRATION=full go test -count=1 -v -timeout 60m ./integration/...

.PHONY: nemesis
nemesis: ## random faults, several at once, for MINUTES (10); SEED=n repeats the choices
	CHANCERY_NEMESIS_MINUTES=$(MINUTES) CHANCERY_INTEGRATION_SEED=$(SEED) go test -count=1 -v -timeout 0 -run 'TestNemesis$$' ./integration

.PHONY: seeded-faults
seeded-faults: ## each error that we can put into our own code must be caught
	CHANCERY_INTEGRATION=full go test -count=1 -v -timeout 60m -run 'TestSeededFaults$$' ./integration

.PHONY: kills
kills: ## nodes killed at every step of a rotation, of issuing, of revoking and of CRLs
	CHANCERY_INTEGRATION=full go test -count=1 -v -timeout 60m -run 'Test(RotationLeader|Issue)Killed$$' ./integration

.PHONY: zlint
zlint: ## 10,000 random certificates of each profile, judged by zlint
	go test -count=1 -v -timeout 60m -run 'TestZLint$$' ./authority/pki -zlint 10000

.PHONY: cross
cross: ## compile for every platform we promise, without cgo
	@scripts/cross

.PHONY: clean
clean: ## remove what make has built and the development cluster
	rm -rf bin .dev
