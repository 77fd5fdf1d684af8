#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The main job on a simulated node with two GPUs: pods get slices that did not exist before, hamid restarts in the
# middle, everything is given back. Takes no input, ends by itself, leaves nothing behind.
set -eu
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
folder=$(mktemp -d)
state=$folder/node
kubelet_root=$folder/kubelet
hamid_pid=
kubelet_pid=

end() {
    status=$?
    trap - EXIT
    for pid in $hamid_pid $kubelet_pid; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    hamictl sim down --state "$state" >/dev/null 2>&1 || true
    rm -rf "$folder"
    exit "$status"
}
trap end EXIT
trap 'exit 130' INT TERM

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

# kubelet WORD...: asks the running stand-in
kubelet() {
    python -m hamid.testing.kubelet --root "$kubelet_root" "$@"
}

# pod NAME MIB COUNT: kubelet admits a pod, which asks hamid's socket for its devices
pod() {
    printf '\n# kubelet starts pod %s: nvidia.com/gpu: %s, nvidia.com/gpumem: %s\n' "$1" "$3" "$2"
    kubelet run "$1" --limit "nvidia.com/gpu=$3" --limit "nvidia.com/gpumem=$2"
}

# until_gone WHAT COMMAND...: waits until the command's output has nothing of WHAT
until_gone() {
    what=$1
    shift
    tries=0
    while "$@" | grep -q "$what"; do
        tries=$((tries + 1))
        [ "$tries" -lt 100 ] || { echo "demo: '$what' did not go" >&2; exit 1; }
        sleep 0.2
    done
}

start_hamid() {
    printf '\n$ hamid --sim %s --kubelet-root %s &\n' "$state" "$kubelet_root"
    hamid --sim "$state" --kubelet-root "$kubelet_root" 2>>"$folder/log" &
    hamid_pid=$!
}

stop_hamid() {
    kill "$hamid_pid"
    wait "$hamid_pid"
    hamid_pid=
}

metrics() {
    printf '\n$ curl -s http://127.0.0.1:%s/metrics | grep -E ...\n' "$port"
    python - "http://127.0.0.1:$port/metrics" <<'PROGRAM'
import re
import sys
import urllib.request

with urllib.request.urlopen(sys.argv[1], timeout=10) as answer:
    for line in answer.read().decode().splitlines():
        if re.match(r"nodeGPUMigInstance\{|hami_gpu_memory_allocated_bytes\{|hamid_(allocate_total|claims|registered)\b", line):
            print(line)
PROGRAM
}

echo "A simulated node with two GPUs; the driver library is ours, the client is NVIDIA's own nvidia-ml-py."
run hamictl sim up --node 2xA100-SXM4-40GB --state "$state"
echo
echo "Two slices of at least 8000 MiB: where would they go?"
run hamictl --sim "$state" mig plan --mem 8000 --count 2
port=$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
mkdir -p "$state.d/etc/hami"
cat >"$state.d/etc/hami/hamid.yaml" <<CONFIG
mode: mig
pods_source: file
pods_file: $kubelet_root/pods.json
metrics_address: 127.0.0.1:$port
kubelet_settle_seconds: 0
reconcile_seconds: 1
CONFIG
run cat "$state.d/etc/hami/hamid.yaml"

echo
echo "kubelet (a stand-in that speaks its protocols) and hamid:"
python -m hamid.testing.kubelet --root "$kubelet_root" serve >"$folder/kubelet.log" &
kubelet_pid=$!
start_hamid
until [ -S "$kubelet_root/stand-in.sock" ]; do sleep 0.1; done
kubelet wait 20
run hamictl --sim "$state" mig list

echo
echo "Two slices of at least 8000 MiB, cut while the pod is admitted:"
pod training 8000 2
pod notebook 20000 1
run hamictl --sim "$state" mig list
run hamictl --sim "$state" alloc list
metrics

echo
echo "hamid holds the node; other programs that try to change it are refused:"
refused 7 hamictl --sim "$state" mig apply --mem 5000 --yes

echo
echo "hamid is restarted; the pods keep what they were given, and go on getting it when a container restarts:"
stop_hamid
start_hamid
kubelet wait 17
printf '\n# the container of pod training exits and starts again\n'
kubelet restart-container training
pod another 4000 1
run hamictl --sim "$state" alloc list

echo
echo "The pods are over; their slices go:"
for name in training notebook another; do
    kubelet finish "$name"
done
until_gone MIG- hamictl --sim "$state" mig list -o name
run hamictl --sim "$state" mig list
run hamictl --sim "$state" alloc list

stop_hamid
printf '\n# what hamid logged of the claims\n'
grep -E '"(allocated|claim_confirmed|claim_released)"' "$folder/log"
run hamictl sim down --state "$state"
echo
echo "demo: done"
