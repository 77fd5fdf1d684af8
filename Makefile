# SPDX-License-Identifier: Apache-2.0
# `make demo` and `make test` each work as the first command on a fresh machine with python3, gcc, make and git.

PYTHON := .venv/bin/python
SOURCES := $(shell find hamid hamictl native systemd -type f -not -path '*/__pycache__/*' 2>/dev/null)
PYTEST := .venv/bin/pytest

.PHONY: all demo test test-full lint check bench kubelet-api clean
all: .venv/.wheel

# The toolchain and everything the tests need, into .venv.
.venv/.dependencies: pyproject.toml tools/bootstrap.sh
	sh tools/bootstrap.sh
	touch $@

# Tests and demo run on the installed wheel, never on the source tree.
.venv/.wheel: .venv/.dependencies README.md $(SOURCES)
	rm -rf dist
	PATH="$(CURDIR)/.venv/bin:$$PATH" $(PYTHON) -m pip wheel -q --no-build-isolation --no-deps \
		--config-settings=cmake.define.HAMI_WERROR=ON -w dist .
	$(PYTHON) -m pip install -q --force-reinstall --no-deps dist/*.whl
	touch $@

demo: .venv/.wheel
	sh tools/demo.sh

lint: .venv/.wheel
	sh tools/lint.sh

test: lint
	$(PYTEST) -n 2 -m 'not full' tests

# NVIDIA's compilers for kernels are large; only the full tests use them.
.venv/.cuda: .venv/.dependencies
	sh tools/bootstrap.sh cuda
	touch $@

test-full: lint .venv/.cuda
	$(PYTEST) -n 2 --timeout 3600 tests

bench: .venv/.wheel
	set -e; for program in benchmarks/*.py; do echo "== $$program"; $(PYTHON) "$$program"; done

# Only after a change of the .proto files: the generated code is committed.
kubelet-api:
	sh tools/kubelet_api.sh

clean:
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
