.PHONY: help setup demo lint test lock

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile

setup: ## make .venv with everything timecat needs; PYTHON=python3.12 picks the Python
	@PYTHON='$(PYTHON)' bash .ci/setup.sh

demo: setup ## run the whole method on Fashion-MNIST, on this machine
	@.venv/bin/timecat run --config configs/demo.yaml

lint: setup ## look for faults without running anything: ruff, and pyright's basic rules; silent where there are none
	@.venv/bin/ruff check --quiet .
	@.venv/bin/ruff format --quiet --check . || { echo "lint: run .venv/bin/ruff format"; exit 1; }
	@out=$$(.venv/bin/basedpyright 2>&1) || { echo "$$out"; exit 1; }

test: lint ## run the tests
	@bash .ci/setup.sh slurm
	@.venv/bin/python -m pytest

lock: ## pin pyproject.toml's dependencies in requirements.txt; UPGRADE=1 takes newer versions
	@PYTHON='$(PYTHON)' bash .ci/setup.sh lock $(if $(UPGRADE),--upgrade)
