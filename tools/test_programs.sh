#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs the programs that `make lint` and the tests start, so that nothing is skipped for want of one.
set -eu
cd "$(dirname "$0")/.."

missing=
# need PROGRAM PACKAGE: the Debian package that has the program
need() {
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need shellcheck shellcheck
need busybox busybox
need dash dash
need strace strace
need nm binutils
need nsenter util-linux
# shellcheck disable=SC2086  # a list of package names
sh tools/system_packages.sh $missing
