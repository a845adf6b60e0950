# The commands of CONTRIBUTING.md. Everything is set up on first use: Python 3.11 is all that must be there.
PYTHON ?= python3
PORT ?= 8000
HOME_DIR ?= .demo
MLFLOW ?= 0
VENV = .venv
RUN = $(VENV)/bin/python

.PHONY: demo demo-reset demo-check test lint bench assets lock env dev-env

demo: ## Set up everything and run the demo plant; Ctrl-C stops all
	@$(PYTHON) scripts/bootstrap.py demo
	@exec $(RUN) -m portal.demo up --port $(PORT) --home "$(HOME_DIR)" --mlflow-server $(MLFLOW)

demo-reset: ## Throw the demo's data away; the next start begins again
	@$(PYTHON) scripts/bootstrap.py demo
	@$(RUN) -m portal.demo reset --home "$(HOME_DIR)"

demo-check: ## Run the story against the running demo, through the API only
	@$(RUN) -m portal.demo check --home "$(HOME_DIR)"

env:
	@$(PYTHON) scripts/bootstrap.py demo

dev-env:
	@$(PYTHON) scripts/bootstrap.py dev

assets:
	@$(PYTHON) scripts/bootstrap.py assets

test: dev-env ## The whole test suite
	@$(RUN) -m pytest -n 2 --dist loadgroup -q

lint: dev-env ## ruff, mypy, import contracts, templates, migrations
	@$(RUN) scripts/lint.py

bench: dev-env ## Ours against the peers, one run
	@$(RUN) -m benchmarks

lock: dev-env ## Compile the lock files with hashes
	@$(RUN) scripts/lock.py
