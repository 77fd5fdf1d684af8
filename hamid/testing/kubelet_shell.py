# SPDX-License-Identifier: Apache-2.0
"""The kubelet stand-in's commands: `serve` runs it; the others control a running one over a socket below its root.

python -m hamid.testing.kubelet --root DIR serve &
python -m hamid.testing.kubelet --root DIR run job --limit nvidia.com/gpu=1 --limit nvidia.com/gpumem=4096
python -m hamid.testing.kubelet --root DIR restart-container job
python -m hamid.testing.kubelet --root DIR delete job
"""

import argparse
import json
import socketserver
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import Any, Final

from hamid.node.kubelet.grpc import listens
from hamid.testing.kubelet import AdmissionError, ContainerSpec, Kubelet, PodSpec
from hamid.testing.kubelet_http import PodServer

_MAX_LINE: Final = 1 << 20
Command = dict[str, Any]


def main(arguments: list[str] | None = None) -> None:
    """Run the stand-in or send it a command; the exit status is 1 if it refused."""
    options = _parser().parse_args(arguments)
    door = options.root / "stand-in.sock"
    if options.word == "serve":
        _serve(options, door)
        return
    with socket(AF_UNIX, SOCK_STREAM) as client:
        client.connect(str(door))
        request = {name: value for name, value in vars(options).items() if name != "root"}
        client.sendall(json.dumps(request).encode() + b"\n")
        answer = json.loads(client.makefile("rb").readline(_MAX_LINE))
    print(answer["text"], file=sys.stderr if answer["failed"] else sys.stdout)  # this is a program
    sys.exit(answer["failed"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hamid.testing.kubelet", description="Run a kubelet stand-in, or control one."
    )
    parser.add_argument("--root", type=Path, required=True, help="directory to use instead of /var/lib/kubelet")
    words = parser.add_subparsers(dest="word", required=True)
    serve = words.add_parser("serve", help="run until interrupted")
    serve.add_argument("--resource", default="nvidia.com/gpu")
    serve.add_argument("--old", action="store_true", help="behave like kubelet 1.20")
    serve.add_argument(
        "--pods-port", type=int, help="serve /pods over HTTP on this port of 127.0.0.1 (0: any free port)"
    )
    run = words.add_parser("run", help="admit and start a pod with one container, and print its grant")
    run.add_argument("pod")
    run.add_argument("--limit", action="append", default=[], metavar="NAME=QUANTITY")
    run.add_argument("--annotation", action="append", default=[], metavar="NAME=VALUE")
    run.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    for word, what in (
        ("restart-container", "exit and restart the pod's container"),
        ("finish", "end the pod's containers; the pod stays in the list as Succeeded"),
        ("delete", "delete the pod"),
    ):
        words.add_parser(word, help=what).add_argument("pod")
    words.add_parser("restart", help="restart kubelet")
    wait = words.add_parser("wait", help="wait until this many healthy devices are offered")
    wait.add_argument("healthy", type=int)
    words.add_parser("pods", help="print the pods as JSON")
    return parser


def _serve(options: argparse.Namespace, door: Path) -> None:
    options.root.mkdir(parents=True, exist_ok=True)
    if door.exists() and not listens(str(door)):
        door.unlink()
    kubelet = Kubelet(options.root, resource=options.resource, old=options.old)
    with kubelet, socketserver.ThreadingUnixStreamServer(str(door), _handler(kubelet)) as server:
        server.daemon_threads = True
        if options.pods_port is not None:
            url = PodServer(kubelet.pod_list, options.pods_port).url
            print(f"pods at {url}", flush=True)
        print("kubelet stand-in runs", flush=True)
        stopped = threading.Event()
        _on_signals(stopped.set)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stopped.wait()
        server.shutdown()
    door.unlink(missing_ok=True)


def _on_signals(stop: Callable[[], None]) -> None:
    import signal  # noqa: PLC0415  # only the running program has handlers

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: stop())


def _handler(kubelet: Kubelet) -> type[socketserver.StreamRequestHandler]:
    class CommandHandler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            command = json.loads(self.rfile.readline(_MAX_LINE))
            try:
                answer = {"failed": 0, "text": _WORDS[command["word"]](kubelet, command)}
            except (AdmissionError, LookupError, TimeoutError) as error:
                answer = {"failed": 1, "text": f"{type(error).__name__}: {error}"}
            self.wfile.write(json.dumps(answer).encode() + b"\n")

    return CommandHandler


def _pairs(values: list[str]) -> dict[str, str]:
    return {name: value for name, _, value in (each.partition("=") for each in values)}


def _run(kubelet: Kubelet, command: Command) -> str:
    container = ContainerSpec(limits=_pairs(command["limit"]), env=_pairs(command["env"]))
    pod = PodSpec(name=command["pod"], annotations=_pairs(command["annotation"]), containers=[container])
    uid = kubelet.add_pod(pod)
    return _received(kubelet, uid)


def _received(kubelet: Kubelet, uid: str) -> str:
    lines = [f"uid {uid}", f"devices {' '.join(kubelet.device_ids(uid, 'main'))}"]
    grant = kubelet.grant(uid, "main")
    lines += [f"env {name}={value}" for name, value in sorted(grant.envs.items())]
    lines += [f"mount {each.host_path} on {each.container_path}" for each in grant.mounts]
    lines += [f"device {each.host_path}" for each in grant.devices]
    return "\n".join(lines)


def _uid(kubelet: Kubelet, command: Command) -> str:
    """The latest pod of that name."""
    items = json.loads(kubelet.pod_list())["items"]
    found: list[str] = [each["metadata"]["uid"] for each in items if each["metadata"]["name"] == command["pod"]]
    if not found:
        raise LookupError(f"no pod '{command['pod']}'")
    return found[-1]


def _restart_container(kubelet: Kubelet, command: Command) -> str:
    uid = _uid(kubelet, command)
    kubelet.restart_container(uid, "main")
    return _received(kubelet, uid)


def _finish(kubelet: Kubelet, command: Command) -> str:
    kubelet.finish_pod(_uid(kubelet, command))
    return f"{command['pod']} finished"


def _delete(kubelet: Kubelet, command: Command) -> str:
    kubelet.delete_pod(_uid(kubelet, command))
    return f"{command['pod']} deleted"


def _restart(kubelet: Kubelet, command: Command) -> str:  # noqa: ARG001  # one form for all words
    kubelet.restart()
    return "kubelet restarted"


def _wait(kubelet: Kubelet, command: Command) -> str:
    return f"{command['healthy']} devices after {kubelet.wait_for(command['healthy']):.2f} s"


_WORDS: Final[dict[str, Callable[[Kubelet, Command], str]]] = {
    "run": _run,
    "restart-container": _restart_container,
    "finish": _finish,
    "delete": _delete,
    "restart": _restart,
    "wait": _wait,
    "pods": lambda kubelet, command: kubelet.pod_list().decode(),
}
