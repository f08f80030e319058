# Every target sets itself up on a fresh clone: only git, make and Python 3.11 to 3.14 are needed.
SHELL := /bin/bash
.DEFAULT_GOAL := help

CONFIG ?= config/dev.yaml
# Extra arguments for pytest, cdk or the demo: make test ARGS="-k gate".
ARGS ?=

BIN := .venv/bin
PY := $(BIN)/python
# Asked again by every command that needs it, because a fresh clone has no answer yet.
NODE = $(abspath $(shell $(PY) -c 'from stacks.node import node_binary; print(node_binary())'))
CDK = PATH="$(dir $(NODE)):$(abspath $(BIN)):$$PATH" JSII_NODE="$(NODE)" $(NODE) node_modules/aws-cdk/bin/cdk

# The command line asks the network for news and for newer versions unless told not to.
export CDK_DISABLE_CLI_TELEMETRY := true
export CDK_DISABLE_VERSION_CHECK := 1
# What make starts finds this tree's packages first, whatever else is installed.
export PYTHONPATH := $(CURDIR)
# Bytecode is written on first import (tools/setup.py): a shell that forbids it would have every
# process that the tests start compile a thousand modules again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test fuzz local synth deploy destroy lint bench lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## install everything pinned in requirements/ and package-lock.json (once)
	@for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
	  if "$$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; \
	  then exec "$$python" tools/setup.py; fi; \
	done; \
	echo 'setup: no Python 3.11 to 3.14 with its venv module on PATH; install one, or run make PYTHON=/path/to/python3.' >&2; \
	exit 1

# It deploys twice, and synthesizes by itself.
demo: CONFIG := config/demo.yaml
demo: setup ## three regions on this machine: real embeddings, then a burst and what goes wrong in it
	@$(BIN)/spillway demo --config $(CONFIG) $(ARGS)

test: setup ## every test
	@$(PY) -m pytest $(ARGS)

fuzz: setup ## the API against its OpenAPI document, with made-up requests; ARGS="--minutes 60"
	@$(PY) -m tests.over_http.fuzz $(ARGS)

local: synth ## the twin as a local service, until interrupted
	@$(BIN)/spillway local --config $(CONFIG) $(ARGS)

# What needs an assembly first keeps its ARGS to itself.
SYNTH_ARGS = $(ARGS)
local bench: SYNTH_ARGS :=

# Without credentials: nothing at synth looks at AWS, so nothing may wait for an answer from it.
synth: setup ## write the cloud assembly of CONFIG to cdk.out
	@AWS_EC2_METADATA_DISABLED=true $(CDK) synth --quiet --output cdk.out -c config=$(CONFIG) $(SYNTH_ARGS)

deploy: setup ## cdk deploy --all of CONFIG, with the AWS credentials of your shell
	@$(CDK) deploy --all -c config=$(CONFIG) $(ARGS)

destroy: setup ## delete CONFIG's stacks and, unless it retains them, its data; ARGS=--force does not ask
	@$(PY) tools/destroy.py --config $(CONFIG) $(filter --force,$(ARGS))
	@$(CDK) destroy --all --force -c config=$(CONFIG) $(filter-out --force,$(ARGS))

lint: setup ## format, rules, types, import arrows
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy
	@$(PY) -m pytest -q -n 0 tests/test_architecture.py

bench: synth ## every benchmark
	@$(PY) -m benchmarks $(ARGS)

lock: setup ## resolve requirements/*.in and package.json anew; ARGS="--upgrade" for newer versions
	@$(PY) tools/lock.py $(ARGS)

clean: ## remove everything make made
	rm -rf .venv node_modules build cdk.out *.egg-info .mypy_cache .ruff_cache .pytest_cache
