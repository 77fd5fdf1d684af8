#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes .venv: the packages that the named extras of pyproject.toml need, in the versions and with the hashes of
# $CONSTRAINTS (constraints.txt by default), and this source tree as an editable package. `bootstrap.sh EXTRA...`
# As root it installs missing system packages; for any other user it prints the command that does, and exits 1.
set -eu
cd "$(dirname "$0")/.."

find_python() {
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$name" >/dev/null 2>&1 &&
            "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    echo "hami-node needs Python 3.11 or later: apt-get install -y python3 python3-venv" >&2
    exit 1
}

missing_packages() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null || printf ' python3-venv'
    printf '#include <stdio.h>\n#include <pthread.h>\nint main(void){return 0;}\n' |
        gcc -x c -o /dev/null - 2>/dev/null || printf ' gcc libc6-dev'
}

python=$(find_python)
# shellcheck disable=SC2046  # a list of package names
sh tools/system_packages.sh $(missing_packages "$python")
.venv/bin/python -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear .venv

pip() {
    .venv/bin/python -m pip --disable-pip-version-check "$@"
}
echo "installing dependencies into .venv ..."
.venv/bin/python tools/requirements.py pinned "${CONSTRAINTS:-constraints.txt}" "$@" >.venv/requirements.txt
pip install -q --require-hashes -r .venv/requirements.txt
strays=$(.venv/bin/python tools/requirements.py strays .venv/requirements.txt)
# shellcheck disable=SC2086  # a list of package names
[ -z "$strays" ] || pip uninstall -q -y $strays
PATH="$PWD/.venv/bin:$PATH" pip install -q --no-build-isolation --no-deps --editable .
