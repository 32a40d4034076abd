# vrfwire: `make demo` and `make test` do all set-up themselves.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check bench setup oracles lint types unit lock deb rpm clean

setup:
	@tools/setup $(PYTHON)

# Other implementations of BGP and XMPP, which the tests compare ours with.
oracles:
	@tools/setup-oracles $(PYTHON)

# The main job in a lab on this machine; the last line is one JSON document.
demo: setup
	@$(BIN)/python -m lab demo

# Everything this machine can run. The kernel and system tests run in the lab (natively or in user-mode Linux).
test: setup oracles
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

# make bench [BENCH=datapath|agent|bgp|ifmap|gateway|scale] (QUICK=1: less of it, where there is less)
bench: setup
	@$(BIN)/python -m benchmarks $(BENCH)

# Packages for rpm, in build/rpm. make rpm [VERSION=0.1.0+test1]
rpm: setup
	@$(BIN)/python packaging/build_rpm.py $(if $(VERSION),--version $(VERSION))

# Packages, into build/deb: make deb [VERSION=0.1.0+test1]
deb: setup
	@$(BIN)/python packaging/deb.py $(if $(VERSION),--version $(VERSION))

# Renew the pinned list after a change of requirements*.in (needs pip-tools).
LOCK := pip-compile -q --upgrade --generate-hashes --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links
# Of what os-ken asks for, packages that its BGP codec does without.
LEAVE_OUT := bcrypt certifi cffi charset-normalizer cryptography dnspython eventlet greenlet idna invoke lxml msgpack \
	ncclient ovs paramiko pycparser pynacl repoze-lru requests routes setuptools six sortedcontainers urllib3 webob
lock:
	$(LOCK) --allow-unsafe -o requirements.lock requirements-dev.in
	$(LOCK) -c requirements.lock -o requirements-runtime.lock requirements.in
	$(LOCK) $(LEAVE_OUT:%=--unsafe-package %) -o requirements-oracles.lock requirements-oracles.in
	$(LOCK) --allow-unsafe -o requirements-xmpp.lock requirements-xmpp.in

clean:
	rm -rf .venv .venv-oracles .venv-xmpp build *.egg-info .mypy_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
