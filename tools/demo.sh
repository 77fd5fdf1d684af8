#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The main job on a simulated node, from an empty A100 to a refusal that says why. Takes no input, ends by itself.
set -eu
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
folder=$(mktemp -d)
state=$folder/node
trap 'hamictl sim down --state "$state" >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT

run() {
    printf '\n$ %s\n' "$*"
    "$@"
}

# refused CODE COMMAND...: what must end with that exit code
refused() {
    expected=$1
    shift
    printf '\n$ %s\n' "$*"
    code=0
    "$@" || code=$?
    printf '(exit code %s)\n' "$code"
    [ "$code" -eq "$expected" ]
}

echo "A simulated node with two GPUs; the driver library is ours, the client is NVIDIA's own nvidia-ml-py."
run hamictl sim up --node 1xA100-SXM4-40GB,1xA30 --state "$state"
run hamictl --sim "$state" gpu list

echo
echo "Two slices of at least 8000 MiB: where would they go?"
run hamictl --sim "$state" mig plan --mem 8000 --count 2

echo
echo "Make them, and hold them for a job:"
run hamictl --sim "$state" mig apply --mem 8000 --count 2 --name training --yes
run hamictl --sim "$state" mig list

echo
echo "While they are held, 20000 MiB do not fit on the same GPU, and nothing may clear it:"
refused 8 hamictl --sim "$state" mig plan --mem 20000 -i 0 --explain
refused 7 hamictl --sim "$state" mig clear -i 0 --yes

echo
echo "The job is over:"
run hamictl --sim "$state" mig release --name training --yes

echo
echo "A process on the A30 keeps its MIG mode from being switched on:"
run hamictl sim process start --state "$state" --gpu 1 --memory 2000
refused 8 hamictl --sim "$state" mig plan --mem 5000 -i 1

run hamictl sim down --state "$state"
echo
echo "demo: done"
