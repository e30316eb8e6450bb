# Each target makes the virtual environment that it needs, from nothing; a second run is fast.
#   make demo PYTHON=python3.12     another interpreter (after `make clean`)
#   make test ARGS="-k pipe -x"     more words for pytest; likewise for the other suites

PYTHON ?= python3
ARGS   ?=

VENV  := .venv
BENCH := .venv-bench
MANY  := .venvs
META  := setup.py pyproject.toml rackactor/_version.py
PIP    = -m pip --disable-pip-version-check --quiet install

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: demo test test-everywhere check conformance bench chaos faults growth replays test-openstack test-all clean help

help: ## say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.plain ## estimate pi with the processes of a group, and count words with a pipeline of them
	$(VENV)/bin/rack run samples/pi.py --workers 4
	$(VENV)/bin/rack pipeline 'cat /usr/share/common-licenses/GPL-*' 'tr -cs A-Za-z "\n"' 'tr A-Z a-z' -n 2 'sort' 'uniq -c' 'sort -rn' 'sed -n 1,5p'

test: $(VENV)/.all ## run the tests
	$(VENV)/bin/pytest -n logical --dist worksteal $(ARGS)

test-everywhere: $(VENV)/.all ## run all cases of each test, in every place that it can run in: both transports, networks, machines
	$(VENV)/bin/pytest -n logical --dist worksteal --everywhere $(ARGS)

check: $(VENV)/.all ## run the import contracts, ruff and mypy
	$(VENV)/bin/lint-imports --no-logo
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy --strict -p rackactor -p rackactor_runtime -p benchmarks
	cd images && ../$(VENV)/bin/mypy --strict --cache-dir ../.mypy_cache --config-file ../pyproject.toml build guest/guest_init.py

conformance: $(VENV)/.all ## run Thespian's own tests on RackActor and print the table
	$(VENV)/bin/python tests/conformance/run.py $(ARGS)

bench: $(BENCH)/.bench ## measure RackActor beside its peers (downloads them; Redis: apt-get install redis-server)
	$(BENCH)/bin/python -m benchmarks $(ARGS)

chaos: $(VENV)/.all ## kill, stop and cut under load, and judge what came of it (some twenty minutes; as root also networks)
	PYTHONPATH=tests $(VENV)/bin/python -m chaos $(ARGS)

faults: $(VENV)/.all ## have the operating system refuse what supervisors ask of it, and see that groups go on (some eight minutes)
	PYTHONPATH=tests $(VENV)/bin/python -m faults $(ARGS)

growth: $(VENV)/.all ## do ten thousand of each thing, and see that nothing grows by it (long)
	RACK_TEST_MANY=10000 $(VENV)/bin/pytest -n logical --dist worksteal tests/integration/supervisor/test_what_is_over.py $(ARGS)

replays: $(VENV)/.all ## record a thousand runs of a supervisor's decisions, and play each from everywhere (long)
	RACK_REPLAYS=1000 $(VENV)/bin/pytest -n logical tests/unit/supervisor/test_replay.py $(ARGS)

test-openstack: $(VENV)/.all ## bring a one-machine OpenStack up, run the tests on it, take it down (Debian 12, root, below 40 minutes)
	$(VENV)/bin/python tests/openstack/run -- $(ARGS)

test-all: ## run the tests on each Python of 3.11, 3.12 and 3.13 that is found
	@sh .ci/test-all $(MANY) $(ARGS)

clean: ## remove the virtual environments and whatever the tools left
	rm -rf $(VENV) $(BENCH) $(MANY) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python $(BENCH)/bin/python:
	@sh .ci/make-venv "$(PYTHON)" $(@D:/bin=)

$(VENV)/.plain: $(META) | $(VENV)/bin/python
	$(VENV)/bin/python $(PIP) --editable .
	@$(call light_paths,$(VENV))
	@touch $@

$(VENV)/.all: $(META) | $(VENV)/bin/python
	$(VENV)/bin/python $(PIP) --editable '.[all]'
	@$(call light_paths,$(VENV))
	@touch $@ $(VENV)/.plain

$(BENCH)/.bench: $(META) | $(BENCH)/bin/python
	$(BENCH)/bin/python $(PIP) --editable '.[bench]'
	@$(call light_paths,$(BENCH))
	@touch $@

# For two source roots setuptools installs an import hook, which makes the start of every interpreter 25 ms longer.
# Two lines of paths in the same file do as well, and RackActor starts many interpreters.
define light_paths
for pth in $(1)/lib/python3*/site-packages/__editable__.rackactor-*.pth; do \
	printf '%s\n' '$(CURDIR)' '$(CURDIR)/runtime' > $$pth; done
endef
