# make demo    an environment, then the main job: train IVE on data_samples and write its report
# make test    an environment, then everything that must hold: lint, types, unit tests, doctests, notebooks
# The environment is made once; a second call installs nothing until pyproject.toml or constraints.txt change.

VENV   ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
JOBS   ?= 2
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
FIRST  := $(firstword $(sort $(wildcard notebooks/[0-9]*.ipynb)))

.PHONY: help env demo test lint types browser lab notebooks notebooks-matrix site samples runs evidence bench sbom audit matrix fuzz kills mutants coverage gpu clean

help:            ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 20

env: $(STAMP)    ## the environment in $(VENV)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ivekit needs Python 3.11 or newer, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@

demo: $(STAMP)   ## train IVE on the recordings in data_samples, print held-out scores, write a report
	$(BIN)/python -m ivekit demo

lint: $(STAMP)   ## ruff
	$(BIN)/ruff check .

types: $(STAMP)  ## pyright
	$(BIN)/pyright --pythonpath $(BIN)/python

browser:         ## Chromium for the browser tests, where it can be had
	tests/browser/install.sh

test: lint types browser ## lint, types, then unit tests, doctests and notebooks in one pytest
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

lab: $(STAMP)    ## JupyterLab at the first notebook
	$(BIN)/jupyter lab $(FIRST)

notebooks: $(STAMP) ## execute the notebooks and store them; where nothing changed, git sees no difference
	$(BIN)/python notebooks/store.py

notebooks-matrix: $(STAMP) ## the notebooks with 1 and 2 threads, on an emulated older processor and again, as a table
	$(BIN)/python notebooks/matrix.py -n $(JOBS)

site: $(STAMP)   ## the notebooks as they are stored and the API, as pages in site/
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/python -m sphinx -q -d build/doctrees docs site

samples: $(STAMP) ## simulate data_samples again: the same bytes
	$(BIN)/python data_samples/make.py

runs: $(STAMP)   ## train the runs on simulated worlds that notebooks load; the small files of them are in git
	$(BIN)/python -m ivekit train ive data=world epochs=30 --out data_samples/runs/world
	$(BIN)/python -m ivekit train lipid_cvae epochs=40 --out data_samples/runs/lipid
	$(BIN)/python -m ivekit train mimo_ae n_subjects=16 n_windows=24 epochs=14 batch_size=16 --out data_samples/runs/physio
	set -e; for fusion in concat attention experts; do $(BIN)/python -m ivekit train mimo_ae n_subjects=16 n_windows=24 epochs=14 batch_size=16 fusion=$$fusion --out data_samples/runs/physio_$$fusion; done
	test -z "$$IVEKIT_DATA" || $(BIN)/python -m ivekit train meg_decoding data=hand_movement highest=6.0 noise=1.0 --out data_samples/runs/hand
	test -z "$$IVEKIT_DATA" || $(BIN)/python -m ivekit train mimo_ae data=physio --out data_samples/runs/body
	test -z "$$IVEKIT_DATA" || $(BIN)/python -m ivekit train evidence/head.py encoder=vivit epochs=40 --out data_samples/runs/head

evidence: $(STAMP) ## go on with the long studies; each appends to its CSV and knows what is done
	set -e; for study in recovery sweep shuffled aggregation topography figures cross_modal truth truth_said; do $(BIN)/python evidence/$$study.py; done

bench: $(STAMP)  ## the benchmarks: tests/benchmarks/RESULTS.md and the table in README.md
	-VENV=$(VENV) tests/benchmarks/peers.sh
	$(BIN)/python tests/benchmarks

sbom: $(STAMP)   ## what the environment holds, with versions and licences, as CycloneDX in build/sbom.json
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[audit]'
	mkdir -p build
	sed "s/^dynamic = .*/version = \"$$($(BIN)/python -c 'import ivekit; print(ivekit.__version__)')\"/" pyproject.toml > build/pyproject.toml
	$(BIN)/cyclonedx-py environment --gather-license-texts --pyproject build/pyproject.toml --mc-type library --output-reproducible --validate -o build/sbom.json $(BIN)/python

audit: $(STAMP)  ## known weaknesses of the pinned packages, from a public database: it needs a network
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[audit]'
	$(BIN)/pip-audit --strict --requirement constraints.txt --no-deps --disable-pip

matrix: $(STAMP) ## the tests that touch other packages, under the oldest and the newest versions of them
	$(BIN)/python tests/matrix

fuzz: $(STAMP)   ## ten thousand spoilt files of every format: is each read or refused? Goes on where it stopped
	$(BIN)/python tests/fuzz

kills: $(STAMP)   ## kill what writes at 200 moments drawn by lot: does all stand, go on, and end the same?
	$(BIN)/python tests/kill --keep

mutants: $(STAMP) ## small changes made on purpose in metrics, distributions, objectives, explain: how many the tests notice
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'cosmic-ray>=8.3'
	$(BIN)/python tests/mutation

gpu: $(STAMP)     ## on a machine with a GPU: whether all of it works there, and how fast
	$(BIN)/python -m pytest -q -s -m gpu tests/test_gpu.py

coverage: $(STAMP) ## all tests with coverage of lines and branches; half as long again
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --cov=ivekit --cov-branch --cov-report=
	$(BIN)/python tests/mutation/lines.py

clean:           ## remove the environment, caches and builds; recordings and runs stay
	rm -rf $(VENV) .venv-matrix .venv-peers build dist site docs/notebooks docs/api/ivekit.*.rst ivekit.egg-info .pytest_cache .ruff_cache .hypothesis .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
