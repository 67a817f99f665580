# Commands run in the folder's own environment, made from requirements.lock on first use.
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command 'make lock'

.PHONY: repro test test-remotes report compare verify bench seeds readme lock

repro: .venv/installed
	dvc repro

report: .venv/installed
	dvc repro report
	@echo report.html

A ?= main
B ?= HEAD
compare: .venv/installed
	@python -m stages.compare $(A) $(B)

test: .venv/installed
	ruff check .
	ruff format --check .
	mypy
	pytest

test-remotes: .venv/installed-remotes
	pytest tests/remotes

verify: .venv/installed # and with further Pythons, as in: make verify PYTHONS="ssh arm-machine python3, /opt/other/python"
	dvc repro
	python -m verify

bench: .venv/installed-bench
	python -m benchmarks.training

seeds: .venv/installed
	python -m benchmarks.seeds

readme: .venv/installed
	python -m docs.readme

lock: .venv/installed
	$(LOCK) requirements.txt --output-file requirements.lock
	$(LOCK) requirements-remotes.txt --constraint requirements.lock --output-file requirements-remotes.lock
	$(LOCK) requirements-bench.txt --constraint requirements.lock --output-file requirements-bench.lock

.venv/installed: requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit(f"$(PYTHON) is Python {v.major}.{v.minor}; needed: 3.11 or newer, as in: make repro PYTHON=python3.12")'
	$(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install --require-hashes -r requirements.lock
	touch $@

.venv/installed-remotes: .venv/installed requirements-remotes.lock
	.venv/bin/python -m pip install --require-hashes -r requirements-remotes.lock
	touch $@

.venv/installed-bench: .venv/installed requirements-bench.lock
	.venv/bin/python -m pip install --require-hashes -r requirements-bench.lock
	touch $@
