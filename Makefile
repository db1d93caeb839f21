.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
PHOTO ?= examples/photo.jpg

.PHONY: help
help: ## Show what can be made
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  \033[1m%-12s\033[0m %s\n", $$1, $$2}'

.venv/ready: requirements/dev.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

.PHONY: setup
setup: .venv/ready ## Make .venv with everything in it

.PHONY: demo
demo: setup ## Run one real job on the embedded stack (PHOTO=path takes another picture)
	$(BIN)/pixelflow demo "$(PHOTO)"

.PHONY: lint
lint: setup ## Format, lint, types and import rules, changing nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: test
test: lint tools ## The whole test command: lint and every test, with branch coverage
	$(BIN)/coverage erase
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered

.PHONY: tools
tools: ## Get Debian's promtool and prometheus into .tools, for the tests that need them; changes nothing else
	@sh tests/support/get_prometheus.sh

.PHONY: test-s3
test-s3: setup ## Try the S3 server that PIXELFLOW_TEST_S3_ENDPOINT, …_ACCESS_KEY_ID and …_SECRET_ACCESS_KEY name
	@: "$${PIXELFLOW_TEST_S3_ENDPOINT:?name a server: docs/deployment.md}"
	$(BIN)/python -m pytest tests/contract/test_presigned_urls.py -k named

.PHONY: images-check
images-check: setup ## Build the images by hand in a clean Debian and do jobs in them (root, debootstrap; CHECK=--help)
	deploy/check-images $(CHECK)

.PHONY: chaos
SEED ?= $(shell shuf -i 0-999999 -n 1)
JOBS ?= 400
KILLS ?= 30
chaos: setup ## Kill everything at random under real jobs, then count what was lost (SEED, JOBS, KILLS)
	$(BIN)/python -m tests.chaos --seed $(SEED) --jobs $(JOBS) --kills $(KILLS)

.PHONY: bench
bench: setup ## Run the benchmark, at most 20 minutes (ONLY=pixels,latency for some sections; PUBLISH=1 stores the results)
	$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY)) $(if $(PUBLISH),--publish,--results .bench)

.PHONY: plans
plans: setup ## Fill a database with a million jobs and see that no statement of the hot path reads more for it
	$(BIN)/python -m tests.plans

.PHONY: tape
tape: setup ## Keep every statement of this release, which all later schemas have to bear
	$(BIN)/python -m tests.migration.record

.PHONY: format
format: setup ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: schemas
schemas: setup ## Write anew what is made from the code: JSON Schemas, OpenAPI document, tables of the documentation, dashboard
	$(BIN)/python -m pixelflow.contracts.schemas docs/schemas
	$(BIN)/python -m pixelflow.controlplane.api.export_openapi docs/openapi.json
	$(BIN)/python -m tests.support.doc_tables
	$(BIN)/python -m deploy.grafana.dashboard

.PHONY: dashboard
dashboard: setup tools ## Run a PixelFlow under load for three minutes and draw the dashboard of it into docs/dashboard.png
	$(BIN)/python -m tests.support.dashboard_run docs/dashboard.png

.PHONY: lock
LOCK = $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-strip-extras \
	--no-emit-index-url --no-emit-find-links --no-emit-package pixelflow --no-header --no-annotate --quiet
lock: setup ## Lock the dependencies anew: first for development, then, of the same versions, for the images
	$(LOCK) --upgrade --all-extras --group dev --output-file requirements/dev.txt
	$(LOCK) --constraint requirements/dev.txt --extra api --output-file requirements/api.txt
	$(LOCK) --constraint requirements/dev.txt --extra worker --output-file requirements/worker.txt
	$(LOCK:pyproject.toml=) --constraint requirements/dev.txt --group build --output-file requirements/build.txt

.PHONY: clean
clean: ## Remove what was built
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis htmlcov .coverage*
