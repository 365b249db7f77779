# Everything bootstraps from python3 (3.11 or later, with venv) and make.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
# Another place for the virtual environment, and the version of pip that fills it (default: Python's own).
VENV ?= .venv
PIP ?=
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Nothing is resolved at installation: the lock is complete (tests/unit/test_locks.py proves it).
INSTALL = $(BIN)/python -m pip --disable-pip-version-check install -q --no-deps
PROTOS := $(wildcard proto/gameai/*/v1/*.proto)
# Packages of the wire, below workloads/ too.
WIRE := $(patsubst proto/%/,%,$(sort $(dir $(PROTOS))))
# KEDA's protocol, which the scaler serves.
KEDA_PROTO = proto/gameai_operator/keda/externalscaler.proto
# google/rpc comes with googleapis-common-protos.
PROTOC = PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -Iproto -I$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
SCHEMA = docs/archetypes.schema.json
WRITE_SCHEMA = $(BIN)/python -c 'import json; from gameai_contract import archetypes; print(json.dumps(archetypes.json_schema(), indent=2))'
# A kubeconfig in the environment is never used; another cluster is named by CLUSTER=path/to/kubeconfig.
unexport KUBECONFIG
CLUSTER ?=

help: ## this list
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | awk -F '\t' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(READY) ## the virtual environment with everything pinned (one to three minutes the first time)

$(READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or later is needed; name one with make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "error: this Python has no venv; on Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "setting up $(VENV): one to three minutes, most of it downloads"
	@$(PYTHON) -m venv $(VENV)
	@$(if $(PIP),$(INSTALL) pip==$(PIP))
	@$(INSTALL) --require-hashes -r requirements/dev.txt
	@$(INSTALL) --no-build-isolation -e .
	@$(BIN)/python -m pip --disable-pip-version-check check
	@touch $@

demo: $(READY) ## a control plane, the operator, and Ready tiers; CLUSTER=kubeconfig for another cluster
	@$(BIN)/python -m gameai_devcluster.demo $(if $(CLUSTER),--cluster $(CLUSTER))

down: ## stop what `make demo` left running
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m gameai_devcluster down; else echo "nothing was set up"; fi

test: unit integration ## unit and integration tests, with a seeded sample of the fault sweeps

unit: $(READY) ## unit tests: no sockets
	$(BIN)/pytest -q tests/unit -n 2

# A test that stands still where no signal reaches it ends its worker, with the stacks of all threads.
integration: $(READY) ## tests on local control planes, one for each of two workers
	@$(BIN)/python -m gameai_devcluster build
	$(BIN)/pytest -q tests/integration -n 2 --dist loadfile --no-loadscope-reorder -o faulthandler_timeout=1500 -o faulthandler_exit_on_timeout=true

test-integrations: $(READY) ## tests with KEDA and Karpenter themselves (built once: 8 to 25 minutes)
	@$(BIN)/python -m gameai_devcluster build --integrations
	$(BIN)/pytest -q tests/integration --integrations -m integrations -n 2 --dist loadfile

soak: $(READY) ## every case of the fault sweeps
	@$(BIN)/python -m gameai_devcluster build
	$(BIN)/pytest -q tests/integration --soak -m soak --timeout 7200

e2e: $(READY) ## real pods on a real node (root on Linux); CLUSTER=kubeconfig REGISTRY=… TAG=… elsewhere
	@$(BIN)/python -m gameai_devcluster.e2e $(if $(BASE),--base $(BASE)) $(if $(CLUSTER),--cluster $(CLUSTER) --registry "$(REGISTRY)" --tag "$(TAG)" --duel "$(DUEL)")

e2e-vllm: $(READY) ## a real vLLM on CPUs in our own pod (6 GB more, 15 minutes)
	@$(BIN)/python -m gameai_devcluster.e2e --vllm

e2e-packages: $(READY) ## Debian packages that a real node takes (apt-get, as root)
	@missing="$$($(BIN)/python -m gameai_devcluster missing-packages)" || exit 1; \
	  if [ -z "$$missing" ]; then echo "nothing is missing"; else \
	  echo "installing $$missing" && apt-get update -q && apt-get install -y -q --no-install-recommends $$missing; fi

images: $(READY) ## the images; BASE=image (default: an official slim Python; local: from Debian packages) TAG=… REGISTRY=…
	@$(BIN)/python -m gameai_devcluster images $(if $(BASE),--base $(BASE)) $(if $(TAG),--tag $(TAG)) $(if $(REGISTRY),--prefix $(REGISTRY)/) $(if $(DOUBLE),--double)

bench: $(READY) ## measure against the bars; prints tables, writes benchmarks/results/*.json
	@$(BIN)/python -m gameai_devcluster build
	@$(BIN)/python -m benchmarks

mutants: $(READY) ## mutation tests of plan, conditions and split
	@$(BIN)/python benchmarks/mutants.py

check: $(READY) format-check lint types imports generated coverage ## every gate that needs no cluster

format: $(READY) ## format the code
	@$(BIN)/ruff check -q --fix . ; $(BIN)/ruff format .

format-check: $(READY) ## is the code formatted?
	@$(BIN)/ruff format --check .

lint: $(READY) ## ruff
	@$(BIN)/ruff check .

types: $(READY) ## mypy, strict
	@$(BIN)/mypy

imports: $(READY) ## check the import contracts
	@$(BIN)/lint-imports

generated: $(READY) ## are generated files current?
	@rm -rf .dev/generated && mkdir -p .dev/generated
	@$(BIN)/python -m gameai_operator crds --output .dev/generated/crds
	@diff -r charts/gameai-crds/files .dev/generated/crds || { echo "error: charts/gameai-crds/files is stale: run make crds"; exit 1; }
	@$(WRITE_SCHEMA) | diff $(SCHEMA) - || { echo "error: $(SCHEMA) is stale: run make crds"; exit 1; }
	@$(PROTOC) $(foreach out,python grpc_python mypy mypy_grpc,--$(out)_out=.dev/generated) $(PROTOS) $(KEDA_PROTO) 2>/dev/null
	@for file in .dev/generated/gameai_operator/keda/*; do \
	  diff $$file operator/gameai_operator/keda/ || { echo "error: operator/gameai_operator/keda is stale: run make proto"; exit 1; }; done
	@for wire in $(WIRE); do \
	  diff -r -x __pycache__ workloads/$$wire .dev/generated/$$wire || \
	    { echo "error: workloads/$$wire is stale: run make proto"; exit 1; }; done
	@$(PROTOC) --include_imports --include_source_info -o .dev/generated/wire.binpb $(PROTOS)
	@$(BIN)/buf lint --config proto/buf.yaml .dev/generated/wire.binpb
	@$(BIN)/python -m gameai_devcluster.reference --output .dev/generated/reference
	@diff -r docs/reference .dev/generated/reference || { echo "error: docs/reference is stale: run make docs"; exit 1; }
	@$(BIN)/pytest -q tests/unit/test_golden.py

coverage: $(READY) ## has every branch of the PURE modules its test?
	@$(BIN)/pytest -q tests/unit -n 2 --cov --cov-report=term

crds: $(READY) ## write the CRDs (crds/ is a link) and the archetypes' JSON Schema from the types
	@$(BIN)/python -m gameai_operator crds --output charts/gameai-crds/files
	@$(WRITE_SCHEMA) > $(SCHEMA)

docs: $(READY) ## write docs/reference from the code
	@$(BIN)/python -m gameai_devcluster.reference

site: $(READY) ## build the documentation into dist/site, with every link checked
	@test -x .dev/site/bin/mkdocs || { echo "setting up the site's tools, once" && $(PYTHON) -m venv .dev/site && \
	  .dev/site/bin/python -m pip --disable-pip-version-check install -q --no-deps --require-hashes -r requirements/docs.txt; }
	@NO_MKDOCS_2_WARNING=1 .dev/site/bin/mkdocs build -q --strict && echo "dist/site/index.html"

proto: $(READY) ## write workloads/gameai/<service>/v1 and operator/gameai_operator/keda from proto/
	@$(PROTOC) $(foreach out,python grpc_python mypy mypy_grpc,--$(out)_out=workloads) $(PROTOS)
	@$(PROTOC) $(foreach out,python grpc_python mypy mypy_grpc,--$(out)_out=operator) $(KEDA_PROTO)

golden: $(READY) ## rewrite the golden files; read the diff before you commit it
	@$(BIN)/pytest -q tests/unit/test_golden.py --write-golden

lock: $(READY) ## resolve requirements/*.txt again, complete, with hashes, for all platforms
	@for extra in operator workloads knowledge postgres docs dev; do \
	  $(BIN)/uv pip compile -q --universal --no-strip-extras --python-version 3.11 --generate-hashes --no-header \
	    --extra $$extra --no-emit-package gameai-operator pyproject.toml -o requirements/$$extra.txt; done

clean: down ## remove the virtual environment and local state
	@rm -rf .venv .dev .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

.PHONY: help setup demo down test unit integration test-integrations soak e2e e2e-vllm e2e-packages images bench mutants check format format-check lint types imports generated coverage crds docs site proto golden lock clean
