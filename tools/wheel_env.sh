#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# wheel_env.sh FOLDER [REQUIREMENT...]: makes an environment that has the wheel in dist/ and the requirements named, and
# finds everything else in .venv. Python does not read the .pth files of a folder that a .pth file names, so it does not
# find the source tree, which .venv has as an editable package.
set -eu
cd "$(dirname "$0")/.."
folder=$1
shift

site_packages() {
    "$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'
}

pip() {
    .venv/bin/python -m pip --disable-pip-version-check --python "$folder/bin/python" "$@"
}

rm -rf "$folder"
.venv/bin/python -m venv --without-pip "$folder"
pip install -q --no-deps dist/*.whl
dependencies=$(site_packages .venv)
own=$(site_packages "$folder")
echo "$dependencies" >"$own/00-dependencies.pth"
# cuda-pathfinder looks for NVIDIA's libraries only here.
[ ! -d "$dependencies/nvidia" ] || ln -s "$dependencies/nvidia" "$own/nvidia"
# Packages that need a .pth file of theirs, such as numba-cuda, keep it.
find "$dependencies" -maxdepth 1 -name '*.pth' ! -name '*hami_node*' -exec cp {} "$own" \;
[ $# -eq 0 ] || pip install -q "$@"

# Tests find programs of other packages, such as nvitop and cmake, beside their Python.
for program in .venv/bin/*; do
    name=${program##*/}
    case $name in
    python* | pip* | [Aa]ctivate*) ;;
    *) [ -e "$folder/bin/$name" ] || ln -s "$PWD/$program" "$folder/bin/$name" ;;
    esac
done
