#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Generates hamid/node/kubelet/api/*_pb2* from the .proto files beside them, in an environment of its own.
# The generator is pinned to the last one whose output asks nothing of the protobuf release that reads it (newer output
# refuses a runtime two major releases younger); the project itself needs no generator.
set -eu
cd "$(dirname "$0")/.."
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q --disable-pip-version-check 'grpcio-tools==1.62.3' 'setuptools<70'
"$place/venv/bin/python" -m grpc_tools.protoc -I . --python_out=. --pyi_out=. --grpc_python_out=. \
    hamid/node/kubelet/api/*.proto
for file in hamid/node/kubelet/api/*_pb2*.py*; do
    { echo '# SPDX-License-Identifier: Apache-2.0'; cat "$file"; } >"$place/file"
    cat "$place/file" >"$file"
done
