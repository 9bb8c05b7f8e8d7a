# make setup   install into .venv       (TORCH=cpu is the default; TORCH=auto or TORCH=cu130 for a GPU)
# make demo    the main job on the embedded phantom, into demo/
# make test    lint, types and tests
VENV   ?= .venv
PYTHON ?= python3
EXTRAS ?= dev
TORCH  ?= cpu
OUT    ?= demo
PY     := $(VENV)/bin/python
STAMP  := $(VENV)/.installed-$(EXTRAS)-$(TORCH)

.PHONY: setup setup-pip demo test check format clean
setup: $(STAMP)

# uv does not read pip's configuration. Where pip is told of a local folder of wheels, uv gets the same
# folder and takes torch from it; everywhere else uv takes torch from PyTorch's own index for $(TORCH).
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -q uv
	links="$${UV_FIND_LINKS:-$${PIP_FIND_LINKS:-$$($(PY) -m pip config get global.find-links 2>/dev/null || true)}}"; \
	if [ -n "$$links" ]; then backend=; else backend="--torch-backend=$(TORCH)"; fi; \
	UV_FIND_LINKS="$$links" $(VENV)/bin/uv pip install -q --compile-bytecode $$backend \
	  --python $(PY) -c constraints.txt -e '.[$(EXTRAS)]'
	rm -f $(VENV)/.installed-*
	touch $@

# Without uv. On a machine without a GPU add PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu.
setup-pip:
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -q -c constraints.txt -e '.[$(EXTRAS)]'

demo: setup
	$(VENV)/bin/transmodal demo --out $(OUT)

check: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

test: check
	$(PY) -m pytest

format: setup
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:
	rm -rf $(VENV) demo .mypy_cache .pytest_cache .ruff_cache
