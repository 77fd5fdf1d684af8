# SPDX-License-Identifier: Apache-2.0
# `make demo` and `make test` each work as the first command on a fresh machine with python3, gcc, make and git.

PYTHON := .venv/bin/python
# make update sets it to the versions that it tries.
CONSTRAINTS := constraints.txt
export CONSTRAINTS
WHEEL_ENV := build/wheel-env
OLDEST_ENV := build/oldest-env
SOURCES := $(shell find hamid hamictl native systemd -type f -not -path '*/__pycache__/*' -not -path 'hamid/_native/*')
NATIVE_SOURCES := $(filter native/% systemd/%,$(SOURCES))
# Tests of the wheel run outside the repository's root: Python would import the source tree from there.
TEST_IN = cd $(1) && bin/python -m pytest --wheel

.PHONY: all t demo test test-oldest test-full mutants coverage lint check bench update kubelet-api clean
all: build/native/.built

# One test, or some, on the source tree: make t T=tests/core/hardware/test_geometry.py
# pytest keeps what it compiles (most of the time of a start), also where the environment asks Python not to.
T = tests/core
t: build/native/.built
	@PYTHONDONTWRITEBYTECODE= $(PYTHON) -m pytest -q $(T)

# The toolchain and everything the tests need, into .venv; the source tree is installed there as an editable package.
.venv/.dependencies: pyproject.toml $(CONSTRAINTS) tools/bootstrap.sh tools/requirements.py
	sh tools/bootstrap.sh dev
	touch $@

# The C libraries of the source tree; ninja compiles what changed.
build/native/.built: .venv/.dependencies tools/build_native.sh $(NATIVE_SOURCES)
	sh tools/build_native.sh
	touch $@

# Programs that lint and the tests start.
build/.programs: tools/test_programs.sh tools/system_packages.sh
	sh tools/test_programs.sh
	mkdir -p build
	touch $@

dist/.wheel: .venv/.dependencies README.md $(SOURCES)
	rm -rf dist
	PATH="$(CURDIR)/.venv/bin:$$PATH" $(PYTHON) -m pip wheel -q --no-build-isolation --no-deps \
	    --config-settings=build-dir=build/wheel --config-settings=cmake.define.HAMI_WERROR=ON -w dist .
	touch $@

# What `make test` tests and `make bench` measures: the installed wheel, never the source tree.
$(WHEEL_ENV)/.made: dist/.wheel tools/wheel_env.sh
	sh tools/wheel_env.sh $(WHEEL_ENV)
	touch $@

demo: build/native/.built
	sh tools/demo.sh

lint: .venv/.dependencies build/.programs
	sh tools/lint.sh

test: lint $(WHEEL_ENV)/.made
	$(call TEST_IN,$(WHEEL_ENV)) -n 2 -m 'not full' $(CURDIR)/tests
	$(PYTHON) tools/mutants.py --some 3

# The lower bounds of the run-time dependencies in pyproject.toml hold.
test-oldest: dist/.wheel build/.programs
	sh tools/wheel_env.sh $(OLDEST_ENV) $$($(PYTHON) tools/requirements.py oldest)
	$(call TEST_IN,$(OLDEST_ENV)) -n 2 -m 'not full' $(addprefix $(CURDIR)/tests/,core node cli daemon)

# NVIDIA's compilers for kernels are large; only the full tests use them.
.venv/.cuda: .venv/.dependencies
	sh tools/bootstrap.sh dev cuda
	touch $@

test-full: lint .venv/.cuda $(WHEEL_ENV)/.made
	$(call TEST_IN,$(WHEEL_ENV)) -n 2 --timeout 3600 $(CURDIR)/tests
	$(PYTHON) tools/mutants.py
	$(MAKE) coverage
	$(MAKE) test-oldest

# One-line mutants of the guarantees of docs/architecture.md; each is caught by its tests. Some: make mutants M="NAME..."
mutants: $(WHEEL_ENV)/.made build/.programs
	$(PYTHON) tools/mutants.py $(M)

# tests/core alone runs every line and branch of hamid.core. CI=true: the examples of a property are the same in each run.
coverage: build/native/.built build/.programs
	rm -rf build/coverage
	mkdir -p build/coverage
	CI=true $(PYTHON) -m coverage run -m pytest -q -n 2 -p no:randomly -m 'not full' tests/core
	$(PYTHON) -m coverage combine -q
	$(PYTHON) -m coverage report --fail-under=100

bench: $(WHEEL_ENV)/.made
	set -e; cd $(WHEEL_ENV); for program in $(CURDIR)/benchmarks/*.py; do \
	    echo "== $$program"; bin/python "$$program"; done

# Newer versions of everything in constraints.txt, once the tests pass with them.
update: .venv/.dependencies
	sh tools/update.sh

# Only after a change of the .proto files: the generated code is committed.
kubelet-api:
	sh tools/kubelet_api.sh

clean:
	rm -rf .venv dist build hamid/_native .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
