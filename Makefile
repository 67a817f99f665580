# Commands run in the folder's own environment, made from the lock files on first use.
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
LOCK := uv pip compile --quiet --universal --no-strip-extras --python-version 3.11 --generate-hashes --custom-compile-command 'make lock'

# what is installed carries the hash of its lock file in its name: a checkout back and forth installs nothing
RUN := .venv/run-$(shell git hash-object requirements.lock)
DEV := .venv/dev-$(shell git hash-object requirements-dev.lock)
CLUSTER := .venv/cluster-$(shell git hash-object requirements-cluster.lock)
REMOTES := .venv/remotes-$(shell git hash-object requirements-remotes.lock)
BENCH := .venv/bench-$(shell git hash-object requirements-bench.lock)

.PHONY: help environment repro recover report compare check test test-remotes test-cluster faults coverage verify bench seeds documents deps lock remotes cluster

help: ## this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

environment: $(RUN) ## makes .venv with all that the pipeline runs on

remotes: $(REMOTES) ## adds what SSH and S3 remotes need

cluster: $(CLUSTER) ## adds what a Dask cluster needs

repro: $(RUN) ## runs what changed
	dvc repro

recover: $(RUN) ## after a kill or a merge: restores DVC's own files, and runs what is missing
	git checkout --quiet HEAD -- dvc.lock
	rm -f .dvc/tmp/rwlock .dvc/tmp/exps/rwlock
	git clean --force --quiet -x -- ':(glob)**/.??????????????????????.tmp' # where DVC was killed while it linked a file
	dvc repro

report: $(RUN) ## writes report.html
	dvc repro report
	@echo report.html

A ?= main
B ?= HEAD
compare: $(RUN) ## compares the metrics of commits A and B, and tests each difference
	@python -m tools.compare_commits $(A) $(B)

check: $(DEV) ## style, types and the fast tests, in less than a minute
	ruff check .
	ruff format --check .
	mypy
	pytest -m "not slow" --numprocesses logical --maxprocesses 4 # fast tests wait for nothing, see tests/conftest.py

test: $(DEV) ## style, types and all tests but those of remotes and clusters
	ruff check .
	ruff format --check .
	mypy
	pytest

test-remotes: $(REMOTES) ## shares the cache through a folder, an SSH server and an S3 server, each of them real
	pytest tests/remotes

test-cluster: $(CLUSTER) ## trains on a Dask cluster of this machine's own processes
	pytest tests/cluster

faults: $(CLUSTER) ## runs the long fault injection tests, for hours, and writes docs/reliability.md
	FAULTS=long pytest -n 0 --timeout 20000 tests/faults tests/test_damaged.py tests/cluster
	python -m tools.documents

coverage: $(DEV) ## all tests, and the lines that did not run in their own processes; stages run in others
	pytest --cov=mlp --cov=pipeline --cov=stages --cov=tools --cov-report=term-missing:skip-covered

verify: $(RUN) ## rebuilds the last commit in many ways and compares every byte; PYTHONS="ssh arm python3, /opt/python" adds more
	dvc repro
	python -m tools.verify

bench: $(BENCH) $(CLUSTER) ## compares training time with other libraries, and measures the overhead of a job on the pool and on Dask
	python -m benchmarks.training
	python -m benchmarks.jobs

seeds: $(DEV) ## estimates the smallest detectable difference by number of seeds and of sizes
	python -m benchmarks.seeds
	python -m benchmarks.sizes

documents: $(DEV) ## renders README.md and the pages in docs/ that show results
	python -m tools.documents

deps: $(DEV) ## writes into dvc.yaml which modules each stage imports
	python -m tools.dependencies

lock: $(DEV) ## writes the lock files from the pins in requirements*.txt
	$(LOCK) requirements.txt --output-file requirements.lock
	$(LOCK) requirements-dev.txt --constraint requirements.lock --output-file requirements-dev.lock
	$(LOCK) requirements-cluster.txt --constraint requirements-dev.lock --output-file requirements-cluster.lock
	$(LOCK) requirements-remotes.txt --constraint requirements-dev.lock --output-file requirements-remotes.lock
	$(LOCK) requirements-bench.txt --constraint requirements-dev.lock --output-file requirements-bench.lock

$(RUN):
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit(f"$(PYTHON) is Python {v.major}.{v.minor}; needed: 3.11 or newer, as in: make repro PYTHON=python3.12")'
	$(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install --require-hashes -r requirements.lock
	touch $@

$(DEV): $(RUN)
	.venv/bin/python -m pip install --require-hashes -r requirements-dev.lock
	touch $@

$(CLUSTER): $(DEV)
	.venv/bin/python -m pip install --require-hashes -r requirements-cluster.lock
	touch $@

$(REMOTES): $(DEV)
	.venv/bin/python -m pip install --require-hashes -r requirements-remotes.lock
	touch $@

$(BENCH): $(DEV)
	.venv/bin/python -m pip install --require-hashes -r requirements-bench.lock
	touch $@
