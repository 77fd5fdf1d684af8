#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Format, lint, types, layers, spelling, shell, size and C checks; every one runs, the exit status tells if any failed.
# A program that is missing is a failure.
set -u
cd "$(dirname "$0")/.." || exit 1
bin=.venv/bin
failed=0
mkdir -p build
run() {
    "$@" || { echo "lint: failed: $*" >&2; failed=1; }
}
# shellcheck disable=SC2317  # called by run
c_format() {
    git ls-files '*.c' '*.h' | xargs "$bin"/clang-format --dry-run -Werror
}
# clang-tidy reads how each file is compiled from cmake's list, for which nothing needs to be built.
# shellcheck disable=SC2317  # called by run
c_tidy() {
    PATH="$PWD/$bin:$PATH" cmake -S native -B build/lint -G Ninja -DHAMI_WERROR=ON \
        -DCMAKE_EXPORT_COMPILE_COMMANDS=ON >build/lint.log || { cat build/lint.log; return 1; }
    git ls-files 'native/*.c' | xargs -P "$(nproc)" -n 8 "$bin"/clang-tidy --quiet -p build/lint 2>build/lint.log ||
        { cat build/lint.log; return 1; }
}
run $bin/ruff format --check -q .
run $bin/ruff check -q .
run $bin/mypy
# Apart, since programs there are named as packages of tests are; they import each other by their bare names.
run env MYPYPATH=benchmarks $bin/mypy benchmarks tools
run $bin/lint-imports --no-logo
run $bin/codespell
run $bin/python tools/check_style.py
run $bin/python tools/check_words.py
run $bin/python tools/check_c_layers.py
run c_format
run c_tidy
# shellcheck disable=SC2046  # file names of this repository hold no blanks
run shellcheck $(git ls-files '*.sh' '.ci/run')
exit $failed
