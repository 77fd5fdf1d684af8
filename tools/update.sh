#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Resolves the newest versions that pyproject.toml allows, runs `make test` with them, and writes constraints.txt only
# when that passes. pip-compile runs in an environment of its own and records the hashes of all files of each release.
set -eu
cd "$(dirname "$0")/.."
environment=build/update-env
new=build/update/constraints.txt

# Packages that only the oldest Python needs must be in the file; a newer one leaves them out.
.venv/bin/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || {
    echo "update: make .venv with Python 3.11, the oldest that hami-node supports" >&2
    exit 1
}
mkdir -p build/update
[ -x $environment/bin/pip-compile ] || {
    .venv/bin/python -m venv --clear $environment
    $environment/bin/pip install -q --disable-pip-version-check 'pip-tools==7.6.2'
}
$environment/bin/pip-compile -q --upgrade --generate-hashes --allow-unsafe --strip-extras --no-header \
    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --extra dev --extra cuda -o $new.bare pyproject.toml
{
    echo '# Written by make update. What building and testing install, with the hashes of all files of each release.'
    cat $new.bare
} >$new
if diff -u constraints.txt $new | grep '^[-+][A-Za-z0-9]'; then
    if ! make test CONSTRAINTS=$new; then
        rm -f .venv/.dependencies
        echo "update: the tests fail with these versions; constraints.txt is unchanged, the versions are in $new" >&2
        exit 1
    fi
    cp $new constraints.txt
    echo "update: constraints.txt is written"
else
    echo "update: constraints.txt has the newest versions"
fi
