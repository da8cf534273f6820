# Two commands do everything on a bare machine: `make demo` and `make test`.
PORT ?= 8000
PYTHON ?= python3
V = .venv/bin

.PHONY: install demo test lint bench lock

install: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; this is $$($(PYTHON) --version). Name another one: make PYTHON=python3.12"; exit 3; }
	@$(PYTHON) -m venv .venv || { echo "Python's venv module is missing. On Debian: apt-get install python3-venv; then remove the folder .venv and try again."; exit 3; }
	@echo "Installing into .venv (about a minute) ..."
	@$(V)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: --no-binary cpe -r requirements.lock \
	  || { echo "The packages could not be installed: is there a network, and room on the disk? pip's own words stand above."; exit 3; }
	@$(V)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(V)/python -m compileall -q src
	@touch .venv/installed

demo: install
	@exec $(V)/isac demo --port $(PORT)

test: install
	@$(V)/python -m pytest -n 3 $(ARGS)

lint: install
	$(V)/ruff check .
	$(V)/ruff format --check .
	$(V)/mypy

bench: install
	$(V)/python bench/bench.py
	$(V)/python -m bench.fuzz --count 1000000 --minutes 30

lock: install
	$(V)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --all-extras --no-header -o requirements.lock pyproject.toml
	$(V)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header -o requirements-image.lock pyproject.toml
