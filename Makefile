# Everything a person does here. `make run` and `make test` need nothing but Python 3.11 or newer.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary=:all: --no-deps --no-compile
# what is compiled once need not be compiled by every process that a test starts
export PYTHONDONTWRITEBYTECODE =

.PHONY: run test pytest faults lint types style bench prove crash soak lock contract sbom audit clean

run: $(INSTALLED)  ## the whole system on this machine: PostgreSQL, RabbitMQ, the service, stand-in participants
	@$(BIN)/python -m local

test: $(INSTALLED)  ## everything that must hold before a change lands
	@$(MAKE) --no-print-directory -j 3 types style pytest

lint: $(INSTALLED)  ## of that, what takes seconds
	@$(MAKE) --no-print-directory -j 2 types style

pytest:
	@$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder --durations 20

faults: $(INSTALLED)  ## search at random for long: PARTS="soak proof" for some of it, SEED=new for another seed
	@$(BIN)/python -m tests.faults $(PARTS) $(if $(SEED),--seed $(SEED))

types:
	@$(BIN)/mypy

style:
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

bench: $(INSTALLED)  ## sagas per second and CPU per saga, beside the transport floor; what traces cost; seconds to recover from faults
	@$(BIN)/python -m benchmarks
	@$(BIN)/python -m benchmarks tracing
	@$(BIN)/python -m benchmarks recovery

soak: $(INSTALLED)  ## half an hour of load while everything breaks; `make faults` has three minutes of it
	@$(BIN)/python -m tests.faults.soak $(SOAK)

prove: $(INSTALLED)  ## search the whole table for what must never happen: long; `make test` has the short version
	@$(BIN)/python -m tests.proof

crash: $(INSTALLED)  ## kill the service at every point, in every scenario, at every step; `make test` has some of it
	@$(BIN)/python -m tests.faults.crashes

contract: $(INSTALLED)  ## write what is generated: asyncapi.yaml, the table and diagram in README and docs, the Grafana dashboard
	@$(BIN)/faststream docs gen app:app --yaml --out asyncapi.yaml
	@$(BIN)/python -m saga.insight.diagram
	@$(BIN)/python -m ops.dashboard

lock: $(INSTALLED)  ## resolve the dependencies again
	@$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--no-header --quiet --upgrade pyproject.toml -o requirements.txt
	@$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--no-header --quiet --upgrade pyproject.toml --group dev -c requirements.txt -o requirements-dev.txt

sbom: $(INSTALLED)  ## what the service is made of, JavaScript included: sbom.json, in CycloneDX
	@$(BIN)/python -m ops.sbom > sbom.json

audit: $(INSTALLED)  ## look the locked packages up among known vulnerabilities; needs the network, so it is no part of `make test`
	@$(BIN)/pip-audit --strict --disable-pip --require-hashes -r requirements.txt
	@$(BIN)/pip-audit --strict --disable-pip --require-hashes -r requirements-dev.txt

clean:
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(INSTALLED): requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=python3.x")'
	@$(PYTHON) -m venv $(VENV) || { echo "Python cannot make a virtual environment; on Debian: apt-get install python3-venv"; exit 1; }
	@echo "installing what the tests and the local system need: once, less than a minute"
	@sed -n '/^uv==/,/[^\\]$$/p' $< > $(VENV)/uv.txt
	@$(INSTALL) -r $(VENV)/uv.txt
	@$(BIN)/uv pip install --quiet --system-certs --python $(BIN)/python --require-hashes --only-binary :all: --no-deps -r $< \
		|| { echo "pip can, if uv cannot, and takes a minute more"; $(INSTALL) -r $<; }
	@touch $@
