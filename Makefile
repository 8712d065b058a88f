# `make demo` and `make test` need only Python >= 3.10, its venv module and make.
PYTHON ?= python3
BIN = .venv/bin

.PHONY: demo test test-all test-rest gradcheck lint peers gpu cupy cluster nbgrader student stubs release grader-torture notebooks check-notebooks slides torture mutate vectors package address docs check-site clean

demo: .venv/run
	$(BIN)/python -m dgsa_np demo --out demo-$$(date +%Y%m%d-%H%M%S)

# Two processes. A file runs in one of them, so that what its tests share is made once; tests/conftest.py orders them.
TWO = -n 2 --dist loadfile --no-loadscope-reorder

# Two to three minutes. What is marked slow is left out.
test: .venv/test
	$(BIN)/python -m pytest $(TWO)

# Everything but torture and notebooks, as far as what it needs is installed.
ALL = -m "slow or not slow or peers"

test-all: .venv/test
	$(BIN)/python -m pytest $(TWO) $(ALL)

# What test-all runs and test leaves out.
test-rest: .venv/test
	$(BIN)/python -m pytest $(TWO) -m "slow or peers"

gradcheck: .venv/run
	$(BIN)/python -m dgsa_np gradcheck

lint: .venv/test
	$(BIN)/ruff check .

# The parity tests once more, live against PyTorch.
peers: .venv/test .venv/peers
	$(BIN)/python -m pytest $(TWO) -m peers tests

# What needs a GPU and CuPy (pip install ".[cuda13]" into .venv): the tests for it, and the check that any user can run.
gpu: .venv/test
	$(BIN)/python -m pytest -m "gpu and (slow or not slow)" tests
	$(BIN)/python -m dgsa_np info --check

# Without a GPU: the own code of CuPy 14.0.0 runs on the stand-in for it.
cupy: .venv/test .venv/cupy
	$(BIN)/python -m pytest $(TWO) $(ALL) tests/machine/test_*stand_in.py

# A grid on a Dask scheduler with two workers, one of which is killed.
cluster: .venv/test .venv/cluster
	$(BIN)/python -m pytest $(ALL) -k "dask or scheduler" tests/machine/test_grid.py

# The notebooks from their sources (py:percent), run in fresh kernels, with their outputs.
notebooks: .venv/notebooks
	cd notebooks && for source in start_here.py [0-9]*.py slides/*.py; do echo $$source; \
	  ../$(BIN)/jupytext --quiet --set-kernel python3 --to ipynb --execute $$source || exit 1; done

check-notebooks: .venv/notebooks .venv/test
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "notebooks or not slow" tests/product/test_notebooks.py tests/product/test_slides.py tests/product/test_blanks.py

# The lecture as a page of reveal.js, beside its notebook, with larger letters than nbconvert's and texts of figures.
slides: .venv/notebooks
	cd notebooks/slides && for lecture in *.ipynb; do \
	  ../../$(BIN)/jupyter nbconvert --to slides --template lecture --TemplateExporter.extra_template_basedirs=. \
	  --SlidesExporter.reveal_number=c/t $$lecture || exit 1; done

# The site from nothing, in docs/_build/html; a warning is an error.
docs: .venv/docs
	rm -rf docs/_build
	$(BIN)/python -m sphinx -q -W --keep-going -c docs -d docs/_build/doctrees . docs/_build/html

# The site once more, from nothing, and each of its pages in Chromium: on a desk and on a telephone.
check-site: .venv/docs .venv/test
	$(BIN)/python -m pytest -m site tests/product/test_site.py

# Coursework. COURSE chooses the constants of the stubs; what is there is not overwritten.
COURSE ?= 0
EXERCISES = $(BIN)/python notebooks/exercises/build.py

student: .venv/run
	$(EXERCISES) student --course $(COURSE)

stubs: .venv/run
	$(EXERCISES) stubs

release: .venv/run
	$(EXERCISES) release --course $(COURSE)

# nbgrader's cycle, on right, wrong and empty submissions.
nbgrader: .venv/test .venv/nbgrader
	$(BIN)/python -m pytest $(ALL) tests/product/test_nbgrader.py

# Every right, wrong and hostile submission of every exercise, on 20 seeds: an hour.
grader-torture: .venv/test
	$(BIN)/python -m pytest -m torture -s tests/product/test_coursework.py

# Kills, full disks, damaged files by the ten thousand, Ctrl-C, and what grader-torture runs: more than an hour.
torture: .venv/test
	$(BIN)/python -m pytest -m torture -s tests

# The test vectors for ports: what differs is written again. See docs/vectors.md.
vectors: .venv/test
	$(BIN)/python tests/support/make_vectors.py

# Both archives, and whether an index can show them.
package: .venv/package
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*

# Where the repository is: into notebooks, badges and metadata. REPOSITORY=owner/name, or none.
address:
	@$(PYTHON) docs/address.py "$(REPOSITORY)"

.venv/run: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

# Mutation testing of ops/ and attention/: an hour; mutants/ keeps what was done.
mutate: .venv/test .venv/mutate
	OPENBLAS_NUM_THREADS=1 $(BIN)/mutmut run
	$(BIN)/mutmut results

# What test-all and test-rest find, they use: all but CuPy, in one go. What is imported is compiled then.
.venv/extras: .venv/test
	$(BIN)/python -m pip install --quiet --no-compile --editable ".[peers,cluster,nbgrader,notebooks,docs]" --constraint tests/constraints.txt
	@touch .venv/peers .venv/cluster .venv/nbgrader .venv/notebooks .venv/docs $@

.venv/test .venv/peers .venv/cupy .venv/cluster .venv/docs .venv/nbgrader .venv/notebooks .venv/package .venv/mutate: .venv/%: .venv/run
	$(BIN)/python -m pip install --quiet --editable ".[$*]" --constraint tests/constraints.txt
	@touch $@

clean:
	rm -rf .venv demo-* docs/_build
