.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
# Processes that run tests, each with servers of its own: two more than processors, since tests wait for much of their time.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 2)
# Each process of the tests, some hundreds, would compile all modules anew, and each process of pytest all tests: 6 s of CPU.
unexport PYTHONDONTWRITEBYTECODE
PYTEST = $(BIN)/python -m pytest --numprocesses $(WORKERS) --maxprocesses 4

.PHONY: help
help: ## Show the targets
	@if [ -t 1 ]; then bold=$$(printf '\033[1m') plain=$$(printf '\033[0m'); fi; \
	grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | \
	awk -v bold="$$bold" -v plain="$$plain" -F ':.*## ' '{printf "  %s%-18s%s %s\n", bold, $$1, plain, $$2}'

# Reads the output of pip, which says nothing while it installs, and "Installed N" every two seconds. Shows on a terminal one line that
# changes, otherwise a line for every forty packages or ten seconds. Exits as pip.
define SHOW_PROGRESS
BEGIN { "test -t 2 && echo yes" | getline terminal; every = 40 }
/^Collecting / { n++; show = sprintf("  %d of %d packages: %s", n, all, $$2) }
/^Installing collected/ { show = "  installing them"; n = 0; every = 5; installing = 1 }
/^Installed / && installing { n++; show = sprintf("  installing: %d of %d packages", $$2 < all ? $$2 : all, all) }
show { if (terminal) printf "\r\033[K%s", show; else if (n % every == 0) print show; fflush(); show = "" }
/^exit / { code = $$2; exit }
END { if (terminal) printf "\r\033[K"; exit code }
endef
export SHOW_PROGRESS

.venv/ready: requirements/dev.txt pyproject.toml clients/python/pyproject.toml
	@echo "Creating .venv: one to five minutes, most of it downloads"
	$(PYTHON) -m venv .venv
	@{ while sleep 2; do echo "Installed $$(ls -d .venv/lib/python*/site-packages/*.dist-info | wc -l)"; done & count=$$!; \
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --no-deps --require-hashes -r requirements/dev.txt; \
	echo "exit $$?"; kill $$count; } | awk -v all="$$(grep -c == requirements/dev.txt)" "$$SHOW_PROGRESS"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable . --editable clients/python
	@touch $@

.PHONY: setup
setup: .venv/ready ## Create .venv with PixelFlow and all development tools

.PHONY: hooks
hooks: setup ## Install the Git hook that formats, lints and type-checks each commit
	$(BIN)/pre-commit install

.PHONY: demo
demo: setup ## Run one job on the embedded stack (PHOTO=path for another picture)
	$(BIN)/pixelflow demo $(if $(PHOTO),"$(PHOTO)")

.PHONY: lint
lint: style types ## Check format, lint, types and import rules; change nothing

.PHONY: style
style: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

.PHONY: types
types: setup
	$(BIN)/mypy

.PHONY: check
check: lint ## Lint and run the unit tests: the quick check before a commit
	$(PYTEST) --quiet tests/unit src/pixelflow/imaging

# Types are checked beside the tests: mypy uses one processor for half a minute.
.PHONY: test
test: style tools ## Lint and run every test in parallel: what CI runs (WORKERS=1 for one at a time)
	@$(MAKE) --no-print-directory --jobs=2 types tests

.PHONY: tests
tests: setup
	$(PYTEST)

.PHONY: typescript
typescript: setup ## Build the TypeScript client and test it, also in Chromium (needs Node 20.3 or newer; make test does not)
	@command -v npm >/dev/null && node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 3) ? 0 : 1)' || \
	{ echo "make typescript needs Node 20.3 or newer with npm on the PATH (Debian: apt-get install nodejs npm)"; exit 1; }
	@test -x "$${CHROMIUM:-/usr/bin/chromium}" || \
	{ echo "make typescript needs Chromium (Debian: apt-get install chromium; elsewhere, set CHROMIUM to its path)"; exit 1; }
	@cd clients/typescript && npm ci --silent --ignore-scripts && npm run --silent check:generated && npm run --silent build \
	&& npm test --silent && npm run --silent test:service && npm run --silent size

.PHONY: coverage
coverage: setup tools ## Run every test with branch coverage, of all processes; fails below the floor. Takes half as long again
	$(BIN)/coverage erase
	$(PYTEST) --cov --cov-report=term:skip-covered

.PHONY: tools
tools: ## Download Debian's promtool, prometheus and pgbouncer into .tools for the tests that need them
	@sh tests/support/get_prometheus.sh
	@sh tests/support/get_pgbouncer.sh

.PHONY: test-s3
test-s3: setup ## Test the S3 server in PIXELFLOW_TEST_S3_ENDPOINT, …_ACCESS_KEY_ID and …_SECRET_ACCESS_KEY
	@: "$${PIXELFLOW_TEST_S3_ENDPOINT:?set the URL of a server: docs/deployment.md}"
	$(BIN)/python -m pytest tests/contract/test_presigned_urls.py -k named

.PHONY: images-check
images-check: setup ## Build the container images in a clean Debian and run jobs in them (root, debootstrap; CHECK=--help)
	deploy/check-images $(CHECK)

