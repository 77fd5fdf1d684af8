# SPDX-License-Identifier: Apache-2.0
"""hamictl sim inject: faults, knobs and incidents on a simulated node. docs/simulator.md explains each."""

from pathlib import Path
from typing import Annotated

import typer

from hamictl import node_access
from hamictl.options import noun, verb
from hamictl.session import Session
from hamid.core.documents.envelope import envelope
from hamid.core.errors import UsageError

app = noun("inject", "Faults, knobs and incidents on a simulated node.")

StateOption = Annotated[
    str | None, typer.Option("--state", metavar="FILE", help="The node's state file (the same as --sim FILE).")
]
Target = Annotated[
    str | None, typer.Option("--gpu", "-i", metavar="GPU", help="A GPU by index or uuid, or a MIG uuid (default: all).")
]


@verb(app, "set")
def set_knob(
    session: Session,
    knob: Annotated[str, typer.Argument(help="driver, lost, gi_ids, uuids, activation, root_only ...")],
    value: Annotated[str, typer.Argument(help="The knob's new value.")],
    gpu: Target = None,
    state: StateOption = None,
) -> None:
    """Change how the node, or one of its GPUs, behaves.

    \b
    Examples:
      hamictl sim inject set lost 1 --gpu 0 --state /tmp/node
      hamictl sim inject set gi_ids swapped --state /tmp/node
      hamictl sim inject set driver absent --state /tmp/node
      hamictl sim inject set root_only 1 --state /tmp/node
    """
    path = session.state_file(state)
    node_access.sim_control.set_knob(knob, value, uuid=gpu, state=path)
    _report(session, path, f"{knob} is {value or 'empty'} {_where(gpu)}")


@verb(app, "fault")
def add_fault(
    session: Session,
    rule: Annotated[
        str, typer.Argument(help="FUNCTION[@GPU][#FIRST[+TIMES]]=latency:MS|hang|error:CODE|kill|kill-after")
    ],
    state: StateOption = None,
) -> None:
    """Let calls of a function fail, wait, hang, or kill their caller; HAMI_SIM_FAULTS takes the same rules.

    \b
    Examples:
      hamictl sim inject fault 'nvmlDeviceCreateGpuInstance*=latency:1000' --state /tmp/node
      hamictl sim inject fault 'nvmlGpuInstanceDestroy@1#2=error:19' --state /tmp/node
    """
    path = session.state_file(state)
    node_access.sim_control.add_fault(rule, state=path)
    _report(session, path, f"fault added: {rule}")


@verb(app, "clear")
def clear_faults(session: Session, state: StateOption = None) -> None:
    """End every fault that was added.

    \b
    Examples:
      hamictl sim inject clear --state /tmp/node
    """
    path = session.state_file(state)
    node_access.sim_control.clear_faults(state=path)
    _report(session, path, "faults cleared")


@verb(app, "xid")
def post_xid(
    session: Session,
    xid: Annotated[int, typer.Argument(help="The Xid, such as 79.")],
    gpu: Target = None,
    state: StateOption = None,
) -> None:
    """Let a GPU or MIG device report an Xid to everybody who waits for events.

    \b
    Examples:
      hamictl sim inject xid 94 --gpu MIG-5d9b... --state /tmp/node
    """
    path = session.state_file(state)
    node_access.sim_control.post_xid(_one(gpu), xid, state=path)
    _report(session, path, f"Xid {xid} {_where(gpu)}")


@verb(app, "ecc")
def post_ecc(
    session: Session,
    count: Annotated[int, typer.Argument(help="How many errors.")] = 1,
    uncorrected: Annotated[bool, typer.Option("--uncorrected", help="Double-bit errors.")] = False,
    gpu: Target = None,
    state: StateOption = None,
) -> None:
    """Count ECC errors on a GPU and post the event.

    \b
    Examples:
      hamictl sim inject ecc 2 --uncorrected --gpu 0 --state /tmp/node
    """
    path = session.state_file(state)
    node_access.sim_control.post_ecc(_one(gpu), count, uncorrected=uncorrected, state=path)
    _report(session, path, f"{count} ECC error(s) {_where(gpu)}")


@verb(app, "reset")
def reset_gpu(session: Session, gpu: Target = None, state: StateOption = None) -> None:
    """Reset an idle GPU, or all: instances go, a pending mode becomes current, a lost GPU returns.

    \b
    Examples:
      hamictl sim inject reset --gpu 0 --state /tmp/node
    """
    path = session.state_file(state)
    node_access.sim_control.reset_gpu(gpu, state=path)
    _report(session, path, f"reset {_where(gpu)}")


@verb(app, "reboot")
def reboot(session: Session, state: StateOption = None) -> None:
    """Reboot the node: processes and instances are gone; MIG mode stays on Ampere alone.

    \b
    Examples:
      hamictl sim inject reboot --state /tmp/node
    """
    path = session.state_file(state)
    node_access.sim_nodes.reboot(Path(path))
    _report(session, path, "rebooted")


def _where(gpu: str | None) -> str:
    return "on the node" if gpu is None else f"on {gpu}"


def _one(gpu: str | None) -> str:
    if gpu is None:
        raise UsageError("on which GPU?", "give --gpu with an index, a uuid or a MIG uuid")
    return gpu


def _report(session: Session, path: str, text: str) -> None:
    document = {**envelope("SimulatedNode", simulated=True), "state": path, "injected": text}
    session.emit(document, lambda: f"{text}\n")
