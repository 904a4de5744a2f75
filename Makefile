# The virtual environment is .venv; it is made anew when requirements.txt changes.
PYTHON ?= python3

.PHONY: demo test lint lab clean

demo: .venv/installed
	.venv/bin/python run_notebooks.py

test: .venv/installed
	.venv/bin/python -m pytest

lint: .venv/installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

# make lab ARGS="--no-browser --port 9000"
lab: .venv/installed
	.venv/bin/jupyter lab --config jupyter_config.py $(if $(filter 0,$(shell id -u)),--allow-root) $(ARGS)

clean:
	rm -rf .venv reports data/demo checkpoints/demo

.venv/installed: requirements.txt requirements-torch.txt pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --no-deps --require-hashes --requirement requirements.txt
	.venv/bin/python -m pip install --quiet --requirement requirements-torch.txt
	.venv/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	-git config filter.nbstripout.clean ".venv/bin/nbstripout --keep-id"  # .gitattributes names it
	touch $@
