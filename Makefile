# JACO, GitOps edition.

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS  := -s -w -X main.version=$(VERSION)
SUITES   := rig engine stage push refusals approvals rotation cluster crash idle badinput forged-leader faults idle-cluster plan secrets attacks
FUZZTIME ?= 60s
BENCH    ?= .
GO       := go
export CGO_ENABLED ?= 0

.DEFAULT_GOAL := help

.PHONY: build
build: ## Build the two static binaries into bin/
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/jaco ./cmd/jacod

.PHONY: test
test: deps ## Unit tests with the race detector, then every suite on real engines
	CGO_ENABLED=1 $(GO) run ./tests/rig/cmd/unit -timeout 20m -race $$($(GO) list ./... | grep -v /tests)
	$(GO) test ./tests ./tests/rig/gotest ./tests/rig/packet ./tests/rig/cmd/...
	$(MAKE) e2e

.PHONY: deps
deps:
	build/deps.sh test

.PHONY: check
check: ## Formatting, vet, lint, architecture rules, generated code up to date
	build/check.sh

.PHONY: lint
lint: ## Run golangci-lint, pinned in build/tools/lint.mod
	$(GO) tool -modfile=build/tools/lint.mod golangci-lint run ./...

.PHONY: generate
generate: ## Regenerate the code below proto/ with pinned tools
	build/generate.sh

.PHONY: attacks
attacks: ## Make the histories of the attack corpus anew
	signing/testdata/attacks/make.sh

.PHONY: demo
demo: ## One node, a signed push, a refused push and the proof of both (DEMO_EXIT=1 cleans up and exits)
	build/deps.sh demo
	$(MAKE) build
	$(GO) run ./tests/demo -bin bin

.PHONY: e2e
e2e: ## End-to-end suites on real engines (SUITE=name for one)
	$(GO) run ./tests/rig/cmd/suite $(or $(SUITE),$(SUITES))

.PHONY: bench
bench: ## Figures against their budgets (BENCH=name for one); status 1 when one is missed
	build/deps.sh bench
	$(GO) run ./tests/bench -run '$(BENCH)'

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (default 60s) each
	build/fuzz.sh $(FUZZTIME)

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  \033[1m%-10s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)
