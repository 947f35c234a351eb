PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test coverage lint style types imports bench docs clean

demo: $(VENV)/installed ## train, evaluate, draw and report in five minutes; the results are in demo-output
	$(BIN)/python examples/demo.py

# A process a core, each with one thread: more threads than cores make torch many times slower. What a file's tests share
# is made once.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile

test: $(VENV)/installed ## run all tests
	$(PYTEST)

coverage: $(VENV)/installed ## all tests, and which lines outside kernels none of them runs
	$(PYTEST) --cov --cov-report=term-missing:skip-covered

lint: style types imports ## style, types and the direction of imports

style: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed
	MYPYPATH=$(VENV)/src $(BIN)/mypy -p hetgym

imports: $(VENV)/installed
	PYTHONPATH=$(VENV)/src $(BIN)/lint-imports

bench: $(VENV)/installed ## speeds, in CPU seconds
	$(BIN)/python benchmarks/environment_speed.py
	$(BIN)/python benchmarks/scheduler_speed.py
	$(BIN)/python benchmarks/generation_speed.py
	$(BIN)/python benchmarks/stream_speed.py 10000
	$(BIN)/python benchmarks/cache_speed.py
	$(BIN)/python benchmarks/cache_replay.py
	$(BIN)/python benchmarks/offload_speed.py
	$(BIN)/python benchmarks/training_speed.py

docs: $(VENV)/installed ## the documentation: site/index.html
	PYTHONPATH=$(VENV)/src $(BIN)/mkdocs build --strict

# Type checking, the import checks and the documentation read the package through a link: this folder's name need not be hetgym.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	mkdir -p $(VENV)/src
	ln -sfn "$(CURDIR)" $(VENV)/src/hetgym
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .coverage demo-output site
