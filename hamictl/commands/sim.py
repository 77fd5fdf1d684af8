# SPDX-License-Identifier: Apache-2.0
"""hamictl sim: persistent simulated GPU nodes, for tests and for users without the hardware."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from hamictl import node_access
from hamictl.commands.sim_inject import StateOption
from hamictl.commands.sim_inject import app as inject
from hamictl.options import noun, verb
from hamictl.render import inventory, tables
from hamictl.session import Session
from hamid.core.documents.envelope import envelope
from hamid.core.documents.inventory import gpus_document
from hamid.core.errors import UsageError
from hamid.core.hardware.snapshot import select_gpus
from hamid.core.units import parse_memory

app = noun("sim", "Create, inspect and remove simulated GPU nodes.")
process = noun("process", "Start and stop processes that hold GPU memory.")
app.add_typer(process)
app.add_typer(inject)


@verb(app, "up")
def start_node(
    session: Session,
    node: Annotated[
        str, typer.Option("--node", metavar="SPEC", help="Number and model of the GPUs: 2xA100-SXM4-40GB,1xA30.")
    ],
    state: StateOption = None,
) -> None:
    """Create a persistent simulated node. Its GPUs start with MIG mode off.

    \b
    Examples:
      hamictl sim up --node 2xA100-SXM4-40GB --state /tmp/node
      eval "$(hamictl sim env --state /tmp/node)"; nvidia-smi -L
    """
    path = session.state_file(state)
    node_access.sim_nodes.up(Path(path), node)
    document = {**envelope("SimulatedNode", simulated=True), "state": path, "root": f"{path}.d", "node": node}
    text = f"simulated node {node} is up: {path}\nuse it with: hamictl --sim {shlex.quote(path)} gpu list\n"
    session.emit(document, lambda: text)


@verb(app, "status")
def show_node(session: Session, state: StateOption = None) -> None:
    """Show a simulated node: its GPUs and the processes on it.

    \b
    Examples:
      hamictl sim status --state /tmp/node
    """
    path = session.state_file(state)
    snapshot = node_access.snapshot(node_access.open_node(path, session.root))
    found = node_access.sim_control.processes(path)
    processes = [{"pid": p.pid, "name": p.name, "memoryMiB": p.memory_mib, "target": p.target} for p in found]
    document = {
        **gpus_document(snapshot, snapshot.gpus),
        "kind": "SimulatedNode",
        "state": path,
        "root": f"{path}.d",
        "processes": processes,
    }

    rows = [[each["pid"], each["name"], each["memoryMiB"], each["target"]] for each in processes]

    def text() -> str:
        listing = tables.table(["PID", "NAME", "MIB", "ON"], rows) if rows else "no processes\n"
        return f"{path}\n{inventory.gpu_table(snapshot.gpus, wide=session.wide)}\n{listing}"

    session.emit(document, text)


@verb(app, "env")
def print_environment(session: Session, state: StateOption = None) -> None:
    """Print the variables that make NVML and CUDA clients use the node.

    \b
    Examples:
      eval "$(hamictl sim env --state /tmp/node)"
    """
    exports = node_access.sim_nodes.exports(Path(session.state_file(state)))
    text = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in exports.items())
    session.emit({**envelope("SimulatedEnvironment", simulated=True), "environment": exports}, lambda: text)


@verb(app, "boards")
def list_boards(session: Session) -> None:
    """List the GPU models that a simulated node can have.

    \b
    Examples:
      hamictl sim boards
      hamictl sim boards -o name
    """
    found = node_access.sim_control.boards()
    rows = [{"key": board.key, "name": board.name or None} for board in found]
    document = {**envelope("SimulatedBoardList", simulated=True), "boards": rows}
    session.emit(document, lambda: tables.table(["KEY", "NAME"], [(row["key"], row["name"]) for row in rows]))


@verb(app, "down")
def end_node(session: Session, state: StateOption = None) -> None:
    """Remove a simulated node: its processes, state file and root.

    \b
    Examples:
      hamictl sim down --state /tmp/node
    """
    path = session.state_file(state)
    pids = node_access.sim_nodes.down(Path(path))
    ended = f", {len(pids)} process(es) ended" if pids else ""
    document = {**envelope("SimulatedNode", simulated=True), "state": path, "ended": pids}
    session.emit(document, lambda: f"simulated node {path} is down{ended}\n")


@verb(process, "start")
def start_process(
    session: Session,
    memory: Annotated[
        str, typer.Option("--memory", metavar="MEM", help="GPU memory to hold, in MiB or with a unit: 1000, 1Gi.")
    ],
    instance: Annotated[
        str | None, typer.Option("--instance", metavar="UUID", help="UUID of the MIG instance to use.")
    ] = None,
    gpu: Annotated[
        str | None, typer.Option("--gpu", "-i", metavar="GPU", help="GPU to use, with MIG mode off.")
    ] = None,
    state: StateOption = None,
) -> None:
    """Start a background process that holds GPU memory, and print its pid.

    \b
    Examples:
      hamictl sim process start --state /tmp/node --gpu 0 --memory 1000
      hamictl sim process start --state /tmp/node --instance MIG-5d9b... --memory 1Gi
    """
    path = session.state_file(state)
    if (instance is None) == (gpu is None):
        raise UsageError("specify exactly one of --instance and --gpu", "add --instance UUID or --gpu GPU")
    memory_mib = parse_memory(memory).mib
    if memory_mib is None:
        raise UsageError(
            f"--memory {memory} is a percentage, not an amount", "give MiB or a unit, such as --memory 1000"
        )
    if instance is None:
        snapshot = node_access.snapshot(node_access.open_node(path, session.root))
        (chosen,) = select_gpus(snapshot, (gpu or "0",))
        instance = chosen.uuid
    pid = node_access.sim_nodes.start_holder(Path(path), instance, memory_mib)
    document = {**envelope("SimulatedProcess", simulated=True), "pid": pid, "target": instance}
    session.emit(document, lambda: f"{pid}\n")


@verb(process, "stop")
def stop_process(
    session: Session,
    pid: Annotated[int, typer.Argument(help="Pid printed by 'process start'.")],
    state: StateOption = None,
) -> None:
    """Stop a process that 'process start' started.

    \b
    Examples:
      hamictl sim process stop 4711 --state /tmp/node
    """
    path = session.state_file(state)
    node_access.sim_nodes.stop_holder(Path(path), pid)
    document = {**envelope("SimulatedProcess", simulated=True), "pid": pid}
    session.emit(document, lambda: f"{pid} ended\n")
