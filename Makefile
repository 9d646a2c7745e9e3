# `make app` opens the app on this machine, `make test` runs every test, `make notebooks` opens the lessons in JupyterLab,
# `make lessons-html` runs them and writes build/lessons/*.html, readable without Jupyter or network, `make docs` builds
# the documentation into build/site.
# All create .venv first and come back to it in seconds; requirements that changed are installed again.

PYTHON := $(or $(PYTHON),$(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done))
PORT ?= 8501
PIP = .venv/bin/python -m pip --disable-pip-version-check --quiet
# Tests start many processes. Compiled once, these cost seconds less in each, also where Python may not write bytecode.
OFTEN_IMPORTED = torch numpy scipy sklearn pandas streamlit lightning_fabric pydantic typer rich sympy networkx
SETUP = requirements.txt pyproject.toml

.PHONY: app test search mutants notebooks lessons-html docs
.DELETE_ON_ERROR:

app: .venv/app.stamp
	.venv/bin/python -m streamlit run app.py --server.address localhost --server.port $(PORT)

# Two files at a time, each with one thread: more threads than cores wait for one another. In the order of names, the
# browser first.
test: .venv/test.stamp
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Draws new examples for every property test, where `make test` takes the same ones each time.
search: .venv/test.stamp
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2 --hypothesis-profile=search -m hypothesis

# Plants small faults one at a time and looks whether tests notice: hours on two cores. Resumes where it was ended.
mutants: .venv/mutants.stamp
	.venv/bin/python benchmarks/mutants.py

notebooks: .venv/notebooks.stamp
	.venv/bin/python -m jupyterlab --notebook-dir=notebooks $(if $(filter 0,$(shell id -u)),--allow-root)

lessons-html: .venv/notebooks.stamp
	.venv/bin/python notebooks/render.py

docs: .venv/docs.stamp
	NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --strict

.venv/bin/python:
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "PDC needs Python 3.11 or newer; found: $(or $(PYTHON),none)." \
		"Install one, or name it: make app PYTHON=/path/to/python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	-@$(PIP) install --upgrade pip

# A new pip installs twice as fast; modules are compiled when they are first imported, which the last line does.
.venv/app.stamp: $(SETUP) | .venv/bin/python
	$(PIP) install --no-compile -r requirements.txt -e .
	@.venv/bin/python -c "import pandas, plotly, sklearn.cluster, streamlit, torch.fx"
	@touch $@

.venv/test.stamp: requirements-dev.txt $(SETUP) | .venv/bin/python
	$(PIP) install --no-compile -r requirements-dev.txt -e .
	@cd .venv/lib/python*/site-packages && ../../../bin/python -m compileall -q -j 0 -x 'py31[2-9]' $(OFTEN_IMPORTED)
	@touch $@ .venv/app.stamp

.venv/notebooks.stamp: requirements-notebooks.txt $(SETUP) | .venv/bin/python
	$(PIP) install -r requirements-notebooks.txt -e .
	@touch $@ .venv/app.stamp

.venv/docs.stamp: requirements-docs.txt $(SETUP) | .venv/bin/python
	$(PIP) install --no-compile -r requirements-docs.txt -e .
	@touch $@ .venv/app.stamp

.venv/mutants.stamp: requirements-mutants.txt requirements-dev.txt $(SETUP) | .venv/bin/python
	$(PIP) install --no-compile -r requirements-mutants.txt -e .
	@touch $@ .venv/test.stamp .venv/app.stamp
