#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the C libraries for the source tree: compiles in build/native what changed, installs into hamid/_native.
set -eu
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
cmake -S native -B build/native -G Ninja -DHAMI_WERROR=ON --log-level=WARNING >/dev/null
cmake --build build/native -- --quiet
rm -rf hamid/_native
cmake --install build/native --prefix hamid/_native >/dev/null
