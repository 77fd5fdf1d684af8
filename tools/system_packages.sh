#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs the Debian packages that are named; without the right to do that, prints the command that does and exits 1.
set -eu
[ $# -gt 0 ] || exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    echo "some system packages are missing; install what Debian calls: $*" >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "some system packages are missing; run: sudo apt-get install -y $*" >&2
    exit 1
fi
echo "installing system packages: $* ..."
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
