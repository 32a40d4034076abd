# vrfwire: `make demo` and `make test` do all set-up themselves.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check bench setup lint types unit lock clean

setup:
	@tools/setup $(PYTHON)

# The main job in a lab on this machine; the last line is one JSON document.
demo: setup
	@$(BIN)/python -m lab demo

# Everything this machine can run. The kernel and system tests run in the lab (natively or in user-mode Linux).
test: setup
	@$(BIN)/python -m lab test

# Quick: lint, types, pure tests.
check: setup lint types unit

lint:
	@$(BIN)/ruff check -q .
	@$(BIN)/ruff format -q --check .

types:
	@$(BIN)/mypy --no-error-summary

unit:
	@$(BIN)/pytest -q tests/unit

# make bench [BENCH=datapath|agent|bgp_codec]
bench: setup
	@$(BIN)/python -m benchmarks $(BENCH)

# Renew the pinned list after a change of requirements*.in (needs pip-tools).
lock:
	pip-compile -q --upgrade --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links -o requirements.lock requirements-dev.in

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
