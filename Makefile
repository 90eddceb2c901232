# Every target installs what it needs; `make help` explains each in a line.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PRIMAGE := $(BIN)/primage
KUBECONFIG_OPTION := $(if $(filter command line,$(origin KUBECONFIG)),PRIMAGE_KUBECONFIG=$(abspath $(KUBECONFIG)),)

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: site
site: $(VENV)/runtime ## Start the local site, run the histology study on it, print its report (KUBECONFIG=… uses a cluster you have)
ifneq ($(KUBECONFIG_OPTION),)
	$(KUBECONFIG_OPTION) $(PRIMAGE) up local
	$(KUBECONFIG_OPTION) $(PRIMAGE) study
else
	$(PRIMAGE) site local up
	$(PRIMAGE) study
endif

.PHONY: down
down: $(VENV)/runtime ## Remove the local site: machines, networks, firewall rules, mounts, files (caches stay)
	$(PRIMAGE) site local down

.PHONY: test
test: $(VENV)/dev ## Run every test; starts the local site if it is not up, and removes it at the end
	@[ "$$(id -u)" = 0 ] && [ "$$(uname -s)" = Linux ] || { echo "Error: \`make test\` needs Linux and root, for the local site. Next: use sudo, or run \`make test-unit\`, which needs neither." >&2; exit 6; }
	@# Four at a time what can be; then what must find the site undisturbed; then what has it alone, and beside that, two at a time,
	@# what works without it; at last the end of the site. A failure in one does not hide those in the next.
	@# (A shell has what it runs beside others ignore Ctrl-C.)
	failed=; beside=; export PRIMAGE_TEST_RUN=$$(date +%s%N); said=$$(mktemp); trap 'exit 130' INT TERM; \
	trap '[ -z "$$beside" ] || kill $$beside 2> /dev/null || true; cat "$$said"; rm "$$said"' EXIT; \
	$(BIN)/pytest -n 4 --dist loadscope -m "not (quiet or alone or apart)" tests/integration || failed=1; \
	$(BIN)/pytest -n 3 --dist loadscope -m quiet tests/integration tests/e2e/test_study_run.py || failed=1; \
	env --default-signal=INT $(BIN)/pytest -n 2 --dist loadscope -m "apart or not site" tests > "$$said" 2>&1 & \
	beside=$$!; \
	$(BIN)/pytest -m alone tests/integration tests/e2e/test_site.py || failed=1; \
	wait $$beside || failed=1; beside=; \
	$(BIN)/pytest tests/e2e/test_down.py || failed=1; \
	[ -z "$$failed" ]

.PHONY: test-unit
test-unit: $(VENV)/dev ## Run the tests that need no root and no site (three minutes on two processors)
	$(BIN)/pytest -n 2 tests/unit tests/templates tests/policy

.PHONY: test-pulumi
test-pulumi: $(VENV)/dev ## Run every program through Pulumi's own engine and compare; needs root, and the local site, as `make test`
	$(BIN)/pytest -m pulumi tests/integration

.PHONY: lint
lint: $(VENV)/dev ## Check style, types, layers, YAML, roles, shell scripts
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --check .
	$(BIN)/mypy primage infra
	for app in apps/*/; do (cd "$$app" && MYPYPATH=../.. ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache/"$$app" __main__.py config.py); done
	for service in services/*/; do (cd "$$service" && MYPYPATH=../.. ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache/"$$service" "$$(basename "$$service")"); done
	PYTHONPATH=services/htc_queue:services/hpc_connector:services/authorizer:services/portal:services/datasets $(BIN)/lint-imports
	$(BIN)/yamllint --strict .
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/ansible-lint --offline
	$(BIN)/shellcheck --shell=bash .ci/run services/*/bin/* services/*/*/remote/*.sh images/*/*.sh roles/*/files/*.sh

.PHONY: format
format: $(VENV)/dev ## Rewrite Python files in the house format
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

.PHONY: validate
validate: $(VENV)/runtime ## Check every site's and app's settings, offline
	$(PRIMAGE) validate

.PHONY: bench
bench: $(VENV)/bench ## Measure on the standing local site and write bench/results.json
	PYTHONPATH=services/htc_queue:services/hpc_connector $(BIN)/python bench/run.py

.PHONY: docs
docs: $(VENV)/runtime ## Generate docs/reference from the code
	$(BIN)/python docs/generate.py

.PHONY: study-docs
study-docs: $(VENV)/runtime ## Run the study and write its figures into README and the tutorial
	$(BIN)/python docs/study_run.py

.PHONY: lock
lock: $(VENV)/dev ## Update the locked requirements
	$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate --no-emit-index-url --no-emit-find-links --output-file requirements.txt pyproject.toml
	$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate --no-emit-index-url --no-emit-find-links --extra dev --constraint requirements.txt --output-file requirements-dev.txt pyproject.toml
	$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate --no-emit-index-url --no-emit-find-links --extra bench --constraint requirements-dev.txt --output-file requirements-bench.txt pyproject.toml
	$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate --no-emit-index-url --no-emit-find-links --output-file apps/study-histology/requirements.txt apps/study-histology/package/pyproject.toml
	$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate --no-emit-index-url --no-emit-find-links --output-file services/htc_queue/requirements.txt services/htc_queue/pyproject.toml
	$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate --no-emit-index-url --no-emit-find-links --output-file services/hpc_connector/requirements.txt services/hpc_connector/pyproject.toml
	$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate --no-emit-index-url --no-emit-find-links --output-file services/authorizer/requirements.txt services/authorizer/pyproject.toml
	$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate --no-emit-index-url --no-emit-find-links --output-file services/portal/requirements.txt services/portal/pyproject.toml
	$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate --no-emit-index-url --no-emit-find-links --output-file services/datasets/requirements.txt services/datasets/pyproject.toml
	$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate --no-emit-index-url --no-emit-find-links --output-file images/envoy/requirements.txt images/envoy/requirements.in
	$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate --no-emit-index-url --no-emit-find-links --output-file images/nx-27017/requirements.txt images/nx-27017/requirements.in

.PHONY: clean-cache
clean-cache: ## Remove caches: built tools, image layers, libraries, the virtual environment
	[ ! -x "$$(command -v buildah)" ] || [ ! -f /var/cache/primage/containers/storage.conf ] || CONTAINERS_STORAGE_CONF=/var/cache/primage/containers/storage.conf buildah rmi --all --force > /dev/null 2>&1 || true
	rm -rf "$${PRIMAGE_CACHE:-/var/cache/primage}" $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

# A machine without ensurepip gets Debian's python3-venv where that can be installed.
$(VENV)/bin/python:
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends python3-venv > /dev/null; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/runtime: requirements.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing Python requirements into $(VENV)"
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/bench: requirements-bench.txt $(VENV)/dev
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.txt
	touch $@

$(VENV)/dev: requirements-dev.txt $(VENV)/runtime
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	touch $@
