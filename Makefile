.PHONY: help setup demo lint test docs bench bench-gpu bench-gpu-bundle lock

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile

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
	@.venv/bin/python -m pytest -n $$(nproc) --maxprocesses 8 --dist worksteal

docs: setup ## build the documentation as a site in build/site; nothing is loaded from any other host
	@NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --strict
	@echo "build/site; to look at it: .venv/bin/python -m http.server -d build/site"

bench: setup ## measure loader, training step and heads against their rivals on this machine, in 10 minutes
	@.venv/bin/timecat write fashion-mnist data/fashion-mnist
	@.venv/bin/python -m benchmarks.loader
	@.venv/bin/python -m benchmarks.step
	@.venv/bin/python -m benchmarks.probe

bench-gpu: setup ## measure and check everything on a CUDA card, in 8 minutes
	@.venv/bin/python -m benchmarks.gpu

bench-gpu-bundle: setup ## pack bench-gpu for a machine without network; HAS='scipy pytest' leaves out what it has
	@bash benchmarks/gpu/bundle.sh $(HAS)

lock: ## pin pyproject.toml's dependencies in requirements.txt; UPGRADE=1 takes newer versions
	@PYTHON='$(PYTHON)' bash .ci/setup.sh lock $(if $(UPGRADE),--upgrade)
