#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Format, lint, types, floors, spelling, shell and size checks; every one runs, the exit status tells if any failed.
# A program that is missing is a failure.
set -u
cd "$(dirname "$0")/.." || exit 1
bin=.venv/bin
failed=0
run() {
    "$@" || { echo "lint: failed: $*" >&2; failed=1; }
}
run $bin/ruff format --check -q .
run $bin/ruff check -q .
run $bin/mypy
run $bin/lint-imports --no-logo
run $bin/codespell
run $bin/python tools/check_style.py
# shellcheck disable=SC2046  # file names of this repository hold no blanks
run shellcheck $(git ls-files '*.sh' '.ci/run')
exit $failed