.PHONY: chaos
SEED ?= $(shell shuf -i 0-999999 -n 1)
JOBS ?= 400
KILLS ?= 30
chaos: setup ## Kill processes at random under load, then verify that no job was lost (SEED, JOBS, KILLS, ONLY=storage,…)
	$(BIN)/python -m tests.chaos --seed $(SEED) --jobs $(JOBS) --kills $(KILLS) $(if $(ONLY),--only $(ONLY))

.PHONY: takeover
takeover: setup ## Run hostile code in confined transform children, as root's and as a user's, and list what refused it
	$(BIN)/python -m tests.takeover

.PHONY: fuzz
SECONDS ?= 600
fuzz: setup ## Fuzz the transform of images and send what was found through confined children (SECONDS)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/fuzz.txt
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

.PHONY: fuzz-api
fuzz-api: setup ## Send all generated requests to the API, some 20,000: make test sends a part of them
	PIXELFLOW_TEST_FUZZ=all $(BIN)/python -m pytest tests/contract/test_fuzzed_api.py

.PHONY: site
site: setup ## Build the documentation site into .site, with search and llms.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/site.txt
	$(BIN)/python -m deploy.docs_site .site

.PHONY: load
load: setup ## Load an API with 30 users and 1,000 connections, one user hostile in each way; the others must not notice
	$(BIN)/python -m tests.load $(if $(WAYS),--ways $(WAYS))

.PHONY: bench
bench: setup ## Run the benchmark, at most 40 minutes (ONLY=users,idle: some sections; PEERS=imgproxy=http://…; PUBLISH=1)
	$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY)) $(if $(PEERS),--peers $(PEERS)) $(if $(PUBLISH),--publish,--results .bench)

.PHONY: bench-check
bench-check: setup ## Run each section of the benchmark with tiny counts and check the figures' form (make test runs some)
	PIXELFLOW_TEST_BENCH=all $(BIN)/python -m pytest tests/bench

.PHONY: plans
plans: setup ## Fill a database with a million jobs and verify that hot statements read no more rows than before
	$(BIN)/python -m tests.plans

.PHONY: record-statements
record-statements: setup ## Record every SQL statement of this release; later schemas are tested with them
	$(BIN)/python -m tests.migration.record

.PHONY: goldens
goldens: setup ## Compare the golden pictures on a page, .goldens/index.html (ACCEPT=1 or names to replace them)
	$(BIN)/python -m tests.golden.review .goldens $(if $(ACCEPT),--accept $(filter-out 1,$(ACCEPT)))

.PHONY: format
format: setup ## Format the code and fix what the linter can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: schemas
schemas: setup ## Regenerate JSON Schemas, the OpenAPI document, the documentation's tables and pictures, and the dashboard
	$(BIN)/python -m pixelflow.contracts.schemas docs/schemas
	$(BIN)/python -m pixelflow.controlplane.api.export_openapi docs/openapi.json
	$(BIN)/python -m tests.support.doc_tables
	$(BIN)/python -m tests.support.operation_pages
	$(BIN)/python -m tests.support.architecture_picture
	$(BIN)/python -m tests.support.states_picture
	$(BIN)/python -m deploy.grafana.dashboard
	@command -v npm >/dev/null && cd clients/typescript && npm ci --silent --ignore-scripts && npm run --silent generate \
	|| echo "The types of the TypeScript client need Node with npm: they were not regenerated"

.PHONY: dashboard
dashboard: setup tools ## Run PixelFlow under load for three minutes and draw its dashboard into docs/dashboard.png
	$(BIN)/python -m tests.support.dashboard_run docs/dashboard.png

.PHONY: lock
LOCK = $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-strip-extras \
	--no-emit-index-url --no-emit-find-links --no-emit-package pixelflow-server --no-emit-package pixelflow-client --no-header --no-annotate --quiet
lock: setup ## Lock the newest dependencies for development, and the same versions for the images (UPGRADE= to add only new ones)
	$(LOCK) $(UPGRADE) --all-extras --group dev --output-file requirements/dev.txt
	$(LOCK) --constraint requirements/dev.txt --extra api --output-file requirements/api.txt
	$(LOCK) --constraint requirements/dev.txt --extra worker --extra formats --extra faces --output-file requirements/worker.txt
	$(LOCK:pyproject.toml=) --constraint requirements/dev.txt --group build --output-file requirements/build.txt
	$(LOCK:pyproject.toml=) --group fuzz --output-file requirements/fuzz.txt
	$(LOCK:pyproject.toml=) --constraint requirements/dev.txt --group site --output-file requirements/site.txt
UPGRADE = --upgrade

.PHONY: dist
dist: setup ## Build the wheels and source distributions of the service and of the client into dist/, and check them
	@$(BIN)/python -m tests.support.build_distributions dist
	@PIXELFLOW_TEST_DIST=dist $(BIN)/python -m pytest --quiet tests/distribution

.PHONY: dist-check
dist-check: dist ## Install the wheels into empty environments and run demo, up and doctor there
	$(BIN)/python -m tests.distribution dist

.PHONY: clean
clean: ## Remove everything that was built or downloaded, and the outputs of demos, tests and benchmarks
	rm -rf .venv .tools .goldens .bench .fuzz .site demo-output outputs dist src/*.egg-info htmlcov .coverage*
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
