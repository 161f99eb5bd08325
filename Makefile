# The only front door. Everything it needs goes into .venv, from the hashes in requirements/.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test test-unit check k8s k8s-api proto bench bench-scheduler bench-mail bench-figures bench-shield shield-model simulate faults up lock clean
MAKEFLAGS += --no-print-directory

# The system's Python first: distributions build theirs with profile-guided optimization, version
# managers mostly do not, and it makes everything here faster by a sixth.
PYTHON ?= $(shell for p in /usr/bin/python3 python3 python3.11 python3.12 python3.13 python3.14; do \
  $$p -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PIP := .venv/bin/python -m pip --disable-pip-version-check --quiet
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONDONTWRITEBYTECODE :=

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: .venv/base ## The whole engine here, data in ./data; sends a first message (ARGS: obm run --help)
	@exec obm run $(ARGS)

up: .venv/base ## Kafka and PostgreSQL alone, in the foreground, for development
	@exec obm up $(ARGS)

# Five workers for two processors: two run the fault scenarios first, and many others wait too.
test: .venv/dev ## All tests, on real Kafka and PostgreSQL (ARGS: for pytest; -n0 for one process)
	@exec python -m pytest -n5 --durations=25 $(ARGS)

test-unit: .venv/dev ## The unit tests, which need no servers (ARGS: for pytest)
	@exec python -m pytest -n3 -p no:schemathesis $(ARGS) tests/unit

check: .venv/dev ## Format, lint, types, architecture, sizes, contracts, manifests
	ruff format --check .
	ruff check .
	mypy
	lint-imports --no-cache
	python -m pytest -q tests/unit/test_house.py
	buf lint
	@tag=$$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null) || exit 0; \
	  buf breaking --against ".git#tag=$$tag"  # what a release promised, integrators rely on
	@$(MAKE) generated OUT=build
	@diff -rq -x '__init__.py' -x __pycache__ build/contracts contracts \
	  && diff -q build/docs/topics.md docs/topics.md \
	  || { echo "contracts/ or docs/topics.md is not what proto/ says: run make proto"; exit 1; }
	@$(MAKE) k8s

k8s: .venv/dev ## Render the manifests of deploy/k8s, and check them (needs Go, for kustomize)
	@python -m tests.support.k8s.tools
	@exec python -m pytest -q -p no:schemathesis $(ARGS) tests/k8s

k8s-api: k8s ## Let a real Kubernetes control plane run the manifests (builds it: ten minutes once)
	@exec python -m tests.support.k8s.cluster

proto: .venv/dev ## Generate contracts/ and docs/topics.md from proto/
	@$(MAKE) generated OUT=.

.PHONY: generated
generated: # into OUT
	@rm -rf build && mkdir -p build $(OUT)/docs
	@cd proto && python -m grpc_tools.protoc -I. --python_out=../$(OUT) --mypy_out=quiet:../$(OUT) \
	  --include_source_info --descriptor_set_out=../build/descriptors.binpb \
	  $$(find contracts -name '*.proto' | sort)
	@cd proto && python -m grpc_tools.protoc -I. --grpc_python_out=../$(OUT) \
	  --mypy_grpc_out=quiet:../$(OUT) $$(find contracts -name '*_service.proto' | sort)
	@python -m cli.topics build/descriptors.binpb > $(OUT)/docs/topics.md

bench: .venv/dev ## Load through the whole engine, beside its peers (ARGS="--quick", --peer …, --against REV, --door smtp, --tracking, --json FILE)
	@exec python -m bench $(ARGS)

bench-scheduler: .venv/dev ## Ticks with many tenants, sources and waiting messages (ARGS="--scenario claims", --waiting N, --json FILE)
	@exec python -m bench.scheduler $(ARGS)

bench-mail: .venv/dev ## What composing and signing cost (ARGS as for bench)
	@exec python -m bench.mail $(ARGS)

bench-figures: .venv/dev ## What counting costs events, and how fast figures are read (ARGS="--messages N --json FILE")
	@exec python -m bench.figures $(ARGS)

bench-shield: .venv/dev ## How well shield tells abuse from good mail (ARGS="--corpus FILE.jsonl.zst … --json FILE")
	@exec python -m bench.shield $(ARGS)

shield-model: .venv/dev ## Train shield's model from labelled mail (ARGS=FOLDER; default ../shared/data/mail)
	@exec python -m bench.shield_model $(ARGS)

simulate: .venv/dev ## Warm up new sources at simulated receivers, beside other senders (ARGS="--seeds 200", --json FILE, --picture FILE)
	@exec python -m bench.simulation $(ARGS)

faults: .venv/dev ## Kill, pause, wipe and poison, with an oracle that counts
	@exec python -m tests.faults $(ARGS)

COMPILE = uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
IN = requirements/services.in requirements/embedded.in

lock: .venv/dev ## Pin anew: Python packages, Kafka's jars, the npm client of the tests
	$(COMPILE) -o requirements/base.txt $(IN)
	$(COMPILE) -c requirements/base.txt -o requirements/services.txt requirements/services.in
	$(COMPILE) -c requirements/base.txt -o requirements/dev.txt $(IN) requirements/dev.in
	python -c 'from kernel.embedded.jars import write_lock; write_lock()'
	python -m tests.support.npm lock

clean: ## Remove what make made, but not ./data
	rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
	find tests -name node_modules -prune -exec rm -rf {} +

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or say PYTHON=…"; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; \
	  echo "$(PYTHON) cannot make a virtual environment: install its venv module."; exit 1; }

.venv/base: requirements/base.txt pyproject.toml kernel/embedded/kafka.lock.toml | .venv/bin/python
	@echo "Installing into .venv, which takes some minutes and, with Kafka, downloads about 470 MB …"
	@$(PIP:--quiet=) install --require-hashes --only-binary :all: -r requirements/base.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@test -n "$$OBM_KAFKA_BOOTSTRAP_SERVERS" || { echo "Downloading Kafka and starting it once …"; python -m kernel.embedded; }
	@touch $@

.venv/dev: requirements/dev.txt .venv/base
	@echo "Installing what checks and tests need …"
	@$(PIP) install --require-hashes --no-build-isolation -r requirements/dev.txt
	@touch $@
