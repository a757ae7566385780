# make demo   find a lottery ticket in LeNet-300-100, and export it
# make test   lint and tests
# make test-quick  the tests of what is pure arithmetic or checks, in 2 minutes
# make test-all    all tests, those marked slow as well
# make test-backends  the core's tests under JAX and torch
# make docs   the documentation site, into site/
# make dist   wheel and source distribution, tried in an empty environment
# make bench  the benchmarks; fewer repetitions: make bench BENCH=--quick
# make bench-peers  environments of other tools, which `bench` compares with
# make bench-quick  a few ratios in 3 minutes, against those recorded
# make clean  remove the virtual environment and what tools left behind
#
# With another interpreter: make demo PYTHON=python3.12

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL ?= 3

# Without the libraries of GPUs, which take gigabytes.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

# Test files that train next to nothing.
QUICK = tests/test_*.py tests/files tests/patterns tests/utils tests/verdicts \
	tests/runs/test_results_csv.py tests/weights \
	$(ACROSS:%=tests/integration/test_%.py)
ACROSS = bad_input import registration types

.PHONY: demo test test-quick test-all test-backends lint docs dist bench \
	bench-peers bench-quick clean

demo: $(VENV)/installed
	$(BIN)/tf-lottery run lenet-digits --output-dir runs/lenet-digits
	$(BIN)/tf-lottery export runs/lenet-digits/trial-0/candidate.keras \
		--quantize auto --data digits

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-quick: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile $(QUICK)

test-all: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "slow or not slow"

test-backends: $(VENV)/installed-backends
	$(BIN)/python -m tests.backends

lint: $(VENV)/installed-dev
	$(BIN)/ruff check --quiet
	$(BIN)/lint-imports --config setup.cfg
	$(BIN)/mypy

# Notebooks are executed, and whatever is amiss ends the build.
docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=. $(BIN)/mkdocs build --strict --quiet

dist: $(VENV)/installed-dev
	rm -rf dist
	$(BIN)/python -m build --quiet
	$(BIN)/python -m tests.distribution dist

bench: $(VENV)/installed-dev
	$(BIN)/python -m tests.benchmarks $(BENCH)

bench-peers: $(VENV)/installed-dev
	$(BIN)/python -m tests.benchmarks.peers

bench-quick: $(VENV)/installed-dev
	$(BIN)/python -m tests.benchmarks quick --quick --check

clean:
	rm -rf $(VENV) build dist site *.egg-info
	rm -rf .pytest_cache .hypothesis .import_linter_cache .mypy_cache
	rm -rf .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/created:
	@command -v $(PYTHON) > /dev/null || { \
		echo "There is no $(PYTHON). Name one: make PYTHON=python3.12"; \
		exit 1; }
	@$(PYTHON) -c "import sys; v = sys.version_info; \
		sys.exit(not (3, 10) <= v[:2] <= (3, 13))" || { \
		echo "tf_lottery needs Python 3.10 to 3.13, and $(PYTHON) is" \
			"`$(PYTHON) --version`. Name another: make PYTHON=python3.12"; \
		exit 1; }
	@$(PYTHON) -c "import ensurepip, venv" 2> /dev/null || { \
		echo "$(PYTHON) cannot make virtual environments. Install its venv" \
			"module (on Debian and Ubuntu: apt install python3-venv)."; \
		exit 1; }
	$(PYTHON) -m venv $(VENV)
	@# The pip of Python 3.10 resolves TensorFlow's dependencies for minutes.
	@$(BIN)/pip install -qq --disable-pip-version-check --upgrade pip
	@touch $@

$(VENV)/installed: $(VENV)/created setup.cfg pyproject.toml
	@echo "Installing tf_lottery and TensorFlow into $(VENV) ..."
	@$(BIN)/pip install -qq --disable-pip-version-check --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/created setup.cfg pyproject.toml
	@echo "Installing tf_lottery, TensorFlow and test tools into $(VENV) ..."
	@$(BIN)/pip install -qq --disable-pip-version-check \
		--editable ".[dev]"
	@touch $@

$(VENV)/installed-docs: $(VENV)/created setup.cfg pyproject.toml
	@echo "Installing tf_lottery and what makes its pages into $(VENV) ..."
	@$(BIN)/pip install -qq --disable-pip-version-check \
		--editable ".[docs]"
	@touch $@

$(VENV)/installed-backends: $(VENV)/created setup.cfg pyproject.toml
	@echo "Installing tf_lottery, JAX and torch into $(VENV) ..."
	@$(BIN)/pip install -qq --disable-pip-version-check \
		--extra-index-url $(TORCH_INDEX) --editable ".[dev,jax,torch]"
	@touch $@
