#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes .venv with everything that building and testing needs; arguments name more of the project's extras. Installs
# missing system packages as root; for anybody else it prints the one command that would, and exits 1.
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

install_packages() {
    if [ "$(id -u)" -ne 0 ]; then
        echo "some system packages are missing; run: sudo apt-get install -y$1" >&2
        exit 1
    fi
    apt-get update -qq
    # shellcheck disable=SC2086  # a list of package names
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $1
}

python=$(find_python)
missing=$(missing_packages "$python")
[ -z "$missing" ] || install_packages "$missing"
.venv/bin/python -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear .venv

# The project's own dependency lists are the only ones: run-time ones, the extra "dev" and those that are named.
.venv/bin/python - dev "$@" <<'PY' >.venv/requirements.txt
import sys
import tomllib
with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
extras = [line for name in sys.argv[1:] for line in project["optional-dependencies"][name]]
print("\n".join([*project["dependencies"], *extras]))
PY
echo "installing dependencies into .venv ..."
.venv/bin/python -m pip install -q --disable-pip-version-check --upgrade -r .venv/requirements.txt
