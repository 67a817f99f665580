# Commands run in the folder's own environment, made from requirements.txt on first use.
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: repro test bench readme

repro: .venv/installed
	dvc repro

test: .venv/installed
	ruff check .
	ruff format --check .
	mypy
	pytest

bench: .venv/installed
	python -m benchmarks.epoch

readme: .venv/installed
	python -m docs.readme

.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit(f"$(PYTHON) is Python {v.major}.{v.minor}; needed: 3.11 or newer, as in: make repro PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install -r requirements.txt
	touch $@
